"""Guesses at factory passwords by username: judged from memory, shared by the database, the same for any name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.core.guessing import Limit
from service.guesses import Guesses
from service.operations import sweep
from service.operations.questions import Outcome
from tests.support.figures import record
from tests.support.gate import Gate, open_gate
from tests.support.scene import ACCOUNT, PROVISION, Device, Scene

WRONG = "Not-The-Password"
BURST = 5


@asynccontextmanager
async def hooks(scene: Scene, *, burst: int = BURST, rate: float = 1e-3) -> AsyncIterator[Gate]:
    """One more hooks process, whose tries do not come back while a test runs."""
    memory = Guesses(Limit(rate=rate, burst=burst))
    async with open_gate(scene.database.url("hooks"), scene.database.event_key, hashes={"guesses": memory}) as gate:
        await gate.admission.slow_hashes.guesses.share(gate.store)
        await gate.follow()
        yield gate


async def reason(gate: Gate, username: str, password: str = WRONG, client_id: str = "gw-1") -> str:
    """A CONNECT at the provision broker: a reason, or `allowed`."""
    verdict = await gate.connect(PROVISION, username, password, client_id)
    assert (verdict.reason == "guessed_too_often") == (verdict.outcome is Outcome.UNAVAILABLE)
    return verdict.reason or "allowed"


async def use_up(gate: Gate, username: str) -> int:
    """Guess until no more is looked at; returns how many were."""
    count = 0
    while await reason(gate, username) != "guessed_too_often":
        count += 1
    return count


async def test_over_the_limit_nothing_is_looked_at(scene: Scene) -> None:
    """Known and unknown names alike; no hash, no query, and no token of the broker's."""
    device = await scene.request()
    async with hooks(scene) as gate:
        for username in (device.factory_username, "nobody", device.factory_username.upper()):
            expected = 0 if username.isupper() else BURST  # one name, whatever its case
            assert await use_up(gate, username) == expected
        before = (len(gate.store.calls), gate.admission.slow_hashes.hasher.hashes)
        budgets = dict(gate.admission.slow_hashes._budgets)
        for username in (device.factory_username, "nobody"):
            for password in (WRONG, device.factory_password):
                assert await reason(gate, username, password) == "guessed_too_often"
        assert (len(gate.store.calls), gate.admission.slow_hashes.hasher.hashes) == before
        assert gate.admission.slow_hashes._budgets == budgets
        assert await reason(gate, "nobody-else") == "unknown_user"
        assert gate.admission.slow_hashes.hasher.hashes == 2 * BURST + 1


async def test_a_remembered_device_is_never_held_back(scene: Scene) -> None:
    device = await scene.request()
    second = await scene.request("gw-2", provision_username=device.factory_username)
    async with hooks(scene) as gate:
        assert await reason(gate, device.factory_username, device.factory_password) == "allowed"
        assert await use_up(gate, device.factory_username) == BURST - 1
        for _ in range(3):
            assert await reason(gate, device.factory_username, device.factory_password) == "allowed"
        # A client of the same credential that was never here, and a row that is newer.
        assert await reason(gate, device.factory_username, second.factory_password, "gw-2") == "allowed"
        await scene.database.execute("UPDATE users SET enabled = enabled WHERE kind = 'provision'")
        assert await reason(gate, device.factory_username, device.factory_password) == "allowed"


async def test_a_right_password_under_a_wrong_client_id_looks_like_a_wrong_one(scene: Scene) -> None:
    """Else whoever has no client id could tell by the 503 which of its guesses was right."""
    device = await scene.request()
    answers: dict[str, list[Outcome]] = {}
    for password in (WRONG, device.factory_password):
        async with hooks(scene) as gate:
            if password != WRONG:
                assert await reason(gate, device.factory_username, password) == "allowed"
                gate.admission.slow_hashes.guesses = Guesses(gate.admission.slow_hashes.guesses.limit)
            answers[password] = [
                (await gate.connect(PROVISION, device.factory_username, password, "gw-9")).outcome
                for _ in range(BURST + 3)
            ]
    assert answers[WRONG] == answers[device.factory_password] == [Outcome.DENIED] * BURST + [Outcome.UNAVAILABLE] * 3


