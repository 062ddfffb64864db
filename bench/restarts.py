"""
Hooks killed under a running publisher, and a broker killed under many sessions: how long until all is as before (G7).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, single
from bench.outage import publisher
from bench.worlds import bench_world
from service.operations import users
from tests.e2e.mqtt_raw import Client
from tests.support.database import make_request
from tests.support.devices import run_device
from tests.support.world import World

SESSIONS = 2000
AT_ONCE = 50
GOAL_TRAFFIC_MS = 1000.0
GOAL_SESSIONS_S = 60.0


async def hooks_killed(world: World, folder: Path) -> list[Figure]:
    """A device publishes to itself all the while."""
    await make_request(world.admin, "gw-1")
    new = json.loads((await run_device(world, "gw-1", folder)).store.read_text())["connection"]
    stop = asyncio.Event()
    publishing = asyncio.create_task(publisher(world, new["username"], new["password"], stop))
    await asyncio.sleep(1.0)
    world.hooks.kill()
    await asyncio.sleep(2.0)
    await asyncio.to_thread(world.start, world.hooks)
    await asyncio.sleep(2.0)
    stop.set()
    sent, lost, longest = await publishing
    return [
        single("G7", f"hooks restarted: messages lost of {sent:,} that a device published to itself", lost, at_most=0),
        single("G7", "hooks restarted: longest publish and read back", longest, "ms", at_most=GOAL_TRAFFIC_MS),
    ]


async def broker_killed(world: World) -> list[Figure]:
    """Everybody comes back as soon as there is a broker, so many at once."""
    people = []
    for number in range(SESSIONS):
        name = f"p{number:05}"
        people.append((name, await users.create_person(world.admin, "acme", name, ["broker:connect"])))
    clients = await connect_all(world, people)
    world.account_broker.kill()
    for client in clients:
        client.close()
    await asyncio.to_thread(world.start, world.account_broker)
    back = time.monotonic()
    clients = await connect_all(world, people)
    seconds = time.monotonic() - back
    for client in clients:
        client.close()
    return [single("G7", f"broker restarted: {SESSIONS:,} sessions back", seconds, "s", at_most=GOAL_SESSIONS_S)]


async def connect_all(world: World, people: list[tuple[str, str]]) -> list[Client]:
    """Each until it is let in."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def come(name: str, password: str) -> Client:
        async with slots:
            while True:
                try:
                    client = await Client.open(world.account_port)
                    if await client.connect(name, username=name, password=password) == 0:
                        return client
                    client.close()
                except OSError:
                    pass
                await asyncio.sleep(0.2)

    return list(await asyncio.gather(*(come(*person) for person in people)))


async def measure() -> list[Figure]:
    """Hooks, then the account's broker, killed under load."""
    async with bench_world() as world:
        with tempfile.TemporaryDirectory() as folder:
            figures = await hooks_killed(world, Path(folder))
        return figures + await broker_killed(world)
