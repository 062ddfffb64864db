"""
How long a stored session outlives its user's right to be there: from the commit to the end of the takeover that wipes
it, one user at a time, and 200 of one account at once, half of them connected.
"""

from __future__ import annotations

import asyncio
import json
import time

from bench.figures import Figure, quantile, single
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


async def measure() -> list[Figure]:
    """One after another, and all at once."""
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
        await accounts.set_account_enabled(world.admin, "acme", enabled=False)
        together = await wiped(world, set(list(passwords)[ALONE:]), time.monotonic())
    return [
        single("B8", f"{what}: session wiped, p99", quantile(found, 0.99), "ms", at_most=GOAL_MS)
        for what, found in ((f"{ALONE} users, one by one", values), (f"{TOGETHER} users at once", together))
    ]
