"""Logins against what takes their user away: nobody is let in whose user is gone (without the lock: 367 of 600)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from service.core.problems import NotPossible
from service.operations import moves, sweep
from service.operations.questions import Outcome
from tests.support.scene import Device, Scene

Rival = Callable[[Scene, Device], Awaitable[object]]


async def by_sweep(scene: Scene, device: Device) -> None:
    """The deadline passes about now, and the sweep comes."""
    await scene.database.execute(
        "UPDATE provision_runs SET confirm_by = clock_timestamp() + interval '2 ms', outage = outage()"
        " WHERE username = $1 AND ended_at IS NULL",
        device.username,
    )
    await asyncio.sleep(0.002)
    await sweep.close_overdue(scene.desk.pool, scene.database.event_key)


async def by_stop(scene: Scene, device: Device) -> None:
    """An administrator stops the run, where it still runs."""
    with suppress(NotPossible):
        await moves.stop_request(scene.admin, "acme", device.client_id)


async def by_failure(scene: Scene, device: Device) -> None:
    """The device itself says that it failed."""
    await scene.fail(device)


RIVALS: dict[str, Rival] = {"sweep": by_sweep, "stop": by_stop, "failure": by_failure}


async def one_round(scene: Scene, number: int, rival: Rival, pause: float) -> bool:
    """A run, then both at once; returns whether the login was allowed."""
    device = await scene.run(f"gw-{number}")

    async def log_in() -> Outcome:
        await asyncio.sleep(max(0.0, pause))
        return (await scene.login(device)).outcome

    async def take_away() -> None:
        await asyncio.sleep(max(0.0, -pause))
        await rival(scene, device)

    outcome, _ = await asyncio.gather(log_in(), take_away())
    users = await scene.database.fetch("SELECT confirmed_at FROM users WHERE name = $1", device.username)
    confirmed = [user["confirmed_at"] is not None for user in users]
    state = await scene.state(device.client_id)
    if outcome is Outcome.ALLOWED:
        assert (confirmed, state) == ([True], "PROVISIONED"), "let in, and its user is gone"
    else:
        assert confirmed in ([], [False])
        assert state in ("OPEN", "RUNNING")
    return outcome is Outcome.ALLOWED


async def race(scene: Scene, rounds: int, rival: Rival) -> None:
    """Four at a time, now the one ahead and now the other."""
    dice = random.Random(rounds)
    allowed: list[bool] = []
    for first in range(0, rounds, 4):
        allowed += await asyncio.gather(
            *(one_round(scene, first + offset, rival, dice.uniform(-0.02, 0.02)) for offset in range(4))
        )
    assert len(allowed) == rounds
    print(f"{sum(allowed)} of {rounds} logins came first")


@pytest.mark.parametrize("rival", RIVALS)
async def test_a_login_against_what_takes_its_user(scene: Scene, rival: str) -> None:
    await race(scene, 20, RIVALS[rival])


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rival", RIVALS)
async def test_a_login_against_what_takes_its_user_600(scene: Scene, rival: str) -> None:
    await race(scene, 600, RIVALS[rival])


async def test_a_login_against_a_new_ask(scene: Scene) -> None:
    """The device asks again past its deadline while its first answer logs in: one of the two runs wins."""
    for number in range(20):
        device = await scene.run(f"gw-{number}")
        old = Device(client_id=device.client_id, factory_username=device.factory_username, reply=device.reply)
        await scene.database.execute(
            "UPDATE provision_runs SET confirm_by = clock_timestamp() + interval '2 ms', outage = outage()"
            " WHERE username = $1",
            device.username,
        )
        verdict, reply = await asyncio.gather(scene.login(old), scene.ask(device))
        state = await scene.state(device.client_id)
        if verdict:
            assert state == "PROVISIONED"
            assert reply.get("code") == "already_provisioned" or reply["connection"]["username"] == old.username
        else:
            assert (reply["result"], state) == ("accepted", "RUNNING")
            assert await scene.login(device)
