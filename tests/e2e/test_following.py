"""Our plugin decides by itself, and yet who loses its rights is out at once (design section 5)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from embedded.processes import free_port
from service.operations import devices, users
from service.operations.administration import Administration
from tests.e2e.mqtt_raw import Client, Will
from tests.support.database import Database
from tests.support.devices import connect_code, eventually
from tests.support.proxy import cable
from tests.support.world import World, is_own_plugin

pytestmark = pytest.mark.own_plugin


@pytest.fixture(autouse=True)
def own_plugin() -> None:
    """go-auth asks for every topic, and kicks nobody."""
    if not is_own_plugin():
        pytest.fail("run with -m 'not own_plugin' for another plugin")


async def person(world: World, name: str, *permissions: str) -> str:
    return await users.create_person(world.admin, "acme", name, ["broker:connect", *permissions])


async def come(world: World, name: str, password: str, **options: Any) -> Client:
    client = await Client.open(world.account_port)
    assert await client.connect(name, username=name, password=password, **options) == 0
    return client


async def asked_of_hooks(world: World) -> float:
    """How many topics the hooks were asked for, by their own counter."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{world.hooks_metrics_port}/metrics") as response,
    ):
        text = await response.text()
    lines = [line for line in text.splitlines() if line.startswith("hook_questions_total{") and 'route="acl"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def ended(client: Client) -> bool:
    """The broker closed the connection."""
    try:
        return not await client.ping()
    except ConnectionError:
        return True


async def test_topics_are_not_asked_for(world: World, database: Database) -> None:
    boss = await come(world, "boss", await person(world, "boss", "data:manage"))
    plain = await come(world, "plain", await person(world, "plain"))
    assert await boss.subscribe("acme/#") == 0

    async def nothing_is_asked() -> bool:
        """Once the feed is heard, and where the machine lets it be heard every other second."""
        before = await asked_of_hooks(world)
        for number in range(50):
            assert await plain.publish("acme/plain/x", str(number).encode(), qos=1) == 0
        assert await plain.publish("acme/boss/x", b"no", qos=1) is not None
        assert len(await boss.waiting_messages()) == 50
        return await asked_of_hooks(world) == before

    await eventually(nothing_is_asked)

    async def reported() -> bool:
        return bool(
            await database.value("SELECT count(*) FROM refusals WHERE client_id = 'plain' AND reason = 'no_grant'")
        )

    await eventually(reported)


async def test_whoever_is_disabled_is_kicked(world: World) -> None:
    password = await person(world, "plain")
    plain = await come(world, "plain", password)
    assert await plain.publish("acme/plain/x", b"1", qos=1) == 0
    await users.set_user_enabled(world.admin, "acme", "plain", enabled=False)
    began = time.monotonic()
    await eventually(lambda: ended(plain))
    print(f"kicked {time.monotonic() - began:.3f} s after the commit (goal: 1 s)")
    assert await connect_code(world.account_port, "plain", "plain", password) == 5
    await users.set_user_enabled(world.admin, "acme", "plain", enabled=True)
    assert await (await come(world, "plain", password)).publish("acme/plain/x", b"1", qos=1) == 0


async def test_new_permissions_count_at_once_and_disturb_nobody(world: World) -> None:
    password = await person(world, "plain")
    plain = await come(world, "plain", password)
    assert await plain.subscribe("acme/#") == 0x80
    await users.set_permissions(world.admin, "acme", "plain", ["broker:connect", "data:view"])

    async def may_read_all() -> bool:
        return await plain.subscribe("acme/#") == 0

    await eventually(may_read_all)
    await users.set_permissions(world.admin, "acme", "plain", ["broker:connect"])

    async def may_no_longer() -> bool:
        return await plain.subscribe("acme/+/x") == 0x80

    await eventually(may_no_longer)
    assert await plain.publish("acme/plain/x", b"1", qos=1) == 0


async def test_a_will_does_not_outlive_the_kick(world: World) -> None:
    boss = await come(world, "boss", await person(world, "boss", "data:manage"))
    assert await boss.subscribe("acme/#") == 0
    plain = await come(world, "plain", await person(world, "plain"), will=Will("acme/plain/gone", b"x", qos=0))
    await users.set_user_enabled(world.admin, "acme", "plain", enabled=False)
    await eventually(lambda: ended(plain))
    assert await boss.waiting_messages() == []


async def test_hooks_that_are_away_and_come_back(world: World) -> None:
    """Admitted clients go on; what changed meanwhile counts as soon as the hooks are back; nobody else is touched."""
    boss = await come(world, "boss", await person(world, "boss", "data:manage"))
    assert await boss.subscribe("acme/#") == 0
    passwords = {name: await person(world, name) for name in ("plain", "other")}
    plain, other = [await come(world, name, password) for name, password in passwords.items()]
    assert await plain.publish("acme/plain/x", b"1", qos=1) == 0
    await asyncio.sleep(0.2)  # the feed is heard
    world.hooks.stop()
    await users.set_user_enabled(world.admin, "acme", "plain", enabled=False)
    await asyncio.sleep(2.5)  # and no longer
    for number in range(5):
        assert await other.publish("acme/other/x", str(number).encode(), qos=1) == 0
    assert "acme/other/x" in await boss.waiting_messages()
    world.start(world.hooks)
    await eventually(lambda: ended(plain))
    assert await other.publish("acme/other/x", b"1", qos=1) == 0
    assert await boss.ping()


async def test_a_disabled_device_is_kicked(world: World) -> None:
    plain = await come(world, "plain", await person(world, "plain"))
    await world.database.execute(
        "INSERT INTO devices (account_id, client_id) SELECT id, 'plain' FROM accounts WHERE name = 'acme'"
    )
    await devices.set_device_enabled(world.admin, "acme", "plain", enabled=False)
    await eventually(lambda: ended(plain))


@pytest.mark.long
async def test_a_cut_between_plugin_and_hooks_is_made_up_for(database: Database, admin: Administration) -> None:
    """Five seconds: everybody stays, what changed meanwhile is applied, and nobody else is asked for anew."""
    hooks_port = free_port()
    world = World(database=database, admin=admin, settings={"PROVISION_HOOKS_PORT": str(hooks_port)})
    try:
        await world.prepare()
        async with cable(hooks_port, world.hooks_port, b"POST /hooks/clients ") as line:
            await asyncio.to_thread(world.start)
            names = [f"plain-{number}" for number in range(40)]
            clients = {name: await come(world, name, await person(world, name)) for name in names}
            await asyncio.sleep(0.5)  # the feed is heard
            before = line.times
            line.pull()
            await users.set_user_enabled(world.admin, "acme", "plain-7", enabled=False)
            await asyncio.sleep(5)
            for name in names[8:]:
                assert await clients[name].publish(f"acme/{name}/x", b"1", qos=1) == 0, "by what was granted"
            line.cut = False
            kicked = clients.pop("plain-7")
            await eventually(lambda: ended(kicked))
            assert 1 <= line.times - before <= 3, "not for everybody: the feed goes on from where it was"
            for name, client in clients.items():
                assert await client.publish(f"acme/{name}/x", b"1", qos=1) == 0
    finally:
        world.close()
