"""Good asks: what a run makes, what it answers, and that it answers the same again (design 4.1, section 6)."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
from typing import Any

import pytest
import rfc8785

from service.core import device_config
from service.core.derivation import CannotOpen
from service.core.requests import Changes
from service.keys import SealingKeys, new_key
from service.operations import moves, requests
from tests.support.database import ENDPOINT
from tests.support.desk import ask, open_answer
from tests.support.scene import Scene, new_desk, now

VARYING = {"id", "server_time", "confirm_within"}
APPLICATION = {
    "name": "heater", "version": "1.2.0", "url": "https://files.example/heater.dp", "sha256": "ab" * 32, "size": 12345,
}  # fmt: skip


def lasting(reply: dict[str, Any]) -> dict[str, Any]:
    """What never changes (I12)."""
    return {name: value for name, value in reply.items() if name not in VARYING}


def configuration(text: str) -> device_config.Configuration:
    """From JSON as an administrator writes it."""
    read, problems = device_config.parse(text)
    assert problems == []
    return read


async def test_a_good_ask_makes_user_device_and_connection(scene: Scene) -> None:
    device = await scene.request()
    before = await scene.database.value("SELECT clock_timestamp()")
    reply = await scene.ask(device)
    await scene.database.check_invariants()
    assert reply.keys() == {
        "id", "result", "run", "server_time", "confirm_within", "connection", "configuration", "applications", "digest",
    }  # fmt: skip
    assert (reply["id"], reply["result"], reply["configuration"], reply["applications"]) == (
        "ask-1",
        "accepted",
        {},
        [],
    )
    username = reply["connection"]["username"]
    assert reply["connection"] == {
        "endpoint": ENDPOINT, "account": "acme", "client_id": "gw-1", "username": username,
        "password": reply["connection"]["password"],
    }  # fmt: skip
    assert (len(username), username[:2], len(reply["connection"]["password"]), len(reply["run"])) == (28, "d-", 43, 22)
    sent = datetime.datetime.fromisoformat(reply["server_time"])
    assert before - datetime.timedelta(seconds=1) < sent <= await scene.database.value("SELECT clock_timestamp()")
    assert 0 < reply["confirm_within"] <= 3600
    assert (await scene.state(), await scene.run_state()) == ("RUNNING", "RUNNING")
    user = (await scene.database.fetch(
        "SELECT u.kind, u.enabled, u.confirmed_at, array_agg(p.permission) FROM users u"
        " JOIN user_permissions p ON p.user_id = u.id WHERE u.name = $1 GROUP BY u.id", username,
    ))[0]  # fmt: skip
    assert tuple(user) == ("device", True, None, ["broker:connect"])
    connection = (await scene.database.fetch(
        "SELECT c.coupling, u.name, r.name, c.allow_user_change, c.status, d.client_id FROM device_connections c"
        " JOIN users u ON u.id = c.user_id JOIN users r ON r.id = c.reserved_user_id"
        " JOIN devices d ON d.id = c.device_id"
    ))[0]  # fmt: skip
    assert tuple(connection) == ("INHERITED", username, username, False, None, "gw-1")


async def test_the_run_begins_through_its_states(scene: Scene) -> None:
    """CREATED, STARTED, RUNNING, in one transaction with its event."""
    for statement in (
        "CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, state text)",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO public.seen (state) VALUES (NEW.state); RETURN NULL; END $$",
        "CREATE TRIGGER see AFTER INSERT OR UPDATE OF state ON provision_runs FOR EACH ROW EXECUTE FUNCTION see()",
    ):
        await scene.database.execute(statement)
    device = await scene.run(generate_activation_key=True)
    assert [row[0] for row in await scene.database.fetch("SELECT state FROM seen ORDER BY n")] == [
        "CREATED", "STARTED", "RUNNING",
    ]  # fmt: skip
    event = (await scene.events())[-1]
    detail = json.loads(event["detail"])
    assert (event["kind"], event["actor"], event["source"]) == ("run_started", "device", "mqtt")
    assert (detail["run"], detail["wire"], detail["username"]) == (1, "json", device.username)
    assert (detail["key_required"], detail["key_proved"], detail["digest"]) == (True, True, device.reply["digest"])
    assert detail["activates_on"] <= detail["decided_at"]


async def test_a_repeated_ask_is_answered_alike(scene: Scene) -> None:
    """By another responder, after whatever changed around it, sealed or not: but for three fields."""
    device = await scene.request(
        generate_activation_key=True,
        additional_device_configuration=configuration('{"a": {"p": {"type": "Password", "value": "x"}, "n": 1}}'),
    )
    first = await scene.ask(device)
    other = new_desk(scene.database, scene.desk.pool)
    key = device.activation_key or ""
    await scene.database.execute("UPDATE brokers SET endpoints = endpoints || ARRAY['mqtts://b:8883']")
    await scene.database.execute("UPDATE provision_requests SET activates_on = activates_on - interval '1 hour'")
    await scene.database.execute("UPDATE provision_requests SET expires_on = clock_timestamp()")
    for number, desk in enumerate((scene.desk, other, scene.desk)):
        again = await ask(desk, "gw-1", id=f"again-{number}", activation_key=key)
        assert again["id"] == f"again-{number}"
        assert lasting(again) == lasting(first)
        sealed = await ask(desk, "gw-1", id=f"sealed-{number}", activation_key=key, seal=True)
        assert sealed.keys() == {"id", "result", "sealed", "server_time", "confirm_within"}
        assert {**open_answer(sealed, "gw-1", key), "result": "accepted"} == lasting(first)
    await scene.database.check_invariants()
    assert await scene.database.value("SELECT count(*) FROM provision_runs") == 1
    assert await scene.database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 1
    assert (await scene.kinds()) == ["request_created", "run_started"] + ["ask_repeated"] * 6


async def test_the_digest_is_of_what_it_says(scene: Scene) -> None:
    device = await scene.run(additional_device_configuration=configuration('{"ü": {"é": [1.5, 2e10], "a": "\\u2028"}}'))
    reply = device.reply
    document = {name: reply[name] for name in ("connection", "configuration", "applications")}
    assert reply["digest"] == hashlib.sha256(rfc8785.dumps(document)).hexdigest()


async def test_the_seal(scene: Scene) -> None:
    """Another key, id, or client id opens nothing; the same ask is sealed anew each time."""
    device = await scene.request(generate_activation_key=True)
    key = device.activation_key or ""
    first = await ask(scene.desk, "gw-1", activation_key=key, seal=True)
    again = await ask(scene.desk, "gw-1", activation_key=key, seal=True)
    assert first["sealed"] != again["sealed"]
    opened = open_answer(first, "gw-1", key)
    assert opened == open_answer(again, "gw-1", key)
    assert opened.keys() == {"run", "connection", "configuration", "applications", "digest"}
    for wrong in ((first, "gw-2", key), (first, "gw-1", key[::-1]), ({**first, "id": "other"}, "gw-1", key)):
        with pytest.raises(CannotOpen):
            open_answer(*wrong)


async def test_the_configuration_is_merged_and_opened(scene: Scene) -> None:
    """Password values readable in the answer alone; what provisioning owns is gone, in whatever case."""
    transport = device_config.TRANSPORT
    device = await scene.run(
        additional_device_configuration=configuration(json.dumps({
            transport: {"username": "evil", "Password": "evil", "BROKER-URL": "mqtt://evil", "client-id": "x",
                        "clientId": "y", "topic.context.account-name": "evil", "keep-alive": 30},
            "org.example.Wifi": {"pass": {"type": "Password", "value": "sesame"}, "ssid": "lab",
                                 "keys": {"type": "Password", "value": ["one", "two"]}},
            "big": {"long": 2**53 + 1, "float": {"type": "Float", "value": 0.5}},
        })),
    )  # fmt: skip
    assert device.reply["configuration"] == {
        transport: {"keep-alive": 30},
        "org.example.Wifi": {"pass": "sesame", "ssid": "lab", "keys": ["one", "two"]},
        "big": {"long": str(2**53 + 1), "float": 0.5},
    }


async def test_applications_are_answered(scene: Scene) -> None:
    """What creation took is what the device reads, in order."""
    second = {**APPLICATION, "name": "cooler", "version": "2.0"}
    device = await scene.run(applications=[APPLICATION, second])
    assert device.reply["applications"] == [APPLICATION, second]


async def test_a_sealing_key_may_change(scene: Scene) -> None:
    """A new one seals; the old one still opens what it sealed."""
    old = scene.database.sealing_keys
    secret = configuration('{"a": {"p": {"type": "Password", "value": "sesame"}}}')
    device = await scene.request(additional_device_configuration=secret)
    scene.database.sealing_keys = SealingKeys(keys=(*SealingKeys.parse(f"k2:{new_key()}").keys, *old.keys))
    reply = await ask(new_desk(scene.database, scene.desk.pool), "gw-1")
    assert reply["configuration"] == {"a": {"p": "sesame"}}
    assert device.client_id == "gw-1"


async def test_what_is_answered_is_what_was_when_it_began(scene: Scene) -> None:
    """Later changes to broker and request do not change a run's answer; a new run has the new content."""
    device = await scene.run()
    await scene.fail(device)
    await scene.database.execute("UPDATE brokers SET endpoints = '{mqtts://new.example:8883}' WHERE role = 'account'")
    await requests.change_request(scene.admin, "acme", "gw-1", Changes(provision_endpoint="mqtts://new.example:8883"))
    reply = await scene.ask(device)
    assert reply["connection"]["endpoint"] == "mqtts://new.example:8883"
    await scene.database.execute("UPDATE brokers SET endpoints = endpoints || '{mqtt://x:1}' WHERE role = 'account'")
    assert lasting(await scene.ask(device)) == lasting(reply)


