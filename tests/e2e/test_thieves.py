"""A thief with the fleet's credential; and a device that may touch nothing but its own topics."""

from __future__ import annotations

import json

import pytest

from service.core.derivation import CannotOpen, open_answer
from tests.e2e.mqtt_raw import Client, Will
from tests.support.database import PASSWORD, make_request
from tests.support.devices import ask, connect, connect_code, eventually, payload, reply
from tests.support.world import World, is_own_plugin


@pytest.fixture
async def fleet(world: World) -> dict[str, str]:
    """A victim and two thieves of one fleet: the same credential, a key each."""
    created = {
        client_id: await make_request(world.admin, client_id, provision_username="fleet", generate_activation_key=True)
        for client_id in ("victim", "thief", "accomplice")
    }
    return {client_id: request.activation_key or "" for client_id, request in created.items()}


@pytest.mark.parametrize("clean", [True, False])
async def test_takeover_between_ask_and_reply_wins_nothing(world: World, fleet: dict[str, str], clean: bool) -> None:
    """The thief takes the victim's client id over and gets its reply: sealed, and worth nothing to it."""
    world.responder.stop()
    victim = await connect(world, "victim", "fleet")
    await victim.subscribe("prov/v1/victim/reply", qos=1)
    await ask(victim, "victim", activation_key=fleet["victim"], seal=True)
    thief = await Client.open(world.provision_port)
    code = await thief.connect("victim", username="fleet", password=PASSWORD, clean=clean)
    if not clean and is_own_plugin():
        assert code == 5  # devices have clean sessions only; the victim was not disturbed
        assert await victim.ping()
        thief.close()
        world.start(world.responder)
        assert (await reply(victim))["result"] == "accepted"
        victim.close()
        return
    assert code == 0
    assert await victim.read() is None
    assert await thief.subscribe("prov/v1/victim/reply", qos=1) in (0, 1)
    world.start(world.responder)
    stolen = await reply(thief)
    assert set(stolen) == {"id", "result", "server_time", "confirm_within", "sealed"}
    for key in ("", fleet["thief"]):
        with pytest.raises(CannotOpen):
            open_answer(activation_key=key, ask_id=stolen["id"], client_id="victim", sealed=stolen["sealed"])
    await ask(thief, "victim", id="mine")
    assert (await reply(thief))["code"] == "refused"
    thief.close()

    back = await connect(world, "victim", "fleet")
    await back.subscribe("prov/v1/victim/reply", qos=1)
    await ask(back, "victim", activation_key=fleet["victim"], seal=True)
    mine = await reply(back)
    opened = json.loads(
        open_answer(activation_key=fleet["victim"], ask_id=mine["id"], client_id="victim", sealed=mine["sealed"])
    )
    new = opened["connection"]
    back.close()
    assert await connect_code(world.account_port, "victim", new["username"], new["password"]) == 0
    assert await world.database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 1


@pytest.mark.parametrize("username", ["~responder", "~takeover", "~other", "fleet"])
@pytest.mark.parametrize("client_id", ["~responder", "~takeover"])
async def test_nobody_poses_as_us(world: World, fleet: dict[str, str], username: str, client_id: str) -> None:
    """A device that names itself as one of ours gets nowhere, and the responder goes on."""
    assert fleet
    for clean in (True, False):
        assert await connect_code(world.provision_port, client_id, username, PASSWORD, clean=clean) == 5
        assert await connect_code(world.account_port, client_id, username, PASSWORD, clean=clean) == 5
    device = await connect(world, "victim", "fleet")
    await device.subscribe("prov/v1/victim/reply")
    await ask(device, "victim", activation_key=fleet["victim"])
    assert (await reply(device))["result"] == "accepted"
    device.close()


FILTERS = [
    "#",
    "+",
    "+/+/+/reply",
    "prov/#",
    "prov/v1/#",
    "prov/v1/+/reply",
    "prov/v1/victim/reply",
    "prov/v1/victim/#",
    "prov/v1/thief/#",
    "prov/v1/thief/request",
    "prov/v1/thief/reply/",
    "/prov/v1/thief/reply",
    "$share/x/prov/v1/victim/reply",
    "$share/x/prov/v1/thief/reply",
    "$share/x/#",
    "$SYS/#",
    "$SYS/broker/clients/connected",
    "$CONTROL/#",
    "$CONTROL/dynamic-security/v1/response",
    "acme/thief/#",
    "$EDC/acme/thief/#",
]


