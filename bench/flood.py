"""
200 wrong passwords a second for 12 s at the provision broker, while a device that was let in before pings on a fixed
schedule (open loop: a late answer does not delay the next ping), and a remembered device logs in again.

The broker is one thread: without the slow-hash budget each wrong password would hold everybody up for 72 ms.
"""

from __future__ import annotations

import asyncio
import sys
import time

from bench.report import line, quantile
from bench.worlds import bench_world
from tests.e2e.mqtt_raw import PINGREQ, PINGRESP, Client, connect_packet, packet
from tests.support.database import make_request
from tests.support.devices import connect
from tests.support.world import ROOT, World

SECONDS = 12.0
RATE = 200
PING_EVERY = 0.02
GOAL_PING_MS = 150.0


async def attack(port: int) -> None:
    """Wrong passwords on a schedule: known and unknown names in turn. Prints how many were sent."""
    began, sent = time.monotonic(), 0
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        client = await Client.open(port)
        username = "factory-gw-1" if number % 2 else f"nobody-{number}"
        await client.send(connect_packet("gw-1x", username=username, password=f"wrong-{number}"))
        await client.read()
        client.close()

    while (now := time.monotonic()) < began + SECONDS:
        if now >= began + sent / RATE:
            task = asyncio.create_task(one(sent))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        else:
            await asyncio.sleep(0.001)
    await asyncio.gather(*tasks, return_exceptions=True)
    print(sent)


async def pings(client: Client, seconds: float) -> list[float]:
    """Milliseconds from each ping's scheduled time to its answer."""
    began = time.monotonic()
    waits: list[float] = []
    scheduled: list[float] = []

    async def send() -> None:
        number = 0
        while (at := began + number * PING_EVERY) < began + seconds:
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            scheduled.append(at)
            await client.send(packet(PINGREQ))
            number += 1

    sending = asyncio.create_task(send())
    while not sending.done() or len(waits) < len(scheduled):
        if await client.read(PINGRESP) is None:
            raise RuntimeError("the pinging device was cut off")
        waits.append((time.monotonic() - scheduled[len(waits)]) * 1000)
    return waits


async def logins(world: World, seconds: float) -> list[float]:
    """Milliseconds that a remembered device's login takes, once a second."""
    taken = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        client = await connect(world, "gw-2", "factory-gw-2")
        taken.append((time.monotonic() - began) * 1000)
        client.close()
        await asyncio.sleep(1.0)
    return taken


async def main() -> None:
    """Print the figures."""
    async with bench_world() as world:
        await make_request(world.admin, "gw-1")
        await make_request(world.admin, "gw-2")
        device = await connect(world, "gw-1", "factory-gw-1")
        (await connect(world, "gw-2", "factory-gw-2")).close()
        idle = await pings(device, 3.0)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.flood", str(world.provision_port), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        waits, taken = await asyncio.gather(pings(device, SECONDS), logins(world, SECONDS))
        out, _ = await process.communicate()
        print(f"flood: {out.decode().strip()} wrong passwords in {SECONDS:.0f} s at the provision broker")
        line("ping p99 of an admitted device, idle", quantile(idle, 0.99))
        line("ping p99 of an admitted device, under the flood", quantile(waits, 0.99), GOAL_PING_MS)
        line("ping maximum", max(waits))
        line("login of a remembered device, maximum", max(taken), 1000.0)


if __name__ == "__main__":
    asyncio.run(attack(int(sys.argv[1])) if len(sys.argv) > 1 else main())
