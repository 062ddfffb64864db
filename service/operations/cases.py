"""
One message of a device in its transaction: one statement holds and loads what it concerns, one writes what it leaves.

Refusals and oddities are noted as events, within a share for each client id; what would be one too many is counted.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from cachetools import LRUCache

from service import keys
from service.core import budget
from service.core.asks import AskedRequest, LiveRun
from service.core.budget import Budget
from service.core.releases import Claim
from service.core.states import RunState
from service.core.steps import Step, StepKind, StepState
from service.db import queries
from service.db.pool import Connection, Pool, transaction
from service.db.records import ProvisionRequest, Run
from service.operations.events import Author

_CASES = queries.load("cases")

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
class Loaded:
    """Beside request and run: what a decision, or a run that begins, takes from the database."""

    provision_username: str | None
    device_enabled: bool
    issuing_stopped: bool
    claim: Claim
    # The number that the request's next run will have.
    next_number: int | None
    # What to install, in order: [{"name", "version", "url", "sha256", "size"}].
    applications: list[dict[str, Any]]
    # What devices must trust at the request's broker (PEM).
    ca: str | None
    # Of a run on Kura's wire, in order.
    steps: list[Step]

    @classmethod
    def from_row(cls, row: asyncpg.Record) -> Loaded:
        """jsonb arrives as text and is read here."""
        return cls(
            provision_username=row["provision_username"],
            device_enabled=row["device_enabled"],
            issuing_stopped=row["issuing_stopped"],
            claim=Claim.from_document(json.loads(row["claim"])) if row["claim"] is not None else Claim(),
            next_number=row["next_number"],
            applications=json.loads(row["applications"]),
            ca=row["ca"],
            steps=[_step(step) for step in json.loads(row["run_steps"] or "[]")],
        )


def _step(row: dict[str, Any]) -> Step:
    times = {name: _moment(row[name]) for name in ("sent_at", "answered_at")}
    return Step(**{**row, **times, "kind": StepKind(row["kind"]), "state": StepState(row["state"])})


def _moment(text: str | None) -> datetime.datetime | None:
    return None if text is None else datetime.datetime.fromisoformat(text)


class Writes:
    """What a message leaves behind, collected for one statement (`write_case` in SQL, in its words)."""

    def __init__(self) -> None:
        self._written: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._written)

    def document(self) -> str:
        """As JSON."""
        return json.dumps(self._written)

    def move(self, state: RunState) -> None:
        """The run goes forward."""
        self._written.setdefault("moves", []).append(state)

    def confirm_by(self, moment: datetime.datetime) -> None:
        """The run's deadline."""
        self._written["confirm_by"] = moment.isoformat()

    def heard(self, step: Step, state: StepState) -> None:
        """The device said something about a step that counts."""
        self._written.setdefault("heard", []).append({"position": step.position, "state": state})

    def sent(self, step: Step) -> None:
        """A step goes out, now."""
        names = ("position", "request_id", "job_id", "retries")
        self._written["sent"] = {name: getattr(step, name) for name in names}

    def key_failures(self, failures: int, since: datetime.datetime) -> None:
        """So many asks with a wrong or missing key since then, this one among them."""
        self._written["key_failures"] = {"failures": failures, "since": since.isoformat()}

    def refusal(self, refusal: dict[str, Any]) -> None:
        """One more in a count: {"broker", "username", "client_id", "reason", "count", "account_id"?}."""
        self._written.setdefault("refusals", []).append(refusal)

    def event(self, kind: str, correlation_id: str | None, reason: str | None, detail: dict[str, Any]) -> None:
        """One event; of a request in its chain."""
        event = {"kind": kind, "correlation_id": correlation_id, "reason": reason, "detail": detail}
        self._written.setdefault("events", []).append(event)


@dataclass(kw_only=True)
class Case:
    """
    What one message is decided from, and what it leaves behind. `now` is the database's time after the locks; `run` is
    the new one as soon as one has begun.
    """

    connection: Connection
    client_id: str
    request: ProvisionRequest | None
    run: Run | None
    loaded: Loaded
    now: datetime.datetime
    author: Author
    share: Rate
    clock: float
    writes: Writes = field(default_factory=Writes)
    # On the wire and in the event log: what joins a refusal with its reason.
    correlation_id: str = field(default_factory=keys.new_correlation_id)

    def facts(self) -> AskedRequest | None:
        """What an ask is decided from; None: no request has this client id."""
        request, run = self.request, self.run
        if request is None:
            return None
        return AskedRequest(
            state=request.state,
            enabled=request.enabled,
            account_enabled=request.account_enabled,
            device_enabled=self.loaded.device_enabled,
            endpoint_served=request.endpoint_served,
            has_key=request.activation_key_sha256 is not None,
            activates_on=request.activates_on,
            expires_on=request.expires_on,
            claim=self.loaded.claim,
            live_run=LiveRun(wire=run.wire, past_deadline=run.past_deadline) if run else None,
            now=self.now,
            issuing_stopped=self.loaded.issuing_stopped,
        )

    def tell(self, kind: str, **detail: Any) -> None:
        """An event that is part of the run's story: written down whatever the client's share is."""
        self.writes.event(kind, None, None, detail)

    def note(self, kind: str, reason: str | None = None, **detail: Any) -> None:
        """An event of the request, or of its mere client id; a refusal beyond the client's share is counted instead."""
        if self.share.allows(self.client_id, self.clock):
            self.writes.event(kind, self.correlation_id if reason is not None else None, reason, detail)
        elif reason is not None:
            self.count(reason)

    def count(self, reason: str) -> None:
        """One more in the count of this minute."""
        refusal = {"broker": COUNTED_AS, "username": "", "client_id": self.client_id, "reason": reason, "count": 1}
        if self.request is not None:
            refusal["account_id"] = self.request.account_id
        self.writes.refusal(refusal)

    def move(self, run: Run, states: Iterable[RunState], **detail: Any) -> None:
        """The run goes forward, through each of these states."""
        for state in states:
            self.writes.move(state)
            self.tell("run_moved", run=run.number, state=state, **detail)

    def extend(self, run: Run, at_least: datetime.timedelta) -> datetime.datetime:
        """The run may be confirmed for at least that long from now; never less long than before. Returns until when."""
        deadline = max(run.deadline, self.now + at_least)
        self.writes.confirm_by(deadline)
        return deadline


@asynccontextmanager
async def open_case(pool: Pool, author: Author, share: Rate, client_id: str, clock: float) -> AsyncIterator[Case]:
    """
    A transaction that holds the request of this client id, and its live run; at its end the case's writes are written.

    Raises one of TRANSIENT.
    """
    async with transaction(pool) as connection:
        row = await connection.fetchrow(_CASES["lock"], client_id)
        assert row is not None
        case = Case(
            connection=connection,
            client_id=client_id,
            request=ProvisionRequest.from_part(row) if row["id"] is not None else None,
            run=Run.from_part(row, "run_") if row["run_id"] is not None else None,
            loaded=Loaded.from_row(row),
            now=row["now"],
            author=author,
            share=share,
            clock=clock,
        )
        yield case
        await _write(case)


async def _write(case: Case) -> None:
    if case.writes:
        await case.connection.execute(
            _CASES["write"],
            case.author.event_key,
            case.author.actor,
            case.author.source,
            case.client_id,
            case.request.account_id if case.request else None,
            case.request.id if case.request else None,
            case.run.id if case.run else None,
            case.writes.document(),
        )
