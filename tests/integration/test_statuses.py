"""What a device tells of its progress: forward only, steps may be left out; a failure uses up an attempt."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from service.operations import moves, sweep
from service.operations.questions import Outcome
from tests.support.desk import say
from tests.support.scene import Scene, expire

FORWARD = {
    "installing": "APPS_INSTALLING",
    "installed": "APPS_INSTALLED",
    "configuring": "CONF_UPDATING",
    "applied": "CONF_UPDATED",
}


async def test_a_run_goes_forward(scene: Scene) -> None:
    device = await scene.run()
    for said, state in FORWARD.items():
        await say(scene.desk, "gw-1", device.run, said, step=f"step {said}", detail="all is well")
        assert await scene.run_state() == state
        detail = json.loads((await scene.events())[-1]["detail"])
        assert detail == {"run": 1, "state": state, "step": f"step {said}", "detail": "all is well"}
    assert (await scene.kinds())[2:] == ["run_moved"] * 4
    assert await scene.state() == "RUNNING"
    assert await scene.login(device)
    assert (await scene.state(), await scene.run_state()) == ("PROVISIONED", "COMPLETED")


@pytest.mark.parametrize("first", list(FORWARD))
async def test_steps_may_be_left_out_but_not_taken_back(scene: Scene, first: str) -> None:
    """Late and backward ones are noted and ignored."""
    device = await scene.run()
    await say(scene.desk, "gw-1", device.run, first)
    reached = list(FORWARD).index(first)
    for said in list(FORWARD)[: reached + 1]:
        await say(scene.desk, "gw-1", device.run, said)
        event = (await scene.events())[-1]
        assert (event["kind"], event["reason"]) == ("status_ignored", "status_late")
        assert await scene.run_state() == FORWARD[first]
    for said in list(FORWARD)[reached + 1 :]:
        await say(scene.desk, "gw-1", device.run, said)
        assert await scene.run_state() == FORWARD[said]


async def test_a_status_of_another_run_is_ignored(scene: Scene) -> None:
    """Of an ended run, of another device's, of none at all: whoever does not know the token moves nothing."""
    device = await scene.run("gw-1")
    other = await scene.run("gw-2")
    old = device.run
    await scene.fail(device)
    await scene.ask(device)
    before = len(await scene.events("gw-1"))
    for token in (old, other.run, "x" * 22, device.run[:-1], device.run.swapcase(), "1"):
        for said in ("installing", "failed"):
            await say(scene.desk, "gw-1", token, said)
    ignored = (await scene.events("gw-1"))[before:]
    assert {(event["kind"], event["reason"]) for event in ignored} == {("status_ignored", "status_of_another_run")}
    assert len(ignored) == 12
    assert (await scene.run_state("gw-1"), await scene.run_state("gw-2")) == ("RUNNING", "RUNNING")
    await say(scene.desk, "unknown", other.run, "installing")
    assert await scene.kinds("unknown") == ["status_ignored"]


async def test_after_the_login_statuses_are_late(scene: Scene) -> None:
    device = await scene.provision()
    for said in ("installing", "applied", "failed"):
        await say(scene.desk, "gw-1", device.run, said)
    assert (await scene.kinds())[-3:] == ["status_ignored"] * 3
    assert (await scene.state(), await scene.run_state()) == ("PROVISIONED", "COMPLETED")
    assert await scene.login(device)