async def test_coupling_and_reservation_are_the_requests(scene: Scene) -> None:
    for number, (reserve, coupling) in enumerate([(True, "LOOSE"), (False, "STRICT"), (False, "INHERITED")]):
        await scene.run(f"gw-{number}", reserve_user=reserve, device_connection_coupling=coupling)
        row = (await scene.database.fetch(
            "SELECT coupling, reserved_user_id IS NOT NULL FROM device_connections WHERE client_id = $1", f"gw-{number}"
        ))[0]  # fmt: skip
        assert tuple(row) == (coupling, reserve)


async def test_a_device_that_was_there_is_kept(scene: Scene) -> None:
    """Reopened: the same device and connection with a new user; a failure takes neither away."""
    device = await scene.provision()
    old = device.username
    before = await scene.database.value("SELECT id FROM devices")
    await scene.database.execute("UPDATE device_connections SET allow_user_change = true")
    await moves.reopen_request(scene.admin, "acme", "gw-1")
    await scene.ask(device)
    assert device.username != old
    row = (await scene.database.fetch(
        "SELECT c.device_id, u.name, c.allow_user_change FROM device_connections c JOIN users u ON u.id = c.user_id"
    ))[0]  # fmt: skip
    assert tuple(row) == (before, device.username, False)
    await scene.fail(device)
    assert await scene.database.value("SELECT id FROM devices") == before


