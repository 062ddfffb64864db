"""The feed of changes: nothing is missed, whoever commits late, whatever breaks (D8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from structlog.testing import CapturingLogger

from service.db import feed as feed_module
from service.db.feed import Feed
from service.operations import sweep
from tests.support.database import Database
from tests.support.scene import Scene, until

NEVER = 1e6


async def ask_changes(database: Database, last: str) -> dict[str, Any]:
    """What a reader at `last` is told."""
    document: dict[str, Any] = json.loads(await database.value("SELECT hook_changes($1)", last))
    return document


async def note(connection: asyncpg.Connection[asyncpg.Record] | Database, key: str) -> None:
    """A change that nothing else is about."""
    await connection.execute("INSERT INTO changes (kind, key) VALUES ('user', $1)", key)


async def test_a_change_that_commits_late_is_not_missed(database: Database) -> None:
    """The one that began first commits last: by then a reader has seen a higher number."""
    early, late = [await asyncpg.connect(database.url().reveal()) for _ in range(2)]
    try:
        start = (await ask_changes(database, "0"))["last"]
        slow = late.transaction()
        await slow.start()
        await note(late, "slow")
        await note(early, "quick")
        first = await ask_changes(database, start)
        assert first["changes"] == [["user", "quick"]]
        await slow.commit()
        second = await ask_changes(database, first["last"])
        assert ["user", "slow"] in second["changes"]
        third = await ask_changes(database, second["last"])
        assert third["changes"] == []
    finally:
        await early.close()
        await late.close()


async def test_what_is_rolled_back_never_shows(database: Database) -> None:
    start = (await ask_changes(database, "0"))["last"]
    connection = await asyncpg.connect(database.url().reveal())
    try:
        with suppress(ZeroDivisionError):
            async with connection.transaction():
                await note(connection, "gone")
                raise ZeroDivisionError
    finally:
        await connection.close()
    assert (await ask_changes(database, start))["changes"] == []


async def test_a_reader_at_what_was_pruned_is_told(scene: Scene) -> None:
    """It must forget all it knows; a reader that is past it need not."""
    database = scene.database
    behind = (await ask_changes(database, "0"))["last"]
    await note(database, "old")
    now = (await ask_changes(database, behind))["last"]
    await note(database, "new")
    await database.execute("UPDATE changes SET at = at - interval '1 hour' WHERE key = 'old'")
    await sweep.prune(scene.desk.pool)
    assert await database.fetch("SELECT FROM changes WHERE key = 'old'") == []
    told = await ask_changes(database, behind)
    assert told["lost"] is True
    after = await ask_changes(database, now)
    assert (after["lost"], after["changes"]) == (False, [["user", "new"]])


async def test_pruning_waits_for_who_is_still_writing(scene: Scene) -> None:
    """A change later than the oldest open transaction may be read again, so it stays."""
    database = scene.database
    writer = await asyncpg.connect(database.url().reveal())
    try:
        slow = writer.transaction()
        await slow.start()
        await note(writer, "slow")
        await note(database, "old")
        await database.execute("UPDATE changes SET at = at - interval '1 hour' WHERE key = 'old'")
        await sweep.prune(scene.desk.pool)
        assert len(await database.fetch("SELECT FROM changes WHERE key = 'old'")) == 1
        await slow.rollback()
        await sweep.prune(scene.desk.pool)
        assert await database.fetch("SELECT FROM changes WHERE key = 'old'") == []
    finally:
        await writer.close()


async def test_pruning_nothing_loses_nothing(scene: Scene) -> None:
    last = (await ask_changes(scene.database, "0"))["last"]
    await note(scene.database, "new")
    for _ in range(2):
        await sweep.prune(scene.desk.pool)
    told = await ask_changes(scene.database, last)
    assert (told["lost"], told["changes"]) == (False, [["user", "new"]])


@dataclass
class Reader:
    """What a feed tells."""

    changes: list[tuple[str, str]] = field(default_factory=list)
    lost: list[bool] = field(default_factory=list)
    trouble: list[Exception] = field(default_factory=list)

    def hear(self, changes: list[tuple[str, str]], lost: bool, _as_of: int) -> None:
        """For the feed."""
        if self.trouble:
            raise self.trouble.pop()
        self.changes += changes
        self.lost.append(lost)

    async def heard(self, key: str) -> None:
        """Until a change was told."""
        await until(lambda: _found(("user", key) in self.changes))

    async def polled(self, times: int = 1) -> None:
        """Until it was asked so many times more."""
        before = len(self.lost)
        await until(lambda: _found(len(self.lost) >= before + times))


async def _found(value: bool) -> bool:
    return value


@asynccontextmanager
async def following(database: Database) -> AsyncIterator[Reader]:
    """A feed that runs as the hooks' does, its first poll done."""
    reader = Reader()
    task = asyncio.create_task(Feed(database.url("hooks"), reader.hear, name="test-feed").run())
    try:
        await reader.polled()
        yield reader
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-feed' AND datname = $1"


