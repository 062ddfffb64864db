"""The moves that an administrator starts, from every state (design section 6)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.core.problems import InvalidInput, NotFound
from service.operations import moves, users
from service.operations.administration import Administration
from service.operations.questions import Outcome
from tests.support.faulty_rows import ground
from tests.support.scene import Device, Scene, expire

Move = Callable[[Administration, str, str], Awaitable[Any]]


async def enable(admin: Administration, account: str, client_id: str) -> None:
    await moves.set_enabled(admin, account, client_id, enabled=True)


async def disable(admin: Administration, account: str, client_id: str) -> None:
    await moves.set_enabled(admin, account, client_id, enabled=False)


MOVES: dict[str, Move] = {
    "enable": enable,
    "disable": disable,
    "stop": moves.stop_request,
    "reopen": moves.reopen_request,
    "delete": moves.delete_request,
}

# From each state: (request's state, run's state, enabled, last event's kind), or the rule that refuses. None: gone.
TABLE: dict[str, dict[str, tuple[str, str | None, bool, str] | str | None]] = {
    "OPEN": {
        "enable": ("OPEN", None, True, "request_created"),
        "disable": ("OPEN", None, False, "request_disabled"),
        "stop": "not_running",
        "reopen": "not_ended",
        "delete": None,
    },
    "DISABLED": {
        "enable": ("OPEN", None, True, "request_enabled"),
        "disable": ("OPEN", None, False, "request_disabled"),
        "stop": "not_running",
        "reopen": "not_ended",
        "delete": None,
    },
    "RUNNING": {
        "enable": ("RUNNING", "RUNNING", True, "run_started"),
        "disable": ("OPEN", "STOPPED", False, "request_disabled"),
        "stop": ("OPEN", "STOPPED", False, "request_stopped"),
        "reopen": "not_ended",
        "delete": "running",
    },
    "PROVISIONED": {
        "enable": ("PROVISIONED", "COMPLETED", True, "confirmed"),
        "disable": ("PROVISIONED", "COMPLETED", False, "request_disabled"),
        "stop": "not_running",
        "reopen": ("OPEN", "COMPLETED", True, "request_reopened"),
        "delete": None,
    },
    "ABANDONED": {
        "enable": ("ABANDONED", "ABANDONED", True, "run_ended"),
        "disable": ("ABANDONED", "ABANDONED", False, "request_disabled"),
        "stop": "not_running",
        "reopen": ("OPEN", "ABANDONED", True, "request_reopened"),
        "delete": None,
    },
}


async def bring(scene: Scene, state: str, client_id: str) -> Device:
    """A device whose request is in this state."""
    if state == "RUNNING":
        return await scene.run(client_id)
    if state == "PROVISIONED":
        return await scene.provision(client_id)
    if state == "ABANDONED":
        return await scene.abandon(client_id)
    device = await scene.request(client_id)
    if state == "DISABLED":
        await disable(scene.admin, "acme", client_id)
    return device


@pytest.mark.parametrize("state", TABLE)
async def test_every_move_from_every_state(scene: Scene, state: str) -> None:
    for name, expected in TABLE[state].items():
        await bring(scene, state, name)
        before = await scene.events(name)
        if isinstance(expected, str):
            with pytest.raises(InvalidInput) as refused:
                await MOVES[name](scene.admin, "acme", name)
            assert [problem.rule for problem in refused.value.problems] == [expected]
            assert await scene.events(name) == before
        else:
            await MOVES[name](scene.admin, "acme", name)
        await scene.database.check_invariants()
        kinds = await scene.kinds(name)
        if expected is None:
            assert (await scene.state(name), kinds[-1]) == (None, "request_deleted")
        elif not isinstance(expected, str):
            enabled = await scene.database.value("SELECT enabled FROM provision_requests WHERE client_id = $1", name)
            assert (await scene.state(name), await scene.run_state(name), enabled, kinds[-1]) == expected, name


@pytest.mark.parametrize("move", ["disable", "stop"])
async def test_stopping_a_run_takes_its_credential(scene: Scene, move: str) -> None:
    """Through STOPPING; no attempt; its user and the device it made go; enabled again, the device may ask."""
    for statement in (
        "CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, state text)",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO public.seen (state) VALUES (NEW.state); RETURN NULL; END $$",
        "CREATE TRIGGER see AFTER UPDATE OF state ON provision_runs FOR EACH ROW EXECUTE FUNCTION see()",
    ):
        await scene.database.execute(statement)
    device = await scene.run()
    await scene.database.execute("DELETE FROM seen")
    await MOVES[move](scene.admin, "acme", "gw-1")
    assert [row[0] for row in await scene.database.fetch("SELECT state FROM seen ORDER BY n")] == [
        "STOPPING",
        "STOPPED",
    ]
    assert (await scene.login(device)).outcome is Outcome.DENIED
    for table in ("devices", "device_connections"):
        assert await scene.database.fetch(f"SELECT FROM {table}") == []
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 0
    assert (await scene.factory_login(device)).reason == "request_disabled"
    ended = (await scene.events())[-2]
    assert (ended["kind"], ended["actor"], ended["source"]) == ("run_ended", "tester", "cli")
    await enable(scene.admin, "acme", "gw-1")
    assert await scene.factory_login(device)
    assert (await scene.ask(device))["result"] == "accepted"
    assert await scene.login(device)


async def test_disabling_a_provisioned_request_leaves_its_device_at_work(scene: Scene) -> None:
    device = await scene.provision()
    await disable(scene.admin, "acme", "gw-1")
    assert await scene.login(device)
    assert not await scene.factory_login(device)
    await enable(scene.admin, "acme", "gw-1")
    assert await scene.factory_login(device)


async def test_reopening_takes_the_generated_user_in_the_same_step(scene: Scene) -> None:
    """The old credential is dead, the attempts are new, the device may be provisioned anew."""
    device = await scene.run()
    await scene.fail(device)
    await scene.ask(device)
    assert await scene.login(device)
    old = Device(client_id="gw-1", factory_username=device.factory_username, reply=device.reply)
    assert await moves.reopen_request(scene.admin, "acme", "gw-1") == [old.username]
    assert (await scene.login(old)).reason == "unknown_user"
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 0
    event = (await scene.events())[-1]
    assert json.loads(event["detail"]) == {"was": "PROVISIONED", "deleted_users": [old.username]}
    assert await scene.database.value("SELECT count(*) FROM devices") == 1
    assert (await scene.ask(device))["result"] == "accepted"
    assert await scene.login(device)
    assert await moves.reopen_request(scene.admin, "acme", "gw-1") == [device.username]


async def test_reopening_an_abandoned_request_deletes_nobody(scene: Scene) -> None:
    await scene.abandon()
    assert await moves.reopen_request(scene.admin, "acme", "gw-1") == []


async def test_deleting_a_provisioned_request_keeps_device_and_user(scene: Scene) -> None:
    """The user may be deleted later; a new request for the device makes another one."""
    device = await scene.provision()
    await moves.delete_request(scene.admin, "acme", "gw-1")
    await scene.database.check_invariants()
    assert await scene.login(device)
    assert (await scene.factory_login(device)).reason == "unknown_user"
    assert json.loads((await scene.events())[-1]["detail"]) == {"was": "PROVISIONED", "kept_users": [device.username]}
    newer = await scene.provision("gw-1")
    await scene.database.check_invariants()
    assert newer.username != device.username
    assert (await scene.login(device)).reason == "connection_reserved_for_another_user"
    with pytest.raises(InvalidInput):
        await users.delete_user(scene.admin, "acme", newer.username)
    await users.delete_user(scene.admin, "acme", device.username)
    await scene.database.check_invariants()
    assert await scene.login(newer)


async def test_a_run_past_its_deadline_is_still_to_be_stopped(scene: Scene) -> None:
    """Before the sweep comes it counts as RUNNING: deletion says so, stopping ends it."""
    await scene.run()
    await expire(scene.database)
    with pytest.raises(InvalidInput):
        await moves.delete_request(scene.admin, "acme", "gw-1")
    await moves.stop_request(scene.admin, "acme", "gw-1")
    await moves.delete_request(scene.admin, "acme", "gw-1")
    assert await scene.database.value("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize("move", MOVES)
async def test_others_requests_are_not_there(scene: Scene, move: str) -> None:
    await ground(scene)
    texts = set()
    for client_id in ("unknown", "gx-2"):
        with pytest.raises(NotFound) as refused:
            await MOVES[move](scene.admin, "acme", client_id)
        texts.add(str(refused.value).replace(client_id, "..."))
    assert len(texts) == 1
    assert await scene.state("gx-2") == "RUNNING"


async def test_two_administrators_at_once(scene: Scene) -> None:
    """One does it, the other is told that it is done, or that there is nothing to do."""
    for number in range(4):
        await scene.provision(f"gw-{number}")
        outcomes = await asyncio.gather(
            *(moves.reopen_request(scene.admin, "acme", f"gw-{number}") for _ in range(2)), return_exceptions=True
        )
        assert sum(isinstance(outcome, list) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, InvalidInput) for outcome in outcomes) == 1
        deleted = await asyncio.gather(
            *(moves.delete_request(scene.admin, "acme", f"gw-{number}") for _ in range(2)), return_exceptions=True
        )
        assert sum(outcome is None for outcome in deleted) == 1
        assert sum(isinstance(outcome, NotFound) for outcome in deleted) == 1


async def test_an_ask_against_a_deletion(scene: Scene) -> None:
    """Either it runs and cannot be deleted, or it is deleted and unknown."""
    for number in range(8):
        device = await scene.request(f"gw-{number}")
        reply, outcome = await asyncio.gather(
            scene.ask(device), moves.delete_request(scene.admin, "acme", device.client_id), return_exceptions=True
        )
        assert isinstance(reply, dict)
        state = await scene.state(device.client_id)
        if reply["result"] == "accepted":
            assert (isinstance(outcome, InvalidInput), state) == (True, "RUNNING")
        else:
            assert (reply["code"], outcome, state) == ("refused", None, None)
