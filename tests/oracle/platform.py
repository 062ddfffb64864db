"""A generated world in a database of its own."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from service.keys import BROKER, USER, secret_hash
from tests.oracle.moves import make_moves
from tests.oracle.questions import RESPONDER
from tests.oracle.world import OTHER, OUTAGE, PROVISION, SERVED, Passwords, World, hexadecimal
from tests.support import postgres
from tests.support.database import Database, new_name

ROLES = {PROVISION: "provision", SERVED: "account", OTHER: "account"}


def secret_of(broker: str) -> str:
    """The secret of a broker that is made here."""
    return f"secret of {broker}"


def new_seed() -> int:
    """ORACLE_SEED, or any; it is shown where a test fails."""
    seed = int(os.environ.get("ORACLE_SEED") or random.SystemRandom().randrange(10**9))
    print(f"ORACLE_SEED={seed}")
    return seed


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The database, and what is in it."""

    database: Database
    world: World


@asynccontextmanager
async def empty(server: postgres.Server, template: str) -> AsyncIterator[Database]:
    """A database without anything; what is put in has no events, so the invariants are not asked at its end."""
    name = new_name("oracle")
    postgres.copy_database(server, template, name)
    try:
        yield Database(server=server, name=name)
    finally:
        postgres.drop_database(server, name)


@asynccontextmanager
async def looking(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    """The superuser's connection."""
    connection = await asyncpg.connect(database.url().reveal())
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def made(server: postgres.Server, template: str, seed: int, units: int) -> AsyncIterator[Platform]:
    """A world by its seed: so many client ids, and account moves of every kind."""
    async with empty(server, template) as database:
        async with looking(database) as connection:
            world = await fill(connection, seed, units)
        yield Platform(database=database, world=world)


async def fill(
    connection: asyncpg.Connection[Any],
    seed: int,
    units: int,
    *,
    brokers: Mapping[str, int] | None = None,
    responder: str | None = None,
) -> World:
    """
    Make a world and put it in. `brokers`: ids of those that are there already; `responder`: its password, where it is.
    """
    world = World(
        random=random.Random(seed), broker_ids=dict(brokers or {}), now=await connection.fetchval("SELECT now()")
    )
    for broker, role in ROLES.items():
        if broker not in world.broker_ids:
            hashed = hexadecimal(secret_hash(BROKER, secret_of(broker)))
            world.broker_ids[broker] = world.rows.add("brokers", name=broker, role=role, secret_sha256=hashed)
    world.make(units)
    make_moves(world, max(1, units // 200))
    world.passwords[RESPONDER] = Passwords(current=responder or "password of the responder")
    if responder is None:
        hashed = hexadecimal(secret_hash(USER, world.passwords[RESPONDER].current))
        world.rows.add("users", name=RESPONDER, kind="service", secret_sha256=hashed)
    await world.rows.write(connection)
    # While hooks beat, there are no more outages.
    await connection.execute(
        "INSERT INTO heartbeats (process, at, outage, cluster) VALUES ('hooks', clock_timestamp(), $1, cluster_name())"
        " ON CONFLICT (process) DO UPDATE SET outage = $1",
        OUTAGE,
    )
    await connection.execute("ANALYZE")
    return world


@asynccontextmanager
async def beating(*parts: Any) -> AsyncIterator[None]:
    """While this runs, each of these async functions is called twice a second, as the hooks do."""

    async def beat() -> None:
        while True:
            for part in parts:
                await part()
            await asyncio.sleep(0.4)

    task = asyncio.create_task(beat())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