async def test_a_failure_uses_up_an_attempt(scene: Scene) -> None:
    """Its user goes and the device that it made; the request is OPEN, and the device may ask again."""
    device = await scene.run()
    await say(scene.desk, "gw-1", device.run, "failed", step="install", detail="disk full")
    await scene.database.check_invariants()
    assert (await scene.state(), await scene.run_state()) == ("OPEN", "FAILED")
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 1
    run = (await scene.database.fetch("SELECT failure, salt, user_id, device_id FROM provision_runs"))[0]
    assert tuple(run) == ("device_failed", None, None, None)
    for table in ("devices", "device_connections"):
        assert await scene.database.fetch(f"SELECT FROM {table}") == []
    event = (await scene.events())[-1]
    detail = json.loads(event["detail"])
    assert (event["kind"], event["reason"], event["actor"]) == ("run_ended", "device_failed", "device")
    assert (detail["step"], detail["detail"], detail["attempts"], detail["state"]) == (
        "install",
        "disk full",
        1,
        "FAILED",
    )
    assert (await scene.login(device)).outcome is Outcome.DENIED
    old = device.username
    assert (await scene.ask(device))["result"] == "accepted"
    assert device.username != old
    assert await scene.login(device)
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 1


@pytest.mark.parametrize("maximum", [1, 3])
async def test_at_the_maximum_a_request_is_abandoned(scene: Scene, maximum: int) -> None:
    """It may connect, and is refused, until an administrator reopens it."""
    device = await scene.request(maximum_attempts=maximum)
    for attempt in range(1, maximum + 1):
        assert (await scene.ask(device))["result"] == "accepted"
        await scene.fail(device)
        await scene.database.check_invariants()
        last = attempt == maximum
        assert await scene.state() == ("ABANDONED" if last else "OPEN")
        assert await scene.run_state() == ("ABANDONED" if last else "FAILED")
    assert await scene.database.value("SELECT attempts FROM provision_requests") == maximum
    assert await scene.factory_login(device)
    assert (await scene.ask(device))["code"] == "refused"
    assert (await scene.events())[-1]["reason"] == "abandoned"
    await moves.reopen_request(scene.admin, "acme", "gw-1")
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 0
    assert (await scene.ask(device))["result"] == "accepted"
    assert await scene.login(device)


async def test_time_and_administrators_use_up_no_attempt(scene: Scene) -> None:
    device = await scene.run(maximum_attempts=1)
    for _ in range(2):
        await expire(scene.database)
        await sweep.close_overdue(scene.desk.pool, scene.database.event_key)
        await scene.ask(device)
        await moves.stop_request(scene.admin, "acme", "gw-1")
        await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=True)
        await scene.ask(device)
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 0
    assert await scene.login(device)


async def test_many_failures_at_once_are_one(scene: Scene) -> None:
    device = await scene.run()
    await asyncio.gather(*(scene.fail(device) for _ in range(16)))
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 1
    assert (await scene.kinds()).count("run_ended") == 1
    assert (await scene.kinds()).count("status_ignored") == 15


async def test_a_failure_against_a_login(scene: Scene) -> None:
    """Whichever comes first stands; never both."""
    for number in range(10):
        client_id = f"gw-{number}"
        device = await scene.run(client_id)
        verdict, _ = await asyncio.gather(scene.login(device), scene.fail(device))
        expected = ("PROVISIONED", "COMPLETED") if verdict else ("OPEN", "FAILED")
        assert (await scene.state(client_id), await scene.run_state(client_id)) == expected


UNREADABLE = (
    b"", b"{", b"[]", b'{"run":"x"}', b'{"run":"x","state":"done"}', b'{"run":"","state":"failed"}',
    b'{"run":"x","state":"COMPLETED"}', b'{"run":"x","state":"failed","more":1}', b'{"run":1,"state":"failed"}',
    b'{"run":"x","state":"failed","detail":"\\u0000"}', b'{"run":"x","run":"y","state":"failed"}',
    b'{"run":"x","state":"failed","detail":"' + b"d" * 1025 + b'"}', b"\xff",
)  # fmt: skip


async def test_unreadable_statuses_are_recorded_and_move_nothing(scene: Scene) -> None:
    await scene.run()
    for number, payload in enumerate(UNREADABLE):
        await scene.desk.status("gw-1", payload, 1e6 + number)
        event = (await scene.events())[-1]
        assert event["kind"] == "message_unreadable"
        detail = json.loads(event["detail"])
        assert detail == {"length": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    assert (await scene.state(), await scene.run_state()) == ("RUNNING", "RUNNING")
