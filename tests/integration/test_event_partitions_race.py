"""Partitions are made while events are appended and accounts are created: none is lost, nobody is refused."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from service.operations import accounts, events
from tests.support.database import Database, author
from tests.support.scene import Scene

_numbers = itertools.count()


async def test_partitions_are_made_under_appending_sessions(scene: Scene) -> None:
    """Taken away and made again and again, as if each time were the first; every event arrives in one."""
    database: Database = scene.database

    async def append() -> None:
        async with scene.admin.platform_pool.acquire() as connection, connection.transaction():
            await events.append(connection, author(database, "hooks"), "fresh_event", client_id="gw-1")

    appended = await meanwhile(database, append, append, append, append)
    assert await database.value("SELECT count(*) FROM events WHERE kind = 'fresh_event'") == appended


async def test_partitions_are_made_under_new_accounts(scene: Scene) -> None:
    """A new account holds what attaching a partition needs, and then appends: neither may end the other."""

    async def create() -> None:
        await accounts.create_account(scene.admin, f"fresh-{next(_numbers)}")

    before = await scene.database.value("SELECT count(*) FROM accounts")
    created = await meanwhile(scene.database, create, create)
    assert await scene.database.value("SELECT count(*) FROM accounts") == before + created


async def meanwhile(database: Database, *deeds: Callable[[], Awaitable[None]]) -> int:
    """Each deed over and over while ten times a month's partition is made and taken away; how often one was done."""
    done = asyncio.Event()
    count = 0

    async def repeat(deed: Callable[[], Awaitable[None]]) -> None:
        nonlocal count
        while not done.is_set():
            await deed()
            count += 1

    tasks = [asyncio.create_task(repeat(deed)) for deed in deeds]
    try:
        for _ in range(10):
            made = await database.value("SELECT make_event_partitions()")
            for name in made or []:
                await put_back(database, name)
            await asyncio.sleep(0.02)
    finally:
        done.set()
        await asyncio.gather(*tasks)
    assert count > 0
    return count


async def put_back(database: Database, name: str) -> None:
    """The month's events are in the default partition again, its own is gone."""
    # The locks that making one takes, in the same way: the deeds hold one of them and want another.
    await database.execute(
        "DO $$ BEGIN"
        " LOOP BEGIN"
        " LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE NOWAIT;"
        " IF NOT pg_try_advisory_xact_lock(hashtextextended('event partitions', 0))"
        " THEN RAISE lock_not_available; END IF;"
        " EXIT;"
        " EXCEPTION WHEN lock_not_available THEN PERFORM pg_sleep(0.005);"
        " END; END LOOP;"
        f" ALTER TABLE events DETACH PARTITION {name};"
        f" INSERT INTO events_default SELECT * FROM {name};"
        f" DROP TABLE {name};"
        " END $$"
    )
