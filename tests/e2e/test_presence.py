"""Presence that our plugin tells: a plain client, which says nothing of itself, on real brokers."""

from __future__ import annotations

import asyncio

import pytest

from service.operations import devices, users
from tests.e2e.mqtt_raw import Client
from tests.support.devices import eventually
from tests.support.world import World, is_own_plugin

pytestmark = pytest.mark.own_plugin


@pytest.fixture(autouse=True)
def own_plugin() -> None:
    """go-auth tells nothing of connections."""
    if not is_own_plugin():
        pytest.fail("run with -m 'not own_plugin' for another plugin")


async def come(world: World, name: str, password: str) -> Client:
    client = await Client.open(world.account_port)
    assert await client.connect(name, username=name, password=password) == 0
    return client


async def becomes(world: World, name: str, status: str) -> None:
    async def shown() -> bool:
        listed = await devices.list_devices(world.admin, "acme")
        return {row["client_id"]: row["status"] for row in listed}.get(name) == status

    await eventually(shown)


async def test_a_plain_client_comes_and_goes(world: World) -> None:
    """Without a will or a word: cut, taken over, gone in order, and with its broker."""
    password = await users.create_person(world.admin, "acme", "plain", ["broker:connect"])
    other = await users.create_person(world.admin, "acme", "other", ["broker:connect"])
    await world.database.execute(
        "INSERT INTO devices (account_id, client_id)"
        " SELECT id, client_id FROM accounts, unnest(ARRAY['plain', 'other']) AS client_id WHERE name = 'acme'"
    )
    bystander = await come(world, "other", other)
    client = await come(world, "plain", password)
    await becomes(world, "plain", "CONNECTED")
    client.close()
    await becomes(world, "plain", "DISCONNECTED")
    await become_taken_over(world, password)
    await becomes(world, "other", "CONNECTED")
    assert await bystander.ping()
    client = await come(world, "plain", password)
    await becomes(world, "plain", "CONNECTED")
    world.account_broker.stop()
    world.start(world.account_broker)
    await becomes(world, "plain", "DISCONNECTED")
    await becomes(world, "other", "DISCONNECTED")
    await come(world, "plain", password)
    await becomes(world, "plain", "CONNECTED")


async def become_taken_over(world: World, password: str) -> None:
    """The end of the old connection is no end: nothing but CONNECTED, for longer than it takes to be told."""
    older = await come(world, "plain", password)
    await becomes(world, "plain", "CONNECTED")
    newer = await come(world, "plain", password)
    assert await older.read() is None
    told_since = "SELECT status_at FROM device_connections WHERE client_id = 'plain'"
    before = await world.database.value(told_since)
    for _ in range(25):
        await asyncio.sleep(0.1)
        assert await world.database.value(told_since) == before
    await becomes(world, "plain", "CONNECTED")
    await newer.disconnect()
    await becomes(world, "plain", "DISCONNECTED")
