"""The switch that stops issuing: no new credentials, and nothing else changes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import asyncpg

from service.db.pool import TRANSIENT
from service.operations import issuing
from tests.support.command import Program
from tests.support.figures import record
from tests.support.scene import Scene, somebody_waits, until


async def users_of(scene: Scene) -> int:
    count: int = await scene.database.value("SELECT count(*) FROM users WHERE kind = 'device'")
    return count


async def test_stopped_nothing_begins_and_everything_else_goes_on(scene: Scene) -> None:
    """A run under way is repeated and confirmed, a provisioned device works; who waited is served in the end."""
    running = await scene.run("gw-running")
    done = await scene.provision("gw-done")
    waiting = await scene.request("gw-waiting", generate_activation_key=True)
    assert await issuing.stop(scene.admin) is True
    assert await issuing.stop(scene.admin) is False
    shown = await issuing.show(scene.admin)
    assert (shown["stopped"], shown["stopped_by"]) == (True, "tester")
    reply = await scene.ask(waiting)
    assert (reply["code"], reply["retry_after"]) == ("busy", 300)
    assert "run" not in reply
    before = running.password
    assert (await scene.ask(running))["result"] == "accepted"
    assert running.password == before
    assert await scene.login(running)
    assert await scene.login(done)
    assert await users_of(scene) == 2
    counted = await scene.database.fetch("SELECT client_id, count FROM refusals WHERE reason = 'issuing_stopped'")
    assert [tuple(row) for row in counted] == [("gw-waiting", 1)]
    assert await issuing.start(scene.admin) is True
    assert await issuing.start(scene.admin) is False
    assert (await scene.ask(waiting))["result"] == "accepted"
    kinds = [event["kind"] for event in await scene.events(None)]
    assert kinds.count("issuing_stopped") == kinds.count("issuing_started") == 1


async def test_stopped_while_an_ask_waits(scene: Scene) -> None:
    """It began before the stop and would commit after it: refused, or trouble that passes, which is refused then."""
    device = await scene.request()
    other = await asyncpg.connect(scene.database.url().reveal())
    try:
        async with other.transaction():
            await other.execute("SELECT FROM provision_requests FOR UPDATE")
            asking = asyncio.create_task(scene.ask(device))
            await somebody_waits(scene.database)
            await issuing.stop(scene.admin)
        try:
            assert (await asking)["code"] == "busy"
        except TRANSIENT:
            assert (await scene.ask(device))["code"] == "busy"
    finally:
        await other.close()
    assert await users_of(scene) == 0


async def test_how_soon_it_works(scene: Scene) -> None:
    """Devices ask all the time; after the switch's answer came not one of them gets credentials."""
    devices = [await scene.request(f"gw-{number}") for number in range(40)]
    accepted: list[float] = []

    async def keep_asking(share: int) -> None:
        for device in devices[share::4]:
            with suppress(*TRANSIENT):  # as the responder sees a stop between its look and its commit
                if (await scene.ask(device))["result"] == "accepted":
                    accepted.append(time.monotonic())
            await asyncio.sleep(0.02)

    async def four_are_served() -> bool:
        return len(accepted) >= 4

    asking = [asyncio.create_task(keep_asking(share)) for share in range(4)]
    await until(four_are_served)
    began = time.monotonic()
    await issuing.stop(scene.admin)
    answered = await users_of(scene)
    await asyncio.gather(*asking)
    latest = max(accepted) - began
    record(
        "G27", "seconds from `issuing stop` to the last new credential", "2", f"{max(latest, 0.0):.2f}",
        "pytest tests/integration/test_issuing.py", latest <= 2,
    )  # fmt: skip
    assert await users_of(scene) - answered <= 4, "those that were being answered"
    assert await users_of(scene) < len(devices)


async def test_the_command(scene: Scene, program: Program) -> None:
    assert (await program("issuing", "show")).out == "issuing is not stopped\n"
    assert (await program("issuing", "stop", "--json")).json()["changed"] is True
    assert (await program("issuing", "stop", "--json")).json()["changed"] is False
    assert (await program("issuing", "show")).out.startswith("issuing is stopped since 2")
    assert (await scene.ask(await scene.request()))["code"] == "busy"
    assert (await program("issuing", "start")).out == "issuing is not stopped\n"
