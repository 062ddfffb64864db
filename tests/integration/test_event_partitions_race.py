"""Partitions are made while events are appended: none is lost, nobody is refused."""

from __future__ import annotations

import asyncio

from service.operations import events
from tests.support.database import Database, author
from tests.support.scene import Scene


async def test_partitions_are_made_under_appending_sessions(scene: Scene) -> None:
    """Taken away and made again and again, as if each time were the first; every event arrives in one."""
    database: Database = scene.database
    done = asyncio.Event()
    appended = 0

    async def append() -> None:
        nonlocal appended
        while not done.is_set():
            async with scene.admin.platform_pool.acquire() as connection, connection.transaction():
                await events.append(connection, author(database, "hooks"), "fresh_event", client_id="gw-1")
            appended += 1

    tasks = [asyncio.create_task(append()) for _ in range(4)]
    try:
        for _ in range(10):
            made = await database.value("SELECT make_event_partitions()")
            for name in made or []:
                await put_back(database, name)
            await asyncio.sleep(0.02)
    finally:
        done.set()
        await asyncio.gather(*tasks)
    assert appended > 0
    assert await database.value("SELECT count(*) FROM events WHERE kind = 'fresh_event'") == appended


async def put_back(database: Database, name: str) -> None:
    """The month's events are in the default partition again, its own is gone."""
    await database.execute(
        "DO $$ BEGIN"
        " PERFORM pg_advisory_xact_lock(hashtextextended('event partitions', 0));"
        f" ALTER TABLE events DETACH PARTITION {name};"
        f" INSERT INTO events_default SELECT * FROM {name};"
        f" DROP TABLE {name};"
        " END $$"
    )
