"""What may be changed of a request, when, and what is written down of it."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

import pytest

from service.core import device_config
from service.core.problems import InvalidInput, NotFound
from service.core.requests import Changes, Limits
from service.operations import moves, requests
from tests.support.faulty_rows import ground
from tests.support.scene import Scene, now

DAY = datetime.timedelta(days=1)
SECRET = {"c": {"p": device_config.Value(type="Password", clear="sesame")}}


async def rules(scene: Scene, client_id: str = "gw-1", **changes: Any) -> list[str]:
    """Which rules a change breaks; none: it was made."""
    try:
        await requests.change_request(scene.admin, "acme", client_id, Changes(**changes))
    except InvalidInput as error:
        return sorted(f"{problem.field}.{problem.rule}" for problem in error.problems)
    return []


async def shown(scene: Scene) -> dict[str, Any]:
    """The request as people see it."""
    row = (await requests.list_requests(scene.admin, "acme", "gw-1"))[0]
    return {name: value for name, value in row.items() if not name.startswith(("modified_", "version"))}


async def test_a_change_changes_what_it_names(scene: Scene) -> None:
    """One thing at a time, each with an event that names it."""
    await scene.request()
    await scene.database.execute(
        "UPDATE brokers SET endpoints = endpoints || '{mqtts://b:8883}' WHERE role = 'account'"
    )
    moment = now().replace(microsecond=0)
    values: dict[str, Any] = {
        "provision_endpoint": "mqtts://b:8883",
        "activates_on": moment - DAY,
        "expires_on": moment + DAY,
        "reserve_user": False,
        "device_connection_coupling": "LOOSE",
        "maximum_attempts": 7,
    }
    for name, value in values.items():
        before = await shown(scene)
        assert await rules(scene, **{name: value}) == []
        assert await shown(scene) == {**before, name: value}
        event = (await scene.events())[-1]
        assert (event["kind"], event["actor"]) == ("request_changed", "tester")
        assert json.loads(event["detail"]) == {"changed": [name]}, name
    assert await rules(scene, expires_on=None) == []
    assert (await shown(scene))["expires_on"] is None
    assert json.loads((await scene.events())[-1]["detail"]) == {"changed": ["expires_on"]}


def test_names_and_password_never_change() -> None:
    fields = {field.name for field in dataclasses.fields(Changes)}
    assert not fields & {"client_id", "provision_username", "provision_password", "account"}


async def test_a_running_request_is_not_changed(scene: Scene) -> None:
    """Not in any respect, and every problem is said."""
    await scene.run()
    refused: tuple[dict[str, Any], ...] = (
        {"reserve_user": False}, {"new_activation_key": True}, {"expires_on": None}, {"maximum_attempts": 9},
        {"additional_device_configuration": SECRET},
    )  # fmt: skip
    for changes in refused:
        assert await rules(scene, **changes) == ["state.running"]
    assert await rules(scene, maximum_attempts=0, device_connection_coupling="X", expires_on=now() - 9 * DAY) == [
        "device_connection_coupling.coupling",
        "expires_on.expires_before_activates",
        "maximum_attempts.maximum_attempts",
        "state.running",
    ]
    assert (await scene.kinds()) == ["request_created", "run_started"]


async def test_a_provisioned_request_gets_no_new_key(scene: Scene) -> None:
    device = await scene.provision(generate_activation_key=True)
    assert await rules(scene, new_activation_key=True) == ["activation_key.provisioned"]
    assert await rules(scene, remove_activation_key=True) == ["activation_key.provisioned"]
    assert await rules(scene, reserve_user=False) == []
    assert await scene.login(device)


async def test_a_new_key_replaces_the_old_one(scene: Scene) -> None:
    device = await scene.request(generate_activation_key=True)
    old = device.activation_key or ""
    created = await requests.change_request(scene.admin, "acme", "gw-1", Changes(new_activation_key=True))
    assert created.activation_key
    assert created.activation_key != old
    assert (await scene.ask(device))["code"] == "refused"
    device.activation_key = created.activation_key
    assert (await scene.ask(device))["result"] == "accepted"
    assert old not in str(await scene.events())
    assert created.activation_key not in repr(created)


async def test_a_key_may_be_added_and_removed(scene: Scene) -> None:
    device = await scene.request()
    created = await requests.change_request(scene.admin, "acme", "gw-1", Changes(new_activation_key=True))
    assert (await scene.ask(device))["code"] == "refused"
    assert await rules(scene, new_activation_key=True, remove_activation_key=True) == ["activation_key.contradiction"]
    assert await rules(scene, remove_activation_key=True) == []
    assert (await scene.ask(device))["result"] == "accepted"
    assert created.activation_key


async def test_attempts_that_were_made_count(scene: Scene) -> None:
    device = await scene.run(maximum_attempts=3)
    await scene.fail(device)
    await scene.ask(device)
    await scene.fail(device)
    assert await rules(scene, maximum_attempts=1) == ["maximum_attempts.fewer_than_made"]
    await rules(scene, maximum_attempts=2)  # as many as were made: refused, or the next failure is one too many
    await scene.ask(device)
    await scene.fail(device)
    assert (await scene.state(), await scene.run_state()) == ("ABANDONED", "ABANDONED")


async def test_the_endpoint_must_be_served(scene: Scene) -> None:
    await scene.request()
    assert await rules(scene, provision_endpoint="mqtt://elsewhere:1") == ["provision_endpoint.endpoint_not_served"]
    assert await rules(scene, provision_endpoint="http://x") == ["provision_endpoint.endpoint"]


async def test_windows_are_judged_as_a_whole(scene: Scene) -> None:
    """A new begin against the old end, and the other way round; moments need their time zone."""
    await scene.request(activates_on=now(), expires_on=now() + 2 * DAY)
    assert await rules(scene, activates_on=now() + 3 * DAY) == ["expires_on.expires_before_activates"]
    assert await rules(scene, expires_on=now() - DAY) == ["expires_on.expires_before_activates"]
    assert await rules(scene, activates_on=now() + 3 * DAY, expires_on=now() + 4 * DAY) == []
    assert await rules(scene, expires_on=datetime.datetime(2040, 1, 1)) == ["expires_on.no_time_zone"]


async def test_the_size_is_judged_again(scene: Scene) -> None:
    """With what stays as it is counted in; kept Password values too, although nobody here can read them."""
    long_secret = {"c": {"p": device_config.Value(type="Password", clear="x" * 3000)}}
    await scene.request(additional_device_configuration=long_secret)
    scene.admin = dataclasses.replace(scene.admin, limits=Limits(answer_bytes=4096))
    assert await rules(scene, reserve_user=False) == ["additional_device_configuration.answer_too_large"]
    assert await rules(scene, additional_device_configuration=SECRET) == []
    assert await rules(scene, reserve_user=True) == []
    big = {"c": {"p": device_config.Value(type="String", clear="x" * 4000)}}
    assert await rules(scene, additional_device_configuration=big) == [
        "additional_device_configuration.answer_too_large"
    ]


async def test_a_configuration_is_replaced_and_sealed(scene: Scene) -> None:
    device = await scene.request(
        additional_device_configuration={"a": {"b": device_config.Value(type="Integer", clear=1)}}
    )
    assert await rules(scene, additional_device_configuration=SECRET) == []
    assert (await shown(scene))["additional_device_configuration"] == {"c": {"p": "***"}}
    assert "sesame" not in str(await scene.database.fetch("SELECT t::text FROM provision_requests t"))
    await scene.ask(device)
    assert device.reply["configuration"] == {"c": {"p": "sesame"}}


async def test_others_requests_are_not_there(scene: Scene) -> None:
    """An unknown client id and another account's read the same."""
    await ground(scene)
    texts = set()
    for client_id in ("unknown", "gx-1"):
        with pytest.raises(NotFound) as refused:
            await requests.change_request(scene.admin, "acme", client_id, Changes(reserve_user=False))
        texts.add(str(refused.value).replace(client_id, "..."))
    assert len(texts) == 1
    assert await requests.list_requests(scene.admin, "acme", "gx-1") == []
    both = await requests.list_requests(scene.admin, None)
    assert [row["client_id"] for row in both] == ["gw-1", "gw-2", "gx-1", "gx-2"]
    assert await requests.find_account_of(scene.admin, "gx-1") == "globex"
    with pytest.raises(NotFound):
        await requests.find_account_of(scene.admin, "unknown")


