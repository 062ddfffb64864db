"""
G23, G22: every migration taken back and applied again with 1,000,000 requests, and their devices, in the tables:
seconds, rows that are lost, whether the schema is the one that is built from nothing; and how long a verdict has to
wait meanwhile.

Down to the level that first has requests, then up again; before and after that the same rows must stand there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import asyncpg

from bench import fleet, scale
from bench.figures import Figure, single
from bench.worlds import bench_database
from service.db.levels import files
from service.db.migrations import Migrator
from service.operations import accounts
from tests.support import postgres
from tests.support.catalog import describe, differences
from tests.support.database import Database, make_account

FEW, MANY = 10_000, 1_000_000
# The level before the first that is taken back: requests are there, and so are the functions that hooks call.
FLOOR = "0007_hook_functions"
PAUSE = 0.01
KEPT = ("users", "devices", "device_connections", "provision_requests", "provision_runs", "events", "user_permissions")


@dataclass
class Verdicts:
    """A broker's question, again and again, on a connection of the hooks' role; how long each had to wait."""

    url: str
    longest: float = 0.0
    # While a level has no such function, or another's: nobody asks a schema that is not theirs.
    refused: int = 0

    async def ask(self) -> None:
        """Until it is cancelled."""
        question = ("account-broker", fleet.username(1), fleet.client_id(1))
        connection = await asyncpg.connect(self.url, statement_cache_size=0)
        try:
            while True:
                began = time.monotonic()
                try:
                    await connection.fetchval("SELECT hook_facts($1, $2, $3)", *question)
                    self.longest = max(self.longest, time.monotonic() - began)
                except asyncpg.PostgresError:
                    self.refused += 1
                await asyncio.sleep(PAUSE)
        finally:
            connection.terminate()

    def take(self) -> float:
        """The longest wait since this was asked last."""
        longest, self.longest = self.longest, 0.0
        return longest


async def counted(database: Database) -> dict[str, int]:
    """Rows by table, those that every level above the floor has."""
    return {table: await database.value(f"SELECT count(*) FROM {table}") for table in KEPT}


async def timed(work: Callable[[], list[str]]) -> tuple[str, float]:
    """The migration that it was, and its seconds."""
    began = time.monotonic()
    (name,) = await asyncio.to_thread(work)
    return name, time.monotonic() - began


@dataclass(frozen=True)
class Way:
    """Seconds by migration: taken back, applied, and the longest that a verdict had to wait while it was applied."""

    down: dict[str, float]
    up: dict[str, float]
    waits: dict[str, float]


async def there_and_back(database: Database) -> Way:
    """Down to the floor, and up again."""
    migrator = Migrator(database.url("migrator"))
    names = [file.stem for file in files() if file.stem > FLOOR]
    way = Way(dict([await timed(migrator.down) for _ in names]), {}, {})
    verdicts = Verdicts(database.url("hooks").reveal())
    asking = asyncio.create_task(verdicts.ask())
    try:
        for name in names:
            way.up.update([await timed(partial(migrator.up, to=name))])
            await asyncio.sleep(10 * PAUSE)  # whoever waited is answered now
            way.waits[name] = verdicts.take()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return way


async def measure() -> list[Figure]:
    """One way there and back."""
    rows = MANY if scale.is_large() else FEW
    async with bench_database() as (database, admin):
        await accounts.create_broker(admin, "provision-broker", role="provision")
        await make_account(admin, broker="account-broker")
        await fleet.fill(database, 0, rows - 1, shared=True, open_every=10, bcrypt_cost=4)
        fresh = Database(server=database.server, name=postgres.make_template(database.server, "bench_fresh"))
        before = await counted(database)
        way = await there_and_back(database)
        after = await counted(database)
        unlike = differences(describe(fresh.url().reveal()), describe(database.url().reveal()))
    lost = sum(before[table] != after[table] for table in KEPT)
    return list(_figures(f"{rows:,} requests", way, lost, len(unlike)))


def _figures(of: str, way: Way, lost: int, unlike: int) -> Iterator[Figure]:
    yield single("G23", f"tables with other rows after {len(way.up)} migrations down and up, {of}", lost, at_most=0)
    yield single("G23", f"differences from the schema that is built from nothing, {of}", unlike, at_most=0)
    for what, seconds in (("down", way.down), ("up", way.up)):
        slowest = max(seconds, key=seconds.__getitem__)
        yield single("G23", f"all of them {what}, {of}", sum(seconds.values()), "s")
        yield single("G23", f"the slowest {what} ({slowest}), {of}", seconds[slowest], "s")
    longest, *others = sorted(way.waits, key=way.waits.__getitem__, reverse=True)
    while_applied = "the longest wait of a verdict while"
    yield single("G22", f"{while_applied} {longest} is applied, {of}", way.waits[longest] * 1000, "ms", at_most=500)
    yield single("G22", f"{while_applied} another one is, {of}", way.waits[others[0]] * 1000, "ms", at_most=500)
