"""The hooks' connections to Postgres are held: few are opened, and one that broke is replaced."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from service.operations.questions import Outcome
from tests.support.gate import WRITE
from tests.support.scene import ACCOUNT, Scene, until

MINE = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'test-hooks'"


async def backends(scene: Scene) -> set[int]:
    return {row["pid"] for row in await scene.database.fetch(MINE)}


async def ask(scene: Scene, number: int) -> Outcome:
    """About a client that nobody knows: one statement."""
    verdict = await scene.gate.acl(ACCOUNT, f"nobody-{number}", "gw-1", "acme/gw-1/x", WRITE)
    return verdict.outcome


async def test_questions_one_after_another_are_asked_on_one_connection(scene: Scene) -> None:
    await ask(scene, 0)
    before = await backends(scene)
    scene.gate.store.calls.clear()
    for number in range(1, 20):
        assert await ask(scene, number) is Outcome.DENIED
    assert scene.gate.store.calls == ["facts"] * 19
    assert await backends(scene) == before
    assert len(before) == 1


async def test_questions_at_once_have_a_connection_each_up_to_the_bound(scene: Scene) -> None:
    """The ninth waits for its turn."""
    outcomes = await asyncio.gather(*(ask(scene, number) for number in range(60)))
    assert set(outcomes) == {Outcome.DENIED}
    assert 1 <= len(await backends(scene)) <= 8


async def test_a_connection_that_broke_is_replaced(scene: Scene) -> None:
    await ask(scene, 0)
    (pid,) = await backends(scene)
    await scene.database.execute("SELECT pg_terminate_backend($1)", pid)

    async def answered() -> bool:
        return await ask(scene, 1) is Outcome.DENIED

    await until(answered)
    assert pid not in await backends(scene)


async def test_a_statement_that_was_given_up_leaves_nothing_behind(scene: Scene) -> None:
    """Its answer is not the next question's."""
    device = await scene.run("gw-1")
    store = scene.gate.store
    lock = await asyncpg.connect(scene.database.url().reveal())
    try:
        async with lock.transaction():
            await lock.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            for _ in range(10):  # more than there are connections
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await store.facts(ACCOUNT, device.username, "gw-1")
    finally:
        await lock.close()
    for username in (device.username, "nobody", device.factory_username):
        facts = await store.facts(ACCOUNT, username, "gw-1")
        assert (facts.user is not None) is (username != "nobody")
        assert facts.user is None or facts.user.kind == ("device" if username == device.username else "provision")


async def test_what_postgres_refuses_breaks_nothing(scene: Scene) -> None:
    for _ in range(12):
        with pytest.raises(ValueError, match="position"):
            await scene.gate.store.feed("nonsense")
    assert (await scene.gate.store.feed(None)).position
