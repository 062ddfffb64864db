"""
How long a stored session outlives its user's right to be there: from the commit to the end of the takeover that wipes
it, one user at a time, and 200 of one account at once, half of them connected. `python -m bench.takeover`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

from bench.worlds import bench_world
from service.operations import accounts, users
from tests.e2e.mqtt_raw import Client
from tests.support.world import World

GOAL_MS = 2000.0
ALONE, TOGETHER = 40, 200


async def come(world: World, name: str, password: str, *, stays: bool) -> Client:
    """With a session that is kept."""
    client = await Client.open(world.account_port)
    assert await client.connect(name, username=name, password=password, clean=False) == 0
    assert await client.subscribe(f"acme/{name}/x", qos=1) == 1
    if not stays:
        await client.disconnect()
    return client


async def wiped(world: World, names: set[str], since: float) -> list[float]:
    """Milliseconds until each session was ended, by the responder's log."""
    left, position, found = set(names), 0, []
    async with asyncio.timeout(120):
        while left:
            text = world.responder.log.read_text()
            for line in text[position:].splitlines():
                if '"session_ended"' in line and json.loads(line).get("client_id") in left:
                    left.discard(json.loads(line)["client_id"])
                    found.append((time.monotonic() - since) * 1000)
            position = text.rfind("\n") + 1
            await asyncio.sleep(0.005)
    return found


def show(what: str, values: Sequence[float]) -> None:
    """Median, 99th percentile and maximum."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    beside = "reached" if p99 <= GOAL_MS else "NOT REACHED"
    print(
        f"  {what}: p50 {ordered[len(ordered) // 2]:.0f} ms, p99 {p99:.0f} ms (goal {GOAL_MS:.0f}: {beside}),", end=" "
    )
    print(f"max {ordered[-1]:.0f} ms", flush=True)


async def main() -> None:
    """Print the figures."""
    async with bench_world(bcrypt_cost=4) as world:
        passwords = {
            f"plain-{number}": await users.create_person(
                world.admin, "acme", f"plain-{number}", ["broker:connect", "data:view"]
            )
            for number in range(ALONE + TOGETHER)
        }
        kept = []
        for number, (name, password) in enumerate(passwords.items()):
            kept.append(await come(world, name, password, stays=number % 2 == 0))
        await asyncio.sleep(2.5)
        values = []
        for name in list(passwords)[:ALONE]:
            await users.set_user_enabled(world.admin, "acme", name, enabled=False)
            values += await wiped(world, {name}, time.monotonic())
        print("stored sessions wiped after the commit")
        show(f"{ALONE} users, one after another", values)
        await accounts.set_account_enabled(world.admin, "acme", enabled=False)
        show(
            f"{TOGETHER} users of one account at once",
            await wiped(world, set(list(passwords)[ALONE:]), time.monotonic()),
        )


if __name__ == "__main__":
    asyncio.run(main())
