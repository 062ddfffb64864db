"""
The brokers' questions: may this client connect, may it use this topic (design sections 3 and 5).

Decisions are `core`'s; here is what they need to be asked with: who the broker is (asking_brokers.py), what is
remembered, what a factory password costs (slow_hashes.py), and the one call that writes what a login changes.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import structs

from service import keys, log
from service.core import names
from service.core.connect import (
    Facts,
    Present,
    decide_presence,
    refuse_held,
    refuse_input,
    refuse_names,
    refuse_session,
    refuse_unproved,
    refuse_wrong_key,
    repeats,
    split_password,
)
from service.core.grants import Access, Grant, decide_acl
from service.core.verdicts import Denied
from service.db.hooks import BrokerSecrets, HookStore
from service.db.pool import Unavailable
from service.grants_memory import Client, Entry, Grants, Pattern
from service.memory import Refusals, Uses
from service.operations.asking_brokers import AskingBrokers
from service.operations.cases import Rate
from service.operations.questions import (
    ALLOWED,
    AclQuestion,
    ConnectQuestion,
    Outcome,
    Verdict,
    allowed,
    denied,
    not_this_secret,
)
from service.operations.slow_hashes import SlowHashes, still_good
from service.passwords import Verified

# A database that did not answer in time is not waited for again for this long (seconds), where memory can answer:
# the broker stands still while it asks, so each wait would be everybody's.
TROUBLE_LASTS = 1.0

_log = log.get("hooks")


# What a refusal of a right password says of the credential (core/credentials.py).
_SIGNS = {"no_matching_request": "unknown_client_id", "wrong_activation_key": "wrong_key"}

# At which broker, and when by the monotonic clock.
Login = tuple[str, float]


@dataclass(kw_only=True)
class Admission:
    """One hooks process's view of who may do what."""

    store: HookStore
    grants: Grants
    slow_hashes: SlowHashes
    brokers: AskingBrokers
    event_key: bytes = field(repr=False)
    client_id_length: int = names.CLIENT_ID_LENGTH
    provision_account: str = names.PROVISION_ACCOUNT
    # A question that takes longer is answered 503: the broker stands still while it waits.
    patience: float = 1.5
    # Clients answer only those who ask as `~{client id}` (PROVISION_NARROW_REPLY).
    narrow_reply: bool = False
    refusals: Refusals = field(default_factory=Refusals)
    # Allowed CONNECTs, but those of our own services.
    logins: Refusals = field(default_factory=Refusals)
    uses: Uses = field(default_factory=Uses)
    # Events of ends that brokers tell, of one client: as many as the responder writes of its own words.
    share_of_ends: Rate = field(default_factory=lambda: Rate(10 / 3600, 20))
    # (account id, client id): the broker that it logged in at, or None for another sign of life.
    seen: dict[tuple[int, str], Login | None] = field(default_factory=dict)
    # Rung, and replaced, when something changed.
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    # When the database last failed to answer a topic check, monotonic.
    _trouble_at: float = -math.inf

    async def connect(self, broker: BrokerSecrets, question: ConnectQuestion) -> Verdict:
        """May this client connect to this broker?"""
        client = (broker.name, question.username, question.client_id)
        entry = self._remembered(broker, client, question)
        if entry is not None:
            return self._let_in_again(broker, client, question, entry)
        try:
            async with asyncio.timeout(self.patience):
                verdict = await self._connect(broker, question, client)
        except (Unavailable, TimeoutError) as error:
            verdict = Verdict(Outcome.UNAVAILABLE, "database_unavailable")
            _log.warning("connect_unavailable", broker=broker.name, error=str(error) or type(error).__name__)
        if not verdict:
            self.refusals.count(client, verdict.reason)
        else:
            self._count_login(client)
        return verdict

    async def _connect(self, broker: BrokerSecrets, question: ConnectQuestion, client: Client) -> Verdict:
        if broker.role == "provision":
            password, key = split_password(question.password)
            if key is not None:
                question = structs.replace(question, password=password, activation_key=key)
        # A refusal is falsy: `or` would pass it over.
        refused = refuse_input(
            question.username, question.password, question.client_id, self.client_id_length, question.activation_key
        )
        if refused is None:
            refused = refuse_session(broker.role, question.username, question.clean)
        if refused is not None:
            return denied(refused)
        if question.username == names.TAKEOVER:
            return await self._connect_takeover(broker, question)
        if broker.role == "provision" and question.username != names.RESPONDER:
            return await self._connect_with_password(broker, question, client)
        return await self._connect_with_secret(broker, question, client)

    async def _connect_takeover(self, broker: BrokerSecrets, question: ConnectQuestion) -> Verdict:
        """
        `~takeover` ends a session by taking its client id over; its password is good once.

        Whoever may be there, or came after whom it was minted for, is left alone: their login may be newer than what
        the responder decided from. What this process has not written yet is written first.
        """
        if self.logins.holds(broker.name, question.client_id):
            await self.write_logins()
        hashed = keys.secret_hash(keys.TAKEOVER, question.password)
        takeover = await self.store.redeem_takeover(hashed, question.client_id, broker.name)
        if takeover is None:
            return Verdict(Outcome.DENIED, "wrong_password")
        username, facts = takeover.username, takeover.facts
        may_be_here = username is not None and facts is not None and self.decide(facts, username, question.client_id)
        return Verdict(Outcome.DENIED, "takeover_too_late") if takeover.replaced or may_be_here else ALLOWED

    async def write_logins(self) -> None:
        """Count the allowed logins of the last moments. Raises Unavailable, and then they are kept."""
        logins = self.logins.take()
        if not logins:
            return
        try:
            await self.store.count_logins(logins)
        except BaseException:
            self.logins.give_back(logins)
            raise

    async def _connect_with_secret(self, broker: BrokerSecrets, question: ConnectQuestion, client: Client) -> Verdict:
        """Generated secrets: one SHA-256, so no budget is needed. A login that changes nothing is remembered."""
        load = self.grants.begin_load(client)
        decision: Present | Denied | None = None
        login: bytes | None = None
        try:
            facts = await self.store.facts(*client)
            stored = facts.user.secret_sha256 if facts.user else None
            matches = keys.matches(stored, keys.USER, question.password)
            decision = self.decide(facts, question.username, question.client_id)
            if not matches:
                decision = None  # says nothing about whoever is connected under this name
                return not_this_secret(facts, stored)
            if isinstance(decision, Denied):
                return denied(decision)
            if decision.changes and not await self.store.login(self.event_key, broker.name, question.client_id, facts):
                decision = None
                return Verdict(Outcome.UNAVAILABLE, "changed_meanwhile")
            login = self._tag_of_repeated(facts, decision, question)
            self._note_seen(decision.account_id, question.client_id, login=broker.name)
            return allowed(decision, facts)
        finally:
            self.grants.end_load(load, decision, keep_denied=False, login=login)

    def _remembered(self, broker: BrokerSecrets, client: Client, question: ConnectQuestion) -> Entry | None:
        """A login that was the same before, while the feed would tell if it were no longer decided the same."""
        entry = self.grants.entry(client)
        if entry is None or entry.login is None or isinstance(entry.decided, Denied):
            return None
        if refuse_session(broker.role, question.username, question.clean) is not None:
            return None
        same = hmac.compare_digest(entry.login, self.slow_hashes.passwords.tag(question.username, question.password))
        return entry if same else None

    def _let_in_again(self, broker: BrokerSecrets, client: Client, question: ConnectQuestion, entry: Entry) -> Verdict:
        assert isinstance(entry.decided, Pattern)
        if broker.role == "provision":
            self._note_address(question)
        elif entry.decided.account_id is not None:
            self.seen[entry.decided.account_id, question.client_id] = (broker.name, time.monotonic())
        self._count_login(client)
        return Verdict(Outcome.ALLOWED, granted=entry, as_of=self.grants.as_of)

    def _count_login(self, client: Client) -> None:
        if not client[1].startswith("~"):
            self.logins.count(client, "allowed")

    def _tag_of_repeated(self, facts: Facts, decision: Present | Denied, question: ConnectQuestion) -> bytes | None:
        """What the same login is known by, where it is decided the same until the feed tells of a change."""
        if not repeats(facts, decision):
            return None
        return self.slow_hashes.passwords.tag(question.username, question.password)

    async def _connect_with_password(self, broker: BrokerSecrets, question: ConnectQuestion, client: Client) -> Verdict:
        """
        Factory passwords (D5): paid for before any look-up, known and unknown names alike, unless memory knows user and
        password; then only where the verdict is a refusal or the row is newer.
        """
        hashes, asked = self.slow_hashes, time.monotonic()
        proved = await hashes.proofs.prove(question)
        remembered = hashes.passwords.recall(question.username, question.password)
        if remembered is None:
            unpaid = hashes.refuse_unpaid(broker.name, question, proved=proved)
            if unpaid is not None:
                return unpaid
        load = self.grants.begin_load(client)
        decision: Present | Denied | None = None
        login: bytes | None = None
        try:
            facts = await self.store.facts(*client)
            decision = self.decide(facts, question.username, question.client_id)
            wanted = refuse_wrong_key(decision, given=question.activation_key is not None, proved=proved)
            if wanted and still_good(remembered, facts):
                login = self._tag_of_repeated(facts, decision, question)
                return self._let_in(question, facts, wanted, remembered, proved=proved)
            if remembered is not None:
                unpaid = hashes.refuse_unpaid(broker.name, question, proved=proved, known_password=bool(wanted))
                if unpaid is not None:
                    decision = None
                    return unpaid
            verified = await hashes.verify(
                broker.name, question, facts, refuse_anyway=not wanted, proved=proved, asked=asked
            )
            if not isinstance(verified, Verified):
                decision = None
                return verified
            login = self._tag_of_repeated(facts, decision, question)
            return self._let_in(question, facts, wanted, verified, proved=proved)
        finally:
            self.grants.end_load(load, decision, keep_denied=False, login=login)

    def _let_in(
        self,
        question: ConnectQuestion,
        facts: Facts,
        decision: Present | Denied,
        verified: Verified | None,
        *,
        proved: bool,
    ) -> Verdict:
        """The password is right: what is left of the verdict, and what its use says of the credential."""
        waits = refuse_held(facts)
        if waits is not None:
            return Verdict(Outcome.UNAVAILABLE, waits.reason)
        username, client_id = question.username, question.client_id
        self._note_address(question)
        if isinstance(decision, Denied):
            if decision.reason in _SIGNS:
                self.uses.count(username, _SIGNS[decision.reason], client_id)
            return denied(decision)
        waits = refuse_unproved(facts, key_proved=proved)
        if waits is not None:
            return Verdict(Outcome.UNAVAILABLE, waits.reason)
        if facts.user is not None and facts.user.previous_password_bcrypt is not None:
            self.uses.count(username, "old_password" if verified and verified.previous else "new_password", client_id)
        return allowed(decision, facts)

    def _note_address(self, question: ConnectQuestion) -> None:
        if question.address is not None:
            self.uses.count(question.username, "address", question.address)

    async def acl(self, broker: BrokerSecrets, question: AclQuestion) -> Verdict:
        """May this client use this topic?"""
        client = (broker.name, question.username, question.client_id)
        entry = self.grants.entry(client)
        if entry is not None and isinstance(entry.decided, Pattern):
            grants, account_id = entry.decided.grants_of(question.client_id), entry.decided.account_id
            return self._decide_topic(client, question, grants, account_id)
        try:
            decision = await self.presence_in_time(client)
        except (Unavailable, TimeoutError):
            self._trouble_at = time.monotonic()
            fallback = self.grants.without_database(client)
            if fallback is None:
                return self._refuse_acl(client, question, Verdict(Outcome.UNAVAILABLE, "database_unavailable"))
            decision = fallback
        if isinstance(decision, Denied):
            return self._refuse_acl(client, question, denied(decision))
        return self._decide_topic(client, question, decision.grants, decision.account_id)

    def _decide_topic(
        self, client: Client, question: AclQuestion, grants: Iterable[Grant], account_id: int | None
    ) -> Verdict:
        granted = decide_acl(grants, question.acc, question.topic)
        if isinstance(granted, Denied):
            return self._refuse_acl(client, question, denied(granted))
        self._note_seen(account_id, question.client_id)
        return ALLOWED

    async def presence_in_time(self, client: Client) -> Present | Denied:
        """The client's rights; a database that hung just now is not waited for. Raises Unavailable, TimeoutError."""
        if time.monotonic() - self._trouble_at < TROUBLE_LASTS and self.grants.without_database(client) is not None:
            raise Unavailable
        async with asyncio.timeout(self.patience):
            return await self._presence(client)

    def decide(self, facts: Facts, username: str, client_id: str) -> Present | Denied:
        """The core's decision by this process's settings."""
        return decide_presence(facts, username, client_id, self.provision_account, narrow_reply=self.narrow_reply)

    async def _presence(self, client: Client) -> Present | Denied:
        """From memory while the feed is heard, else from the database. Raises Unavailable."""
        _, username, client_id = client
        refused = refuse_names(username, client_id, self.client_id_length)
        if refused is not None:
            return refused
        if username == names.TAKEOVER:
            return Denied(reason="no_grant")
        current = self.grants.current(client)
        if current is not None:
            return current
        load = self.grants.begin_load(client)
        decision: Present | Denied | None = None
        try:
            facts = await self.store.facts(*client)
            decision = self.decide(facts, username, client_id)
            return decision
        finally:
            self.grants.end_load(load, decision, keep_denied=True)

    def _refuse_acl(self, client: Client, question: AclQuestion, verdict: Verdict) -> Verdict:
        access = next((access.name for access in Access if access == question.acc), "unknown")
        self.refusals.count(client, verdict.reason, question.topic, access)
        return verdict

    def note_seen(self, decision: Present, client_id: str) -> None:
        """A sign of life."""
        self._note_seen(decision.account_id, client_id)

    def _note_seen(self, account_id: int | None, client_id: str, login: str | None = None) -> None:
        """`login`: at this broker."""
        if account_id is not None:
            key = (account_id, client_id)
            self.seen[key] = (login, time.monotonic()) if login is not None else self.seen.get(key)

    def forget_seen(self, written: Iterable[tuple[tuple[int, str], Login | None]]) -> None:
        """These were written, unless something newer came meanwhile."""
        for key, login in written:
            if self.seen.get(key) == login:
                self.seen.pop(key, None)

    def note_changes(self, changes: list[tuple[str, str]], lost: bool, as_of: int) -> bool:
        """The feed was heard. Returns whether brokers must be loaded anew."""
        self.grants.note_changes(changes, lost, as_of)
        if changes or lost:
            self.bell, rung = asyncio.Event(), self.bell
            rung.set()
        return lost or any(kind == "broker" for kind, _ in changes)