async def test_the_shown_status(scene: Scene) -> None:
    """The first that holds of PROVISIONED RUNNING ABANDONED DISABLED EXPIRED SCHEDULED OPEN."""

    await scene.request("open")
    await scene.request("scheduled", activates_on=now() + DAY)
    await scene.request("expired", activates_on=now() - 2 * DAY, expires_on=now() - DAY)
    await scene.request("disabled", activates_on=now() - 2 * DAY, expires_on=now() - DAY, enabled=False)
    await scene.run("running")
    await scene.provision("provisioned")
    await moves.set_enabled(scene.admin, "acme", "provisioned", enabled=False)
    await scene.abandon("abandoned")
    await moves.set_enabled(scene.admin, "acme", "abandoned", enabled=False)
    rows = await requests.list_requests(scene.admin, "acme")
    assert {row["client_id"]: row["status"] for row in rows} == {
        name: name.upper()
        for name in ("open", "scheduled", "expired", "disabled", "running", "provisioned", "abandoned")
    }
    run = next(row["run"] for row in rows if row["client_id"] == "running")
    assert (run["number"], run["state"], run["wire"]) == (1, "RUNNING", "json")
    assert run["confirm_by"] > now()
    assert next(row["run"]["confirm_by"] for row in rows if row["client_id"] == "provisioned") is None
