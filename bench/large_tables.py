"""
What a table of 1,000,000 requests costs against one of 10,000 (B7), with the users, devices, connections, runs and
events that there would be: the database's time of a whole provisioning, by statement, and a cold `/hooks/user` of a
device that was provisioned before. Two databases of one server, asked in turn.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from bench import fleet
from bench.figures import Figure, Goal, single
from bench.worlds import bench_database
from service.operations import accounts
from service.operations.administration import Administration
from service.operations.asks import Desk
from tests.support import postgres
from tests.support.database import PASSWORD, Database, make_account
from tests.support.gate import Gate, open_gate
from tests.support.hooks_server import serving
from tests.support.raw_http import Client
from tests.support.scene import ACCOUNT, PROVISION, Scene, new_desk, open_administration

SMALL, LARGE = 10_000, 1_000_000
# So many devices are provisioned in each database, and so many others log in; the first ones warm up.
PROVISIONED, LOGINS, WARM_UP = 150, 400, 30
GOAL = 1.2
STATEMENTS = ("hook_facts", "lock_case", "begin_run", "hook_login", "BEGIN", "COMMIT")


@dataclass(kw_only=True)
class Side:
    """One of the two databases, with what was measured there: milliseconds, as those who ask wait."""

    rows: int
    scene: Scene
    hooks: Client
    statements: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    provisionings: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)

    @property
    def open_every(self) -> int:
        """Open requests lie evenly among the others."""
        return self.rows // (PROVISIONED + WARM_UP)

    def note(self, query: Any) -> None:
        """A statement was answered."""
        text = query.query.lstrip()
        name = next((name for name in STATEMENTS if f"{name}(" in text or text.startswith(name)), "other")
        self.statements[name].append(query.elapsed * 1000)

    def forget(self) -> None:
        """The warming up."""
        self.statements.clear()
        self.provisionings.clear()
        self.logins.clear()


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The large table against the small one. `statements`: medians in milliseconds, {name: (small, large)}."""

    provisioning: float
    login: float
    statements: dict[str, tuple[float, float]]
    small: Side
    large: Side


async def provision(side: Side, number: int) -> None:
    """CONNECT with the shared credential, ask, CONNECT at the account broker; the database's part of it is kept."""
    client_id, scene = fleet.client_id(number), side.scene
    done = {name: len(found) for name, found in side.statements.items()}
    assert await scene.gate.connect(PROVISION, fleet.SHARED_USERNAME, PASSWORD, client_id)
    ask = {"id": "a-1", "activation_key": fleet.activation_key(number)}
    reply = await scene.desk.ask(client_id, json.dumps(ask).encode(), number * 10.0)
    assert reply is not None
    connection = json.loads(reply)["connection"]
    assert await scene.gate.connect(ACCOUNT, connection["username"], connection["password"], client_id)
    side.provisionings.append(sum(sum(found[done.get(name, 0) :]) for name, found in side.statements.items()))


async def login(side: Side, number: int) -> None:
    """`/hooks/user` of a device that nobody has asked for before."""
    began = time.perf_counter()
    answer = await side.hooks.user(fleet.username(number), fleet.password(number), fleet.client_id(number))
    side.logins.append((time.perf_counter() - began) * 1000)
    assert answer.granted, answer


@asynccontextmanager
async def open_side(database: Database, admin: Administration, rows: int) -> AsyncIterator[Side]:
    """Filled, with a responder's and a hooks process's insides, on one connection each."""
    secrets = {PROVISION: await accounts.create_broker(admin, PROVISION, role="provision")}
    secrets[ACCOUNT] = await make_account(admin, broker=ACCOUNT)
    async with AsyncExitStack() as stack:
        pools = {role: await stack.enter_async_context(_pool(database, role)) for role in ("responder", "hooks")}
        gate: Gate = await stack.enter_async_context(open_gate(database.url("hooks"), database.event_key))
        gate.store._pool = pools["hooks"].pool
        gate.admission.slow_hashes.rate = gate.admission.slow_hashes.burst = 1e6
        desk: Desk = new_desk(database, pools["responder"].pool)
        scene = Scene(database=database, admin=admin, desk=desk, gate=gate, secrets=secrets)
        server = await stack.enter_async_context(serving(scene))
        client = await stack.enter_async_context(server.client(ACCOUNT))
        side = Side(rows=rows, scene=scene, hooks=client)
        for pool in pools.values():
            pool.note = side.note
        yield side


