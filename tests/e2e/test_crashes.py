"""Processes that die, brokers and databases that go away: nothing is lost, nothing needs a restart by hand."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded.processes import Managed
from tests.e2e.mqtt_raw import Client
from tests.support.database import PASSWORD, make_request
from tests.support.devices import ask, connect, connect_code, eventually, reply, run_device
from tests.support.own import own_database
from tests.support.world import World, is_own_plugin


async def gone(process: Managed) -> None:
    """Wait until it has died."""

    async def dead() -> bool:
        return process.pid() is None

    await eventually(dead)


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "after_publish"])
async def test_responder_dies(stopped_world: World, tmp_path: Path, point: str) -> None:
    """Killed at each point of the ask: the device finishes, one live user is left, its answer never changed."""
    world = stopped_world
    created = await make_request(world.admin, "gw-1", generate_activation_key=True)
    crashing = world.new_responder("crashing")
    crashing.command = [sys.executable, "-m", "tests.support.crashing_responder", point]
    world.start(world.hooks, world.provision_broker, world.account_broker, crashing)
    device = asyncio.ensure_future(
        run_device(world, "gw-1", tmp_path, activation_key=created.activation_key, seal=True, first_wait=5)
    )
    await gone(crashing)
    world.start(world.responder)
    run = await device
    assert run.names()[-1] == "received it back"
    assert await world.database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 1
    rows = await world.database.fetch("SELECT DISTINCT detail ->> 'digest' AS d FROM events WHERE detail ? 'digest'")
    assert [row["d"] for row in rows] == [run.answer()["digest"]]


async def test_a_standby_takes_over(world: World) -> None:
    """Two responders: one is active; killed, the other one answers, also what was asked meanwhile."""
    await make_request(world.admin, "gw-1")
    standby = world.new_responder("standby")
    world.start(standby)
    device = await connect(world, "gw-1", "factory-gw-1")
    await device.subscribe("prov/v1/gw-1/reply")
    world.responder.kill()
    await ask(device, "gw-1")
    assert (await reply(device))["result"] == "accepted"
    assert "responder_active" in standby.log.read_text()
    device.close()


async def test_the_active_one_is_not_disturbed_by_a_standby(world: World) -> None:
    """One client id at the broker, two processes: the standby does not even connect."""
    standby = world.new_responder("standby")
    world.start(standby)
    await asyncio.sleep(2)
    assert "responder_active" not in standby.log.read_text()
    assert world.responder.log.read_text().count("responder_active") == 2  # once at each broker


async def test_broker_restarts(world: World, tmp_path: Path) -> None:
    """The responder comes back and subscribes again by itself; devices are provisioned as before."""
    world.provision_broker.kill()
    world.start(world.provision_broker)
    await make_request(world.admin, "gw-1")
    run = await run_device(world, "gw-1", tmp_path)
    assert run.names()[-1] == "received it back"


async def admitted_device(world: World, folder: Path, client_id: str = "gw-1") -> tuple[Client, str, str]:
    """A provisioned device, connected at its account broker: (connection, username, password)."""
    await make_request(world.admin, client_id)
    run = await run_device(world, client_id, folder)
    new = run.answer()["connection"]
    client = await Client.open(world.account_port)
    assert await client.connect(client_id, username=new["username"], password=new["password"]) == 0
    assert await client.subscribe(f"acme/{client_id}/echo") == 0
    return client, new["username"], new["password"]


async def works(client: Client, client_id: str = "gw-1") -> bool:
    """Publish, and receive it back."""
    return await client.publish(f"acme/{client_id}/echo", b"x", qos=1) == 0 and await client.message() is not None


async def test_hooks_restart_under_connected_devices(world: World, tmp_path: Path) -> None:
    """Nobody falls out, nobody gets in."""
    device, username, password = await admitted_device(world, tmp_path)
    world.hooks.kill()
    assert await connect_code(world.account_port, "gw-1x", username, password) is None
    assert await device.ping()
    world.start(world.hooks)
    assert await works(device)
    assert await connect_code(world.account_port, "gw-1", username, password + "x") == 5
    device.close()


@pytest.mark.own_plugin
async def test_sighup_under_connected_devices(world: World, tmp_path: Path) -> None:
    """SIGHUP makes Mosquitto ask for every session; with our plugin nobody falls out, even while hooks are away."""
    if not is_own_plugin():
        pytest.fail("run with -m 'not own_plugin' for another plugin")
    device, username, password = await admitted_device(world, tmp_path)
    world.account_broker.signal(signal.SIGHUP)
    assert await works(device)
    world.hooks.kill()
    world.account_broker.signal(signal.SIGHUP)
    await asyncio.sleep(0.5)
    assert await device.ping()
    assert await connect_code(world.account_port, "other", username, password) is None
    world.start(world.hooks)
    assert await works(device)
    device.close()


@pytest.fixture
async def own_world() -> AsyncIterator[World]:
    """A world with a Postgres of its own, that may be stopped."""
    async with own_database() as (database, admin):
        world = World(database=database, admin=admin)
        try:
            await world.prepare()
            world.start()
            yield world
            await database.check_invariants()
        finally:
            world.close()


async def test_postgres_goes_away_and_comes_back(own_world: World, tmp_path: Path) -> None:
    """Admitted devices go on, new CONNECTs get no CONNACK, asks wait; all is well again without any restart."""
    world = own_world
    cluster = world.database.server.cluster
    assert cluster is not None
    device, username, password = await admitted_device(world, tmp_path)
    await make_request(world.admin, "gw-2")
    waiting = await connect(world, "gw-2", "factory-gw-2")
    await waiting.subscribe("prov/v1/gw-2/reply")
    assert await works(device)

    cluster.stop("immediate")
    for _ in range(20):
        assert await works(device)
        await asyncio.sleep(0.2)
    assert await connect_code(world.account_port, "gw-1", username, password) is None
    assert await connect_code(world.provision_port, "gw-2", "factory-gw-2", PASSWORD) is None
    await ask(waiting, "gw-2")
    cluster.start()

    assert (await reply(waiting))["result"] == "accepted"

    async def admitted() -> bool:
        return await connect_code(world.account_port, "gw-1", username, password) == 0

    await eventually(admitted)
    for client in (device, waiting):
        client.close()
    for process in (world.hooks, world.responder, world.account_broker, world.provision_broker):
        assert process.pid() is not None


async def test_revoked_stays_revoked_while_postgres_is_away(own_world: World, tmp_path: Path) -> None:
    """Who was shut out before the database went gets nothing from memory."""
    world = own_world
    cluster = world.database.server.cluster
    assert cluster is not None
    device, _, _ = await admitted_device(world, tmp_path)
    await world.database.execute("UPDATE devices SET enabled = false")

    async def shut_out() -> bool:
        await device.publish("acme/gw-1/echo", b"x", qos=1)
        return await device.waiting_messages() == []

    await eventually(shut_out)
    cluster.stop("immediate")
    await device.publish("acme/gw-1/echo", b"x", qos=1)
    assert await device.waiting_messages() == []
    cluster.start()
    device.close()
