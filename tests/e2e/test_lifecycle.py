"""Presence at a real account broker: BIRTH, DC and wills, stolen links, and a responder that dies."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from service.mqtt import kura_payload
from service.operations import users
from tests.e2e.mqtt_raw import Client, Will
from tests.support.database import make_request
from tests.support.devices import connect_code, eventually, run_device
from tests.support.world import World

BIRTH = kura_payload.encode({"display_name": "Pump 7", "uptime": 12})


class Managed:
    """A provisioned device at its account broker."""

    def __init__(self, world: World, connection: dict[str, str]) -> None:
        self.world = world
        self.client_id, self.username = connection["client_id"], connection["username"]
        self.password = connection["password"]
        self.born_at: datetime.datetime | None = None

    def topic(self, said: str) -> str:
        return f"$EDC/acme/{self.client_id}/MQTT/{said}"

    async def come(self) -> Client:
        """Connected, with the will that Kura has."""
        client = await Client.open(self.world.account_port)
        will = Will(topic=self.topic("LWT"), payload=b"")
        code = await client.connect(self.client_id, username=self.username, password=self.password, will=will)
        assert code == 0
        return client

    async def bear(self, client: Client) -> None:
        self.born_at = await self.world.database.value(
            "SELECT born_at FROM device_connections WHERE client_id = $1", self.client_id
        )
        assert await client.publish(self.topic("BIRTH"), BIRTH, qos=1) == 0

    async def is_(self, status: str) -> bool:
        found = await self.world.database.value(
            "SELECT status FROM device_connections WHERE client_id = $1", self.client_id
        )
        return bool(found == status)

    async def becomes(self, status: str) -> None:
        await eventually(lambda: self.is_(status))

    async def was_born(self) -> bool:
        return bool(await self.world.database.value("SELECT birth IS NOT NULL FROM devices"))

    async def born_again(self) -> None:
        """This BIRTH, not an earlier one, was heard; what was said before it was handled before it."""
        await eventually(
            lambda: self.world.database.value(
                "SELECT born_at > last_login_at AND born_at IS DISTINCT FROM $2 AND ends_owed = 0"
                " FROM device_connections WHERE client_id = $1",
                self.client_id,
                self.born_at,
            )
        )


@pytest.fixture
async def managed(world: World, tmp_path: Path) -> Managed:
    """Provisioned; the responder listens at both brokers."""
    await make_request(world.admin, "gw-1")
    run = await run_device(world, "gw-1", tmp_path)

    async def listening() -> bool:
        return world.responder.log.read_text().count("responder_active") == 2

    await eventually(listening)
    return Managed(world, run.answer()["connection"])


async def test_a_device_comes_and_goes(managed: Managed) -> None:
    """By its own words, and without them."""
    client = await managed.come()
    await managed.bear(client)
    await eventually(managed.was_born)
    await managed.becomes("CONNECTED")
    await client.publish(managed.topic("DC"), b"", qos=1)
    await client.disconnect()
    await managed.becomes("DISCONNECTED")
    client = await managed.come()
    await managed.bear(client)
    await managed.becomes("CONNECTED")
    client.close()
    await managed.becomes("MISSING")


async def test_a_stolen_link_does_not_mark_the_new_one(managed: Managed) -> None:
    """The broker publishes the old connection's will when the new one comes: five times in a row."""
    client = await managed.come()
    await managed.bear(client)
    await managed.born_again()
    for _ in range(5):
        newer = await managed.come()
        await managed.bear(newer)
        await managed.born_again()
        assert await managed.is_("CONNECTED")
        client = newer
    client.close()
    await managed.becomes("MISSING")


async def test_nobody_marks_another(managed: Managed, world: World) -> None:
    """Its grants keep a device to its own topics; a will on another's topic is refused with the connection's end."""
    client = await managed.come()
    await managed.bear(client)
    await managed.born_again()
    password = await users.create_person(world.admin, "acme", "mallory", ["broker:connect"])
    thief = await Client.open(world.account_port)
    will = Will(topic=managed.topic("LWT"), payload=b"")
    await thief.connect("mallory", username="mallory", password=password, will=will)
    await thief.publish(managed.topic("LWT"), b"", qos=1)
    thief.close()
    for name in ("~responder", "mallory"):
        code = await connect_code(world.account_port, "~responder", name, password)
        assert code in (None, 5)
    await managed.bear(client)
    missing = "SELECT count(*) FROM events WHERE kind = 'device_missing'"
    assert await world.database.value(missing) == 0
    assert await managed.is_("CONNECTED")


async def test_a_responder_that_dies_hears_it_afterwards(managed: Managed, world: World) -> None:
    """Its session is kept: what was said meanwhile, at QoS 1, is handled when it is back."""
    client = await managed.come()
    await managed.bear(client)
    await managed.born_again()
    world.responder.kill()
    await client.publish(managed.topic("DC"), b"", qos=1)
    await client.disconnect()
    assert await managed.is_("CONNECTED")
    world.start(world.responder)
    await managed.becomes("DISCONNECTED")