@pytest.mark.parametrize("version", [4, 5])
async def test_every_filter_but_its_own_is_refused(world: World, fleet: dict[str, str], version: int) -> None:
    assert fleet
    device = await connect(world, "thief", "fleet", version=version)
    for topic_filter in FILTERS:
        code = await device.subscribe(topic_filter)
        assert code in (0x80, 0x87), topic_filter
    assert await device.subscribe("prov/v1/thief/reply") == 0
    device.close()


TOPICS = [
    "prov/v1/victim/request",
    "prov/v1/victim/status",
    "prov/v1/victim/reply",
    "prov/v1/thief/reply",
    "prov/v1/thief/request/x",
    "prov/v1//request",
    "prov/v1/thief",
    "x",
    "$SYS/broker/uptime",
    "$CONTROL/dynamic-security/v1",
    "$EDC/provision/victim/MQTT/BIRTH",
    "acme/thief/x",
]


async def test_nothing_it_publishes_elsewhere_gets_through(world: World, fleet: dict[str, str]) -> None:
    """Read back from a second client, and from what the responder saw."""
    victim = await connect(world, "victim", "fleet")
    assert await victim.subscribe("prov/v1/victim/reply", qos=1) in (0, 1)
    device = await connect(world, "thief", "fleet", version=5)
    for topic in TOPICS:
        # MQTT 5 tells the publisher; the broker itself cuts it for some of the $ topics.
        assert await device.publish(topic, b'{"id":"x"}', qos=1) in (0x87, None), topic
        if not await device.ping():
            device = await connect(world, "thief", "fleet", version=5)
    device.close()
    await ask(victim, "victim", activation_key=fleet["victim"])
    assert (await reply(victim))["result"] == "accepted"
    assert await victim.waiting_messages() == []
    victim.close()
    kinds = {row["kind"] for row in await world.database.fetch("SELECT kind FROM events WHERE source = 'mqtt'")}
    assert kinds == {"run_started"}


async def test_a_will_on_somebody_elses_topic_never_fires(world: World, fleet: dict[str, str]) -> None:
    assert fleet
    victim = await connect(world, "victim", "fleet")
    assert await victim.subscribe("prov/v1/victim/reply", qos=1) in (0, 1)
    for client_id, topic in (("thief", "prov/v1/victim/reply"), ("accomplice", "prov/v1/victim/request")):
        device = await Client.open(world.provision_port)
        will = Will(topic, b'{"id":"evil"}', qos=1)
        assert await device.connect(client_id, username="fleet", password=PASSWORD, will=will) in (0, 5)
        device.close()

    async def refused() -> bool:
        rows = await world.database.fetch("SELECT sum(count) AS n FROM refusals WHERE client_id <> 'victim'")
        return bool(rows[0]["n"] == 2)

    await eventually(refused)
    assert await victim.waiting_messages() == []
    assert await world.database.value("SELECT count(*) FROM events WHERE source = 'mqtt'") == 0
    victim.close()


async def test_a_retained_message_stays_nowhere(world: World, fleet: dict[str, str]) -> None:
    """Retaining is off: the broker cuts whoever tries, and nothing waits for the next subscriber."""
    assert fleet
    device = await connect(world, "thief", "fleet")
    assert await device.publish("prov/v1/thief/status", b"kept", qos=1, retain=True) is None
    again = await connect(world, "thief", "fleet")
    assert await again.subscribe("prov/v1/thief/reply") == 0
    assert await again.waiting_messages() == []
    again.close()


async def test_replies_reach_their_device_alone(world: World, fleet: dict[str, str]) -> None:
    """While one device is answered, another one of the fleet hears nothing."""
    listener = await connect(world, "thief", "fleet")
    await listener.subscribe("prov/v1/thief/reply")
    device = await connect(world, "victim", "fleet")
    await device.subscribe("prov/v1/victim/reply")
    await ask(device, "victim", activation_key=fleet["victim"])
    packet = await device.message()
    assert packet is not None
    assert json.loads(payload(packet))["result"] == "accepted"
    assert await listener.waiting_messages() == []
    for client in (listener, device):
        client.close()