async def test_the_first_poll_forgets_all(database: Database) -> None:
    async with following(database) as reader:
        assert reader.lost[0] is True
        await reader.polled()
        assert reader.lost[1:] == [False] * (len(reader.lost) - 1)


async def test_notify_wakes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the next poll, which here never comes."""
    monkeypatch.setattr(feed_module, "POLL_EVERY", NEVER)
    async with following(scene.database) as reader:
        await scene.database.execute("UPDATE users SET enabled = false")  # nobody: no change, no notice
        device = await scene.request()
        await scene.database.execute("UPDATE users SET enabled = true WHERE name = $1", device.factory_username)
        await reader.heard(device.factory_username)


async def test_the_poll_needs_no_notify(database: Database) -> None:
    async with following(database) as reader:
        await note(database, "silent")
        await reader.heard("silent")


async def test_it_goes_on_where_it_was(database: Database) -> None:
    """Its session killed again and again, it misses nothing, repeats nothing old, and never says that more is lost."""
    async with following(database) as reader:
        await note(database, "before")
        await reader.heard("before")
        await reader.polled()
        told = reader.changes.count(("user", "before"))
        for number in range(3):
            await database.execute(KILL, database.name)
            await note(database, f"away-{number}")
            await reader.heard(f"away-{number}")
        assert reader.changes.count(("user", "before")) == told
        assert not any(reader.lost[1:])


async def test_what_could_not_be_told_is_told_again(database: Database) -> None:
    async with following(database) as reader:
        reader.trouble.append(OSError("the reader's"))
        await note(database, "twice")
        await reader.heard("twice")
        assert not reader.trouble


async def test_a_broken_feed_is_said_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators read of it in the log, without a line for each try."""
    logger = CapturingLogger()
    monkeypatch.setattr(feed_module, "_log", logger)
    async with following(database) as reader:
        await database.execute(KILL, database.name)
        await note(database, "later")
        await reader.heard("later")
    assert [(call.method_name, call.args) for call in logger.calls] == [("warning", ("feed_lost",))]


async def test_two_readers_hear_the_same(scene: Scene) -> None:
    async with following(scene.database) as one, following(scene.database) as other:
        await asyncio.gather(*(note(scene.database, f"n-{number}") for number in range(20)))
        for number in range(20):
            await one.heard(f"n-{number}")
            await other.heard(f"n-{number}")


async def test_it_outlives_being_ended_at_any_moment(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncpg has errors of its own for a connection that ends between two of its messages."""
    monkeypatch.setattr(feed_module, "RETRY_EVERY", 0.0)
    async with following(database) as reader:
        killer = await asyncpg.connect(database.url().reveal())
        try:
            for _ in range(300):
                await killer.execute(KILL, database.name)
                await asyncio.sleep(0)
        finally:
            await killer.close()
        await note(database, "later")
        await reader.heard("later")