@dataclass(kw_only=True)
class _Noted:
    pool: Any = None
    note: Any = None

    def log(self, query: Any) -> None:
        if self.note is not None:
            self.note(query)


@asynccontextmanager
async def _pool(database: Database, role: str) -> AsyncIterator[_Noted]:
    noted = _Noted()

    async def init(connection: Any) -> None:
        connection.add_query_logger(noted.log)

    async def reset(_connection: object) -> None:
        """As in the services: nothing."""

    noted.pool = await asyncpg.create_pool(database.url(role).reveal(), min_size=1, max_size=1, init=init, reset=reset)
    try:
        yield noted
    finally:
        noted.pool.terminate()  # the hooks' side holds its connection


async def compare(small: Side, large: Side) -> Compared:
    """In turn, so that what else the machine does hits both alike."""
    sides = (small, large)
    for side in sides:
        await side.scene.gate.store.heartbeat()
        await side.scene.gate.follow()
    for turn in range(PROVISIONED + WARM_UP):
        if turn == WARM_UP:
            for side in sides:
                side.forget()
        for side in sides:
            await provision(side, turn * side.open_every)
    for turn in range(LOGINS):
        for side in sides:
            await login(side, _provisioned_number(side, turn))
    return Compared(
        provisioning=_ratio(small.provisionings, large.provisionings),
        login=_ratio(small.logins, large.logins),
        statements={name: (_median(small, name), _median(large, name)) for name in STATEMENTS},
        small=small,
        large=large,
    )


def _provisioned_number(side: Side, turn: int) -> int:
    """Spread over all of them, and none of an open request."""
    number = turn * (side.rows // LOGINS)
    return number + 1 if number % side.open_every == 0 else number


def _median(side: Side, name: str) -> float:
    return statistics.median(side.statements[name])


def _ratio(small: Sequence[float], large: Sequence[float]) -> float:
    return statistics.median(large) / statistics.median(small)


@asynccontextmanager
async def both_sides(small_rows: int = SMALL, large_rows: int = LARGE) -> AsyncIterator[tuple[Side, Side]]:
    """Two filled databases of one server."""
    async with bench_database() as (database, admin), AsyncExitStack() as stack:
        name = postgres.make_template(database.server, "bench_small")
        other = Database(server=database.server, name=name)
        other_admin = await stack.enter_async_context(open_administration(other, bcrypt_cost=4))
        large = await stack.enter_async_context(open_side(database, admin, large_rows))
        small = await stack.enter_async_context(open_side(other, other_admin, small_rows))
        for side in (small, large):
            await fleet.fill(
                side.scene.database, 0, side.rows - 1, shared=True, open_every=side.open_every, bcrypt_cost=4
            )
        yield small, large


async def measure() -> list[Figure]:
    """B7."""
    async with both_sides() as (small, large):
        found = await compare(small, large)
    beside = f"{LARGE:,} requests / {SMALL:,}"
    goal = Goal(at_most=GOAL)
    figures = [
        Figure(row="B7", what=f"database time of a provisioning, {beside}", values=(found.provisioning,), goal=goal),
        Figure(row="B7", what=f"cold /hooks/user p50, {beside}", values=(found.login,), goal=goal),
    ]
    for name, (few, many) in found.statements.items():
        figures.append(single("B7", f"{name}, {SMALL:,}", few, "ms"))
        figures.append(single("B7", f"{name}, {LARGE:,}", many, "ms"))
    return figures