async def test_counts_are_written_beside_the_verdict_and_survive_a_restart(scene: Scene) -> None:
    device = await scene.request()
    async with hooks(scene) as gate:
        gate.store.calls.clear()
        assert await use_up(gate, device.factory_username) == BURST
        assert "count_guesses" not in gate.store.calls
        await gate.admission.slow_hashes.guesses.share(gate.store)
    async with hooks(scene) as restarted:
        assert await use_up(restarted, device.factory_username) == 0
        assert await use_up(restarted, "nobody") == BURST
    record(
        "G18",
        "wrong passwords looked at, a username",
        "1 a second, burst 30",
        f"1 a second, burst 30 by default; a burst of {BURST} held over a restart and by two processes",
        "make test",
        True,
    )


async def test_several_processes_count_together(scene: Scene) -> None:
    device = await scene.request()
    async with hooks(scene) as one, hooks(scene) as other:
        for _ in range(BURST - 2):
            assert await reason(one, device.factory_username) == "wrong_password"
        assert await reason(other, device.factory_username) == "wrong_password"
        for gate in (one, other, one):
            await gate.admission.slow_hashes.guesses.share(gate.store)
        assert await reason(one, device.factory_username) == "wrong_password"
        assert await use_up(one, device.factory_username) == 0
        await one.admission.slow_hashes.guesses.share(one.store)
        await other.admission.slow_hashes.guesses.share(other.store)
        assert await use_up(other, device.factory_username) == 0


async def test_tries_come_back(scene: Scene) -> None:
    device = await scene.request()
    async with hooks(scene, rate=1e6) as gate:
        for _ in range(3 * BURST):
            assert await reason(gate, device.factory_username) == "wrong_password"


async def test_a_clock_that_was_set_back_locks_nobody_out(scene: Scene) -> None:
    await scene.database.execute(
        "INSERT INTO password_guesses (username, full_at) VALUES ('fleet', clock_timestamp() + interval '1 year')"
    )
    store = scene.gate.store
    assert await store.count_guesses([], interval=1.0, longest=60.0, most=9) == {"fleet": 60.0}
    told = await store.count_guesses([{"username": "fleet", "count": 1}], interval=1.0, longest=60.0, most=9)
    assert 59.0 < told["fleet"] <= 60.0
    assert await scene.database.value("SELECT full_at < clock_timestamp() + interval '1 minute' FROM password_guesses")


async def test_the_table_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten goes, and beyond the bound what is forgotten soonest."""
    store = scene.gate.store
    rows = [{"username": f"name-{number:02}", "count": number} for number in range(1, 21)]
    told = await store.count_guesses(rows, interval=1.0, longest=60.0, most=3)
    assert set(told) == {"name-20", "name-19", "name-18"}
    await scene.database.execute(
        "UPDATE password_guesses SET full_at = clock_timestamp() WHERE username IN ('name-20', 'name-01')"
    )
    monkeypatch.setattr(sweep, "MOST_GUESSED", 4)
    await sweep.prune(scene.desk.pool)
    left = await scene.database.fetch("SELECT username FROM password_guesses ORDER BY username")
    assert [row["username"] for row in left] == [f"name-{number}" for number in range(16, 20)]


async def test_generated_secrets_are_not_counted(scene: Scene) -> None:
    """128 random bits are guessed by nobody, and whoever tries keeps no device off."""
    device: Device = await scene.provision()
    async with hooks(scene) as gate:
        for _ in range(3 * BURST):
            assert not await gate.connect(ACCOUNT, device.username, WRONG, "gw-1")
        assert await gate.connect(ACCOUNT, device.username, device.password, "gw-1")
        assert gate.admission.slow_hashes.guesses.take() == []


async def test_without_the_database_the_count_is_kept(scene: Scene) -> None:
    async with hooks(scene) as gate:
        assert await reason(gate, "nobody") == "unknown_user"
        await scene.database.execute("ALTER FUNCTION hook_count_guesses RENAME TO away")
        with pytest.raises(Exception, match="hook_count_guesses"):
            await gate.admission.slow_hashes.guesses.share(gate.store)
        await scene.database.execute("ALTER FUNCTION away RENAME TO hook_count_guesses")
        await gate.admission.slow_hashes.guesses.share(gate.store)
        assert await scene.database.value("SELECT count(*) FROM password_guesses WHERE username = 'nobody'") == 1
