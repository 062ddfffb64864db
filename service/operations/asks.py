"""
What devices send, as operations: an ask becomes a run or a refusal, a status moves the run (design 4.1, D6, D7, D10).

Each is one transaction that locks the request. The caller publishes the reply after the commit and acknowledges last.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from dataclasses import dataclass, field

from cachetools import LRUCache

from service import keys
from service.core import asks, budget, messages, progress
from service.core.answers import ANSWER_LIMIT_BYTES, Answer, Seal, encode_accepted
from service.core.asks import AskedRequest, Begin, LiveRun, Refused, Repeat, decide_ask
from service.core.budget import Budget
from service.core.messages import Ask, Malformed, Status
from service.core.states import RunState
from service.core.verdicts import Denied
from service.db import queries
from service.db.pool import Connection, Pool, transaction
from service.db.records import ProvisionRequest, Run
from service.operations import events, runs
from service.operations.events import Author
from service.operations.runs import RunKeys

_REQUESTS = queries.load("provision_requests")
_EVENTS = queries.load("events")
_DEVICES = queries.load("devices")

# Under this name the responder's refusals are counted.
COUNTED_AS = "~responder"


class AnswerTooLarge(Exception):
    """The answer does not fit into a message any more: limits or names have changed since the request was checked."""


class _Rate:
    """A budget for each client id, so that nobody's flood costs more than this."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._budgets: LRUCache[str, Budget] = LRUCache(maxsize=10_000)

    def allows(self, client_id: str, now: float) -> bool:
        before = self._budgets.get(client_id) or budget.full_budget(self._rate, self._burst, now)
        self._budgets[client_id], enough = budget.take(before, now)
        return enough


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What answering needs. `clock` is monotonic and serves rates only; windows and deadlines are the database's."""

    pool: Pool
    run_keys: RunKeys
    event_key: bytes
    answer_limit: int = ANSWER_LIMIT_BYTES
    # Events of one client beyond this are counted instead; `bad_message` is answered once a second at most.
    _events: _Rate = field(default_factory=lambda: _Rate(10 / 60, 100))
    _bad_messages: _Rate = field(default_factory=lambda: _Rate(1, 1))

    def author(self) -> Author:
        """Devices act; we write it down."""
        return Author(actor="device", source="mqtt", event_key=self.event_key)

    async def ask(self, client_id: str, payload: bytes, clock: float) -> bytes | None:
        """The reply to one message on `prov/v1/{client_id}/request`; None: nothing is sent."""
        ask = messages.parse_ask(payload)
        if isinstance(ask, Malformed):
            return await self._refuse_unreadable(client_id, ask, payload, clock)
        try:
            async with transaction(self.pool) as connection:
                return await self._answer(connection, client_id, ask, clock)
        except AnswerTooLarge:
            return await self._refuse_too_large(client_id, ask)

    async def _answer(self, connection: Connection, client_id: str, ask: Ask, clock: float) -> bytes:
        request = await _lock(connection, client_id)
        run = await runs.lock_live(connection, request) if request else None
        now = await connection.fetchval(_REQUESTS["now"])
        given, stored = ask.activation_key, request.activation_key_sha256 if request else None
        key_matches = keys.matches(stored, keys.ACTIVATION_KEY, given or "") and given is not None
        decision = decide_ask(
            await _facts(connection, request, run, now) if request else None,
            wire="json",
            key_given=given is not None,
            key_matches=key_matches,
            wants_seal=ask.seal,
        )
        if isinstance(decision, Refused):
            return await self._refuse(connection, client_id, request, ask, decision, now, clock)
        assert request is not None
        key = given if request.activation_key_sha256 is not None else None
        answer = await self._begin_or_repeat(connection, request, run, decision, ask, key, now, clock)
        return await self._encode(connection, request, answer, ask, key, now)

    async def _begin_or_repeat(
        self,
        connection: Connection,
        request: ProvisionRequest,
        run: Run | None,
        decision: Begin | Repeat,
        ask: Ask,
        key: str | None,
        now: datetime.datetime,
        clock: float,
    ) -> Answer:
        if isinstance(decision, Repeat):
            assert run is not None
            answer = await runs.repeat(connection, self.run_keys, request, run, activation_key=key)
            if self._events.allows(request.client_id, clock):
                await events.append(
                    connection,
                    self.author(),
                    "ask_repeated",
                    account_id=request.account_id,
                    request_id=request.id,
                    client_id=request.client_id,
                    run=run.number,
                    digest=answer.digest,
                )
            return answer
        if decision.after_deadline:
            assert run is not None
            await close_past_deadline(connection, request, run, self.event_key)
        return await runs.begin(
            connection,
            self.run_keys,
            request,
            wire="json",
            activation_key=key,
            author=self.author(),
            device=dict(ask.device),
            now=now,
        )

    async def _encode(
        self,
        connection: Connection,
        request: ProvisionRequest,
        answer: Answer,
        ask: Ask,
        key: str | None,
        now: datetime.datetime,
    ) -> bytes:
        run = await runs.lock_live(connection, request)
        assert run is not None
        reply = encode_accepted(
            answer,
            ask_id=ask.id,
            client_id=request.client_id,
            now=now,
            confirm_within=max(0, int((run.deadline - now).total_seconds())),
            seal=Seal(activation_key=key, nonce=keys.new_nonce()) if ask.seal and key is not None else None,
        )
        if len(reply) > self.answer_limit:
            raise AnswerTooLarge
        return reply

    async def _refuse(
        self,
        connection: Connection,
        client_id: str,
        request: ProvisionRequest | None,
        ask: Ask,
        refused: Refused,
        now: datetime.datetime,
        clock: float,
    ) -> bytes:
        """A generic code to the device, the reason to the event log, one correlation id in both."""
        correlation_id = keys.new_correlation_id()
        code, retry_after = refused.code, refused.retry_after
        if refused.key_failure and request is not None:
            failures, since, busy = asks.throttle_key_failures(request.key_failures, request.key_failures_since, now)
            await connection.execute(_REQUESTS["note_key_failure"], request.id, failures, since)
            if busy:
                code, retry_after = "busy", asks.RETRY_AFTER_BUSY
        if code != "busy" and self._events.allows(client_id, clock):
            await events.append(
                connection,
                self.author(),
                "credential_contested" if refused.contested else "ask_refused",
                account_id=request.account_id if request else None,
                request_id=request.id if request else None,
                client_id=client_id,
                correlation_id=correlation_id,
                reason=refused.reason,
                code=code,
                device=dict(ask.device),
            )
        else:
            await self._count(connection, client_id, refused.reason)
        return messages.encode_refused(
            ask_id=ask.id,
            code=code,
            now=now,
            correlation_id=correlation_id,
            retry_after=retry_after,
            not_before=refused.not_before,
        )

    async def _refuse_too_large(self, client_id: str, ask: Ask) -> bytes:
        correlation_id = keys.new_correlation_id()
        async with transaction(self.pool) as connection:
            request = await _lock(connection, client_id)
            now = await connection.fetchval(_REQUESTS["now"])
            await events.append(
                connection,
                self.author(),
                "ask_refused",
                account_id=request.account_id if request else None,
                request_id=request.id if request else None,
                client_id=client_id,
                correlation_id=correlation_id,
                reason="answer_too_large",
                code="server_error",
            )
        return messages.encode_refused(ask_id=ask.id, code="server_error", now=now, correlation_id=correlation_id)

    async def _refuse_unreadable(
        self, client_id: str, malformed: Malformed, payload: bytes, clock: float
    ) -> bytes | None:
        """Recorded by length, hash and reason, never by content; answered once a second at most."""
        correlation_id = keys.new_correlation_id()
        async with self.pool.acquire(timeout=5) as connection, connection.transaction():
            await self._record_unreadable(connection, client_id, malformed, payload, correlation_id, clock)
            now = await connection.fetchval(_REQUESTS["now"])
        if not self._bad_messages.allows(client_id, clock):
            return None
        return messages.encode_refused(ask_id=malformed.id, code="bad_message", now=now, correlation_id=correlation_id)

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

    async def _record_unreadable(
        self,
        connection: Connection,
        client_id: str,
        malformed: Malformed,
        payload: bytes,
        correlation_id: str,
        clock: float,
    ) -> None:
        if not self._events.allows(client_id, clock):
            await self._count(connection, client_id, malformed.reason)
            return
        request = await _lock(connection, client_id)
        await events.append(
            connection,
            self.author(),
            "message_unreadable",
            account_id=request.account_id if request else None,
            request_id=request.id if request else None,
            client_id=client_id,
            correlation_id=correlation_id,
            reason=malformed.reason,
            length=len(payload),
            sha256=hashlib.sha256(payload).hexdigest(),
        )

    async def _count(self, connection: Connection, client_id: str, reason: str) -> None:
        """What would be one event too many is counted by the minute."""
        refusal = {"broker": COUNTED_AS, "username": "", "client_id": client_id, "reason": reason, "count": 1}
        await connection.execute(_EVENTS["count_refusals"], json.dumps([refusal]))

    async def status(self, client_id: str, payload: bytes, clock: float) -> None:
        """One message on `prov/v1/{client_id}/status`. Nothing is ever answered."""
        status = messages.parse_status(payload)
        if isinstance(status, Malformed):
            async with transaction(self.pool) as connection:
                await self._record_unreadable(connection, client_id, status, payload, keys.new_correlation_id(), clock)
            return
        async with transaction(self.pool) as connection:
            await self._move(connection, client_id, status, clock)

    async def _move(self, connection: Connection, client_id: str, status: Status, clock: float) -> None:
        request = await _lock(connection, client_id)
        run = await runs.lock_live(connection, request) if request else None
        named = run is not None and keys.matches(run.token_sha256, keys.RUN, status.run)
        decision = progress.decide_status(run.state if run and named else None, status.state)
        if isinstance(decision, Denied):
            await self._ignore(connection, client_id, request, status, decision.reason, clock)
            return
        assert request is not None
        assert run is not None
        said = {name: text for name, text in (("step", status.step), ("detail", status.detail)) if text is not None}
        if status.state is RunState.FAILED:
            await runs.end(
                connection,
                request,
                run,
                state=RunState.FAILED,
                author=self.author(),
                reason="device_failed",
                attempt=True,
                detail=said,
            )
            return
        await runs.move(connection, request, run, status.state, author=self.author(), **said)
        await runs.extend(connection, run, asks.CONFIRM_WITHIN_AFTER_STATUS)

    async def _ignore(
        self,
        connection: Connection,
        client_id: str,
        request: ProvisionRequest | None,
        status: Status,
        reason: str,
        clock: float,
    ) -> None:
        """Late, backward, or of another run: noted, without effect."""
        if not self._events.allows(client_id, clock):
            await self._count(connection, client_id, reason)
            return
        await events.append(
            connection,
            self.author(),
            "status_ignored",
            account_id=request.account_id if request else None,
            request_id=request.id if request else None,
            client_id=client_id,
            reason=reason,
            state=status.state,
        )


async def _lock(connection: Connection, client_id: str) -> ProvisionRequest | None:
    row = await connection.fetchrow(_REQUESTS["lock_by_client_id"], client_id)
    return ProvisionRequest.from_row(row) if row else None


async def _facts(
    connection: Connection, request: ProvisionRequest, run: Run | None, now: datetime.datetime
) -> AskedRequest:
    return AskedRequest(
        state=request.state,
        enabled=request.enabled,
        account_enabled=request.account_enabled,
        device_enabled=await connection.fetchval(_DEVICES["is_enabled"], request.account_id, request.client_id),
        endpoint_served=request.endpoint_served,
        has_key=request.activation_key_sha256 is not None,
        activates_on=request.activates_on,
        expires_on=request.expires_on,
        live_run=LiveRun(wire=run.wire, past_deadline=run.past_deadline) if run else None,
        now=now,
    )


async def close_past_deadline(connection: Connection, request: ProvisionRequest, run: Run, event_key: bytes) -> None:
    """A run that nobody confirmed in time: no attempt, the request is OPEN again. The sweep's and an ask's one way."""
    author = Author(actor="responder", source="sweep", event_key=event_key)
    await runs.end(connection, request, run, state=RunState.STOPPED, author=author, reason="past_deadline")
