"""
What devices send, as operations: an ask becomes a run or a refusal, a status moves the run (design 4.1, D6, D7, D10).

Each is one transaction that locks the request. The caller publishes the reply after the commit and acknowledges last.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from service import keys
from service.core import asks, messages, progress
from service.core.answers import ANSWER_LIMIT_BYTES, Answer, Seal, encode_accepted
from service.core.asks import Begin, Refused, Repeat, decide_ask
from service.core.messages import Ask, Malformed, Status
from service.core.states import RunState
from service.core.verdicts import Denied
from service.db import queries
from service.db.pool import Connection, Pool
from service.db.records import ProvisionRequest, Run
from service.operations import runs
from service.operations.cases import Case, Rate, open_case
from service.operations.events import Author
from service.operations.runs import RunKeys

_CASES = queries.load("cases")


class AnswerTooLarge(Exception):
    """The answer does not fit into a message any more: limits or names have changed since the request was checked."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What answering needs. `clock` is monotonic and serves rates only; windows and deadlines are the database's."""

    pool: Pool
    run_keys: RunKeys
    event_key: bytes
    answer_limit: int = ANSWER_LIMIT_BYTES
    # Events of one client beyond this are counted instead; `bad_message` is answered once a second at most.
    _share: Rate = field(default_factory=lambda: Rate(10 / 3600, 100))
    _bad_messages: Rate = field(default_factory=lambda: Rate(1, 1))

    def author(self) -> Author:
        """Devices act; we write it down."""
        return Author(actor="device", source="mqtt", event_key=self.event_key)

    async def ask(self, client_id: str, payload: bytes, clock: float) -> bytes | None:
        """The reply to one message on `prov/v1/{client_id}/request`; None: nothing is sent."""
        ask = messages.parse_ask(payload)
        if isinstance(ask, Malformed):
            return await self._refuse_unreadable(client_id, ask, payload, clock)
        try:
            async with open_case(self.pool, self.author(), self._share, client_id, clock) as case:
                return await self._answer(case, ask)
        except AnswerTooLarge:
            return await self._refuse_too_large(client_id, ask, clock)

    async def _answer(self, case: Case, ask: Ask) -> bytes:
        stored = case.request.activation_key_sha256 if case.request else None
        given = ask.activation_key
        key_matches = keys.matches(stored, keys.ACTIVATION_KEY, given or "") and given is not None
        decision = decide_ask(
            case.facts(), wire="json", key_given=given is not None, key_matches=key_matches, wants_seal=ask.seal
        )
        if isinstance(decision, Refused):
            return self._refuse(case, ask, decision)
        assert case.request is not None
        key = given if stored is not None else None
        answer, deadline = await self._begin_or_repeat(case, case.request, decision, ask, key)
        return self._encode(case, answer, deadline, ask, key)

    async def _begin_or_repeat(
        self, case: Case, request: ProvisionRequest, decision: Begin | Repeat, ask: Ask, key: str | None
    ) -> tuple[Answer, datetime.datetime]:
        if isinstance(decision, Repeat):
            return repeat(case, self.run_keys, request, key)
        if decision.after_deadline:
            assert case.run is not None
            await close_past_deadline(case.connection, request, case.run, self.event_key)
        good = good_ask(case, wire="json", activation_key=key, device=ask.device)
        case.run, answer, _ = await runs.begin(case.connection, self.run_keys, request, good)
        return answer, case.run.deadline

    def _encode(self, case: Case, answer: Answer, deadline: datetime.datetime, ask: Ask, key: str | None) -> bytes:
        reply = encode_accepted(
            answer,
            ask_id=ask.id,
            client_id=case.client_id,
            now=case.now,
            confirm_within=max(0, int((deadline - case.now).total_seconds())),
            seal=Seal(activation_key=key, nonce=keys.new_nonce()) if ask.seal and key is not None else None,
        )
        if len(reply) > self.answer_limit:
            raise AnswerTooLarge
        return reply

    def _refuse(self, case: Case, ask: Ask, refused: Refused) -> bytes:
        """A generic code to the device, the reason to the event log, one correlation id in both."""
        code, retry_after = note_refusal(case, refused)
        return messages.encode_refused(
            ask_id=ask.id,
            code=code,
            now=case.now,
            correlation_id=case.correlation_id,
            retry_after=retry_after,
            not_before=refused.not_before,
        )

    async def _refuse_too_large(self, client_id: str, ask: Ask, clock: float) -> bytes:
        async with open_case(self.pool, self.author(), self._share, client_id, clock) as case:
            case.note("ask_refused", "answer_too_large", code="server_error")
        return messages.encode_refused(
            ask_id=ask.id, code="server_error", now=case.now, correlation_id=case.correlation_id
        )

    async def _refuse_unreadable(
        self, client_id: str, malformed: Malformed, payload: bytes, clock: float
    ) -> bytes | None:
        """Answered once a second at most."""
        async with open_case(self.pool, self.author(), self._share, client_id, clock) as case:
            note_unreadable(case, malformed, payload)
        if not self._bad_messages.allows(client_id, clock):
            return None
        return messages.encode_refused(
            ask_id=malformed.id, code="bad_message", now=case.now, correlation_id=case.correlation_id
        )

    async def record_failure(self, client_id: str, payload: bytes, correlation_id: str) -> datetime.datetime:
        """A message that could be read but not handled: noted by length and hash. Returns the database's time."""
        author = self.author()
        said = {"length": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
        async with self.pool.acquire(timeout=5) as connection:
            now: datetime.datetime = await connection.fetchval(
                _CASES["record_failure"],
                author.event_key,
                client_id,
                author.actor,
                author.source,
                correlation_id,
                json.dumps(said),
            )
        return now

    async def status(self, client_id: str, payload: bytes, clock: float) -> None:
        """One message on `prov/v1/{client_id}/status`. Nothing is ever answered."""
        status = messages.parse_status(payload)
        async with open_case(self.pool, self.author(), self._share, client_id, clock) as case:
            if isinstance(status, Malformed):
                note_unreadable(case, status, payload)
            else:
                await _move(case, status)


def good_ask(case: Case, *, wire: str, activation_key: str | None, device: Mapping[str, str]) -> runs.GoodAsk:
    """What a run is begun from. `activation_key`: as given, where the request has one."""
    assert case.loaded.next_number is not None
    return runs.GoodAsk(
        wire=wire,
        activation_key=activation_key,
        device=device,
        author=case.author,
        decided_at=case.now,
        number=case.loaded.next_number,
        applications=case.loaded.applications,
        ca=case.loaded.ca,
    )


def repeat(
    case: Case, run_keys: RunKeys, request: ProvisionRequest, key: str | None
) -> tuple[Answer, datetime.datetime]:
    """The same answer again, and its deadline, which moves to at least an hour from now."""
    assert case.run is not None
    answer = runs.answer_of(run_keys, request, case.run, activation_key=key)
    case.note("ask_repeated", run=case.run.number, digest=answer.digest)
    return answer, case.extend(case.run, asks.CONFIRM_WITHIN)


def note_refusal(case: Case, refused: Refused) -> tuple[str, int | None]:
    """A refused ask, written down or counted; returns what a device that can be told is told: (code, retry_after)."""
    request, code, retry_after = case.request, refused.code, refused.retry_after
    if refused.key_failure and request is not None:
        failures, since, busy = asks.throttle_key_failures(request.key_failures, request.key_failures_since, case.now)
        case.writes.key_failures(failures, since)
        if busy:
            code, retry_after = "busy", asks.RETRY_AFTER_BUSY
    if code == "busy":
        case.count(refused.reason)
    else:
        kind = "credential_contested" if refused.contested else "ask_refused"
        case.note(kind, refused.reason, code=code)
    return code, retry_after


def note_unreadable(case: Case, malformed: Malformed, payload: bytes) -> None:
    """By length, hash and reason, never by content."""
    digest = hashlib.sha256(payload).hexdigest()
    case.note("message_unreadable", malformed.reason, length=len(payload), sha256=digest)


async def _move(case: Case, status: Status) -> None:
    run = case.run
    if run is not None and not keys.matches(run.token_sha256, keys.RUN, status.run):
        run = None
    decision = progress.decide_status(
        run.state if run else None, status.state, past_deadline=run is not None and run.past_deadline
    )
    if isinstance(decision, Denied):  # late, backward, or of another run: noted, without effect
        case.note("status_ignored", decision.reason, state=status.state)
        return
    assert case.request is not None
    assert run is not None
    said = {name: text for name, text in (("step", status.step), ("detail", status.detail)) if text is not None}
    if status.state is RunState.FAILED:
        await runs.end(
            case.connection,
            case.request,
            run,
            state=RunState.FAILED,
            author=case.author,
            reason="device_failed",
            attempt=True,
            detail=said,
        )
        return
    case.move(run, [status.state], **said)
    case.extend(run, asks.CONFIRM_WITHIN_AFTER_STATUS)


async def close_past_deadline(connection: Connection, request: ProvisionRequest, run: Run, event_key: bytes) -> None:
    """A run that nobody confirmed in time: no attempt, the request is OPEN again. The sweep's and an ask's one way."""
    author = Author(actor="responder", source="sweep", event_key=event_key)
    await runs.end(connection, request, run, state=RunState.STOPPED, author=author, reason="past_deadline")