async def test_64_identical_asks_at_once(scene: Scene) -> None:
    """By two responders: one user, one run, equal answers (T9)."""
    device = await scene.request(generate_activation_key=True)
    desks = [scene.desk, new_desk(scene.database, scene.desk.pool)]
    replies = await asyncio.gather(
        *(ask(desks[number % 2], "gw-1", activation_key=device.activation_key) for number in range(64))
    )
    assert {reply["result"] for reply in replies} == {"accepted"}
    assert len({json.dumps(lasting(reply), sort_keys=True) for reply in replies}) == 1
    assert await scene.database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 1
    assert await scene.database.value("SELECT count(*) FROM provision_runs") == 1
    await scene.database.check_invariants()
    device.reply = replies[0]
    assert await scene.login(device)


async def test_64_devices_at_once(scene: Scene) -> None:
    """Each gets its own."""
    devices = [await scene.request(f"gw-{number}", provision_username="fleet") for number in range(16)]
    replies = await asyncio.gather(*(scene.ask(device) for device in devices for _ in range(4)))
    assert {reply["result"] for reply in replies} == {"accepted"}
    assert len({device.username for device in devices}) == len({device.password for device in devices}) == 16
    assert all(device.reply["connection"]["client_id"] == device.client_id for device in devices)


async def test_the_window_is_the_databases(scene: Scene) -> None:
    """Half-open: from the moment it activates, up to the moment it expires; judged after the lock."""
    day = datetime.timedelta(days=1)
    inside = await scene.request("gw-1", activates_on=now() - day, expires_on=now() + day)
    assert (await scene.ask(inside))["result"] == "accepted"
    edge = await scene.request("gw-2")
    await scene.database.execute(
        "UPDATE provision_requests SET activates_on = clock_timestamp() WHERE client_id = 'gw-2'"
    )
    assert (await scene.ask(edge))["result"] == "accepted"
