"""
What devices send, as operations: an ask becomes a run or a refusal, a status moves the run (design 4.1, D6, D7, D10).

Each is one transaction that locks the request. The caller publishes the reply after the commit and acknowledges last.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field

from service import keys
from service.core import asks, messages, progress
from service.core.answers import ANSWER_LIMIT_BYTES, Answer, Seal, encode_accepted
from service.core.asks import Begin, Refused, Repeat, decide_ask
from service.core.messages import Ask, Malformed, Status
from service.core.states import RunState
from service.core.verdicts import Denied
from service.db import queries
from service.db.pool import Connection, Pool, transaction
from service.db.records import ProvisionRequest, Run
from service.operations import events, runs
from service.operations.cases import Case, Rate, open_case
from service.operations.events import Author
from service.operations.runs import RunKeys

_REQUESTS = queries.load("provision_requests")
_CREDENTIALS = queries.load("credentials")


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
            await case.facts(), wire="json", key_given=given is not None, key_matches=key_matches, wants_seal=ask.seal
        )
        if isinstance(decision, Refused):
            return await self._refuse(case, ask, decision)
        assert case.request is not None
        key = given if stored is not None else None
        answer = await self._begin_or_repeat(case, decision, ask, key)
        return await self._encode(case, case.request, answer, ask, key)

    async def _begin_or_repeat(self, case: Case, decision: Begin | Repeat, ask: Ask, key: str | None) -> Answer:
        assert case.request is not None
        if isinstance(decision, Repeat):
            assert case.run is not None
            answer = await runs.repeat(case.connection, self.run_keys, case.request, case.run, activation_key=key)
            await case.note("ask_repeated", run=case.run.number, digest=answer.digest)
            return answer
        if decision.after_deadline:
            assert case.run is not None
            await close_past_deadline(case.connection, case.request, case.run, self.event_key)
        return await runs.begin(
            case.connection,
            self.run_keys,
            case.request,
            wire="json",
            activation_key=key,
            author=case.author,
            device=dict(ask.device),
            now=case.now,
        )

    async def _encode(self, case: Case, request: ProvisionRequest, answer: Answer, ask: Ask, key: str | None) -> bytes:
        run = await runs.lock_live(case.connection, request)
        assert run is not None
        reply = encode_accepted(
            answer,
            ask_id=ask.id,
            client_id=case.client_id,
            now=case.now,
            confirm_within=max(0, int((run.deadline - case.now).total_seconds())),
            seal=Seal(activation_key=key, nonce=keys.new_nonce()) if ask.seal and key is not None else None,
        )
        if len(reply) > self.answer_limit:
            raise AnswerTooLarge
        return reply

    async def _refuse(self, case: Case, ask: Ask, refused: Refused) -> bytes:
        """A generic code to the device, the reason to the event log, one correlation id in both."""
        code, retry_after = await note_refusal(case, refused)
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
            await case.note("ask_refused", "answer_too_large", code="server_error")
        return messages.encode_refused(
            ask_id=ask.id, code="server_error", now=case.now, correlation_id=case.correlation_id
        )

    async def _refuse_unreadable(
        self, client_id: str, malformed: Malformed, payload: bytes, clock: float
    ) -> bytes | None:
        """Answered once a second at most."""
        async with open_case(self.pool, self.author(), self._share, client_id, clock) as case:
            await note_unreadable(case, malformed, payload)
        if not self._bad_messages.allows(client_id, clock):
            return None
        return messages.encode_refused(
            ask_id=malformed.id, code="bad_message", now=case.now, correlation_id=case.correlation_id
        )

    async def record_failure(self, client_id: str, payload: bytes, correlation_id: str) -> datetime.datetime:
        """A message that could be read but not handled: noted by length and hash. Returns the database's time."""
        async with transaction(self.pool) as connection:
            await events.append(
                connection,
                self.author(),
                "message_failed",
                client_id=client_id,
                correlation_id=correlation_id,
                reason="server_error",
                length=len(payload),
                sha256=hashlib.sha256(payload).hexdigest(),
            )
            now: datetime.datetime = await connection.fetchval(_REQUESTS["now"])
        return now

    async def status(self, client_id: str, payload: bytes, clock: float) -> None:
        """One message on `prov/v1/{client_id}/status`. Nothing is ever answered."""
        status = messages.parse_status(payload)
        async with open_case(self.pool, self.author(), self._share, client_id, clock) as case:
            if isinstance(status, Malformed):
                await note_unreadable(case, status, payload)
            else:
                await _move(case, status)


async def note_refusal(case: Case, refused: Refused) -> tuple[str, int | None]:
    """A refused ask, written down or counted; returns what a device that can be told is told: (code, retry_after)."""
    request, code, retry_after = case.request, refused.code, refused.retry_after
    if refused.key_failure and request is not None:
        failures, since, busy = asks.throttle_key_failures(request.key_failures, request.key_failures_since, case.now)
        await case.connection.execute(_REQUESTS["note_key_failure"], request.id, failures, since)
        await case.connection.execute(_CREDENTIALS["note_wrong_key"], request.user_id, request.client_id)
        if busy:
            code, retry_after = "busy", asks.RETRY_AFTER_BUSY
    if code == "busy":
        await case.count(refused.reason)
    else:
        kind = "credential_contested" if refused.contested else "ask_refused"
        await case.note(kind, refused.reason, code=code)
    return code, retry_after


async def note_unreadable(case: Case, malformed: Malformed, payload: bytes) -> None:
    """By length, hash and reason, never by content."""
    digest = hashlib.sha256(payload).hexdigest()
    await case.note("message_unreadable", malformed.reason, length=len(payload), sha256=digest)


async def _move(case: Case, status: Status) -> None:
    run = case.run
    if run is not None and not keys.matches(run.token_sha256, keys.RUN, status.run):
        run = None
    decision = progress.decide_status(
        run.state if run else None, status.state, past_deadline=run is not None and run.past_deadline
    )
    if isinstance(decision, Denied):  # late, backward, or of another run: noted, without effect
        await case.note("status_ignored", decision.reason, state=status.state)
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
    await runs.move(case.connection, case.request, run, status.state, author=case.author, **said)
    await runs.extend(case.connection, run, asks.CONFIRM_WITHIN_AFTER_STATUS)


async def close_past_deadline(connection: Connection, request: ProvisionRequest, run: Run, event_key: bytes) -> None:
    """A run that nobody confirmed in time: no attempt, the request is OPEN again. The sweep's and an ask's one way."""
    author = Author(actor="responder", source="sweep", event_key=event_key)
    await runs.end(connection, request, run, state=RunState.STOPPED, author=author, reason="past_deadline")
