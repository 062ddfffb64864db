"""
Postgres stopped for 20 s under a running publisher: admitted devices go on, new CONNECTs get no CONNACK, and all
recovers by itself once it is back.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, single
from bench.worlds import bench_world
from tests.e2e.mqtt_raw import Client
from tests.support.database import make_request
from tests.support.devices import ask, connect, connect_code, reply, run_device
from tests.support.world import World

OUTAGE = 20.0
GOAL_RECOVERY_MS = 2000.0


async def publisher(world: World, username: str, password: str, stop: asyncio.Event) -> tuple[int, int, float]:
    """Publish to itself and read it back: (sent, lost, longest gap in ms)."""
    client = await Client.open(world.account_port)
    assert await client.connect("gw-1", username=username, password=password) == 0
    await client.subscribe("acme/gw-1/echo")
    sent = lost = 0
    longest = 0.0
    while not stop.is_set():
        began = time.monotonic()
        if await client.publish("acme/gw-1/echo", str(sent).encode(), qos=1) != 0 or await client.message() is None:
            lost += 1
        sent += 1
        longest = max(longest, (time.monotonic() - began) * 1000)
        await asyncio.sleep(0.01)
    client.close()
    return sent, lost, longest


async def measure() -> list[Figure]:
    """Postgres goes and comes back."""
    async with bench_world() as world:
        cluster = world.database.server.cluster
        assert cluster is not None
        await make_request(world.admin, "gw-1")
        await make_request(world.admin, "gw-2")
        with tempfile.TemporaryDirectory() as folder:
            run = await run_device(world, "gw-1", Path(folder))
            new = json.loads(run.store.read_text())["connection"]
        waiting = await connect(world, "gw-2", "factory-gw-2")
        await waiting.subscribe("prov/v1/gw-2/reply")
        stop = asyncio.Event()
        publishing = asyncio.create_task(publisher(world, new["username"], new["password"], stop))
        await asyncio.sleep(1.0)
        await asyncio.to_thread(cluster.stop, "immediate")
        codes = set()
        for _ in range(int(OUTAGE / 2)):
            codes.add(await connect_code(world.account_port, "gw-1x", new["username"], new["password"]))
            await asyncio.sleep(2.0)
        await ask(waiting, "gw-2")
        await asyncio.to_thread(cluster.start)
        back = time.monotonic()
        login_ms = await _until_login(world, new["username"], new["password"], back)
        await reply(waiting)
        answer_ms = (time.monotonic() - back) * 1000
        stop.set()
        sent, lost, longest = await publishing
        assert codes == {None}, codes
        return [
            single("G6", f"messages lost of {sent:,} that a device published to itself", lost, at_most=0),
            single("G6", "longest publish and read back", longest, "ms"),
            single("G6", "back: first verdict on a CONNECT", login_ms, "ms", at_most=GOAL_RECOVERY_MS),
            single("G6", "back: answer to an ask that waited", answer_ms, "ms", at_most=GOAL_RECOVERY_MS),
        ]


async def _until_login(world: World, username: str, password: str, since: float) -> float:
    code = None
    while code is None:
        await asyncio.sleep(0.02)
        code = await connect_code(world.account_port, "other", username, password)
    return (time.monotonic() - since) * 1000
