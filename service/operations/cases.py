"""
One message of a device in its transaction: the request and the run that it concerns, held until the commit.

Refusals and oddities are noted as events, within a share for each client id; what would be one too many is counted.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cachetools import LRUCache

from service import keys
from service.core import budget
from service.core.asks import AskedRequest, LiveRun
from service.core.budget import Budget
from service.core.releases import Claim
from service.db import queries
from service.db.pool import Connection, Pool, transaction
from service.db.records import ProvisionRequest, Run
from service.operations import events, runs
from service.operations.events import Author

_REQUESTS = queries.load("provision_requests")
_EVENTS = queries.load("events")
_RELEASES = queries.load("releases")
_DEVICES = queries.load("devices")

# Under this name the responder's refusals are counted.
COUNTED_AS = "~responder"


class Rate:
    """A budget for each client id, so that nobody's flood costs more than this."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._budgets: LRUCache[str, Budget] = LRUCache(maxsize=10_000)

    def allows(self, client_id: str, clock: float) -> bool:
        """Whether this client may once more; `clock` is monotonic, in seconds."""
        before = self._budgets.get(client_id) or budget.full_budget(self._rate, self._burst, clock)
        self._budgets[client_id], enough = budget.take(before, clock)
        return enough


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one message is decided from. `now` is the database's time after the lock."""

    connection: Connection
    client_id: str
    request: ProvisionRequest | None
    run: Run | None
    now: datetime.datetime
    author: Author
    share: Rate
    clock: float
    # On the wire and in the event log: what joins a refusal with its reason.
    correlation_id: str = field(default_factory=keys.new_correlation_id)

    async def facts(self) -> AskedRequest | None:
        """What an ask is decided from; None: no request has this client id."""
        request, run = self.request, self.run
        if request is None:
            return None
        return AskedRequest(
            state=request.state,
            enabled=request.enabled,
            account_enabled=request.account_enabled,
            device_enabled=await self.connection.fetchval(
                _DEVICES["is_enabled"], request.account_id, request.client_id
            ),
            endpoint_served=request.endpoint_served,
            has_key=request.activation_key_sha256 is not None,
            activates_on=request.activates_on,
            expires_on=request.expires_on,
            claim=Claim.from_document(
                json.loads(await self.connection.fetchval(_RELEASES["claim"], request.account_id, request.client_id))
            ),
            live_run=LiveRun(wire=run.wire, past_deadline=run.past_deadline) if run else None,
            now=self.now,
        )

    async def note(self, kind: str, reason: str | None = None, **detail: object) -> None:
        """An event of the request, or of its mere client id; a refusal beyond the client's share is counted instead."""
        if not self.share.allows(self.client_id, self.clock):
            if reason is not None:
                await self.count(reason)
            return
        await events.append(
            self.connection,
            self.author,
            kind,
            account_id=self.request.account_id if self.request else None,
            request_id=self.request.id if self.request else None,
            client_id=self.client_id,
            correlation_id=self.correlation_id if reason is not None else None,
            reason=reason,
            **detail,
        )

    async def count(self, reason: str) -> None:
        """One more in the count of this minute."""
        refusal = {"broker": COUNTED_AS, "username": "", "client_id": self.client_id, "reason": reason, "count": 1}
        if self.request is not None:
            refusal["account_id"] = self.request.account_id
        await self.connection.execute(_EVENTS["count_refusals"], json.dumps([refusal]))


@asynccontextmanager
async def open_case(pool: Pool, author: Author, share: Rate, client_id: str, clock: float) -> AsyncIterator[Case]:
    """A transaction that holds the request of this client id, and its live run. Raises Unavailable."""
    async with transaction(pool) as connection:
        row = await connection.fetchrow(_REQUESTS["lock_by_client_id"], client_id)
        request = ProvisionRequest.from_row(row) if row else None
        yield Case(
            connection=connection,
            client_id=client_id,
            request=request,
            run=await runs.lock_live(connection, request) if request else None,
            now=await connection.fetchval(_REQUESTS["now"]),
            author=author,
            share=share,
            clock=clock,
        )
