"""
G15: many devices held at one account broker while some of them publish on a schedule; then all are dropped at once, and
come back with the jitter that docs/protocol.md asks of devices. Open loop: a publish counts from when it was due.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import registry, scale
from bench.cpu import Watch, difference
from bench.figures import Figure, Goal, quantile, single
from bench.worlds import bench_world
from tests.e2e.mqtt_raw import PUBACK, connect_packet, publish_packet
from tests.support.world import World

PUBLISHES_A_SECOND = 200
PUBLISH_MS, BACK_S = 100.0, 120.0
# Where a connection fails, the device waits this long at most before it tries again, and twice as long the next time.
FIRST_WAIT = 10.0
CONNACK_OK = bytes((0x20, 2, 0, 0))


@dataclass(kw_only=True)
class Held:
    """One device and its connection."""

    number: int
    port: int
    tries: int = 0
    waits: list[float] = field(default_factory=list)
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def come(self) -> None:
        """Until it is let in."""
        wait = FIRST_WAIT
        while not await self._try():
            await asyncio.sleep(random.uniform(0.5, 1.0) * wait)
            wait *= 2

    async def _try(self) -> bool:
        self.tries += 1
        try:
            async with asyncio.timeout(20):
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
                name, password = registry.username(self.number), registry.password(self.number)
                client_id = registry.client_id(self.number)
                self._writer.write(connect_packet(client_id, username=name, password=password, keepalive=600))
                return await self._reader.readexactly(4) == CONNACK_OK
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False

    async def publish(self, due: float, count: int) -> None:
        """Once, at QoS 1; how long it took from when it was due."""
        assert self._reader is not None
        assert self._writer is not None
        topic = f"acme/{registry.client_id(self.number)}/data"
        self._writer.write(publish_packet(topic, b"x" * 64, qos=1, packet_id=count % 65_535 + 1))
        kind = (await self._reader.readexactly(4))[0] >> 4
        assert kind == PUBACK
        self.waits.append((time.monotonic() - due) * 1000)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


async def publish_for(devices: Sequence[Held], seconds: float) -> list[float]:
    """Devices in turn, so many a second; milliseconds of each."""
    began, sent = time.monotonic(), 0
    publishing: set[asyncio.Task[None]] = set()
    while (due := began + sent / PUBLISHES_A_SECOND) < began + seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(devices[sent % len(devices)].publish(due, sent))
        publishing.add(task)
        task.add_done_callback(publishing.discard)
        sent += 1
    await asyncio.gather(*publishing)
    return [wait for device in devices for wait in device.waits]


async def come_back(world: World, devices: Sequence[Held]) -> float:
    """The broker dies, and with it every connection; seconds from its return until the last device is back."""

    async def after_a_while(device: Held) -> None:
        await asyncio.sleep(random.uniform(0, FIRST_WAIT))
        await device.come()

    await asyncio.to_thread(world.account_broker.kill)
    for device in devices:
        device.close()
    await asyncio.to_thread(world.account_broker.start)
    began = time.monotonic()
    await asyncio.gather(*(after_a_while(device) for device in devices))
    return time.monotonic() - began


async def measure() -> list[Figure]:
    """Held, and come back."""
    count, seconds = (2000, 600) if scale.is_large() else (500, 30)
    async with bench_world() as world:
        await registry.fill(world.database, count)
        devices = [Held(number=number, port=world.account_port) for number in range(count)]
        watch = Watch(processes={"broker": world.account_broker.pid() or 0, "hooks": world.hooks.pid() or 0})
        for device in devices:
            await device.come()
        before = watch.now()
        waits = await publish_for(devices, seconds)
        cpu = difference(before, watch.now())
        back = await come_back(world, devices)
        for device in devices:
            device.close()
    what = f"{count:,} devices held for {seconds} s, {PUBLISHES_A_SECOND} publishes/s"
    p99 = Figure(
        row="G15",
        what=f"publish p99, {what}",
        unit="ms",
        values=(quantile(waits, 0.99),),
        goal=Goal(at_most=PUBLISH_MS),
        cpu_seconds=cpu,
    )
    return [p99, single("G15", f"all {count:,} back after all were dropped at once", back, "s", at_most=BACK_S)]
