"""
What a broker's CPU pays for a publish and for a delivery of admitted clients, against a broker without any plugin
(B2, B3), and how long a revocation takes to the kick (B8). Ratios of pairs measured in turn.

The generator is Python, and slower than the broker; CPU seconds of the broker do not mind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.cpu import cpu_seconds, print_ratio, ratios
from bench.report import line, quantile
from bench.worlds import bench_world
from embedded import brokers
from embedded.processes import Managed, accepts, free_port
from service.operations import users
from tests.e2e.mqtt_raw import PUBLISH, SUBSCRIBE, connect_packet, packet
from tests.support.world import World

CONNACK_OK = bytes((0x20, 2, 0, 0))
PUBLISHES = 40_000
WINDOW = 15
SUBSCRIBERS = 200
ROUNDS = 150
REVOCATIONS = 60


@dataclass(frozen=True)
class Wire:
    """A connection whose bytes are counted, and not read."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def subscribe(self, topic: str) -> None:
        """With QoS 0."""
        name = topic.encode()
        self.writer.write(packet(SUBSCRIBE, b"\0\1" + len(name).to_bytes(2, "big") + name + b"\0", flags=2))
        assert (await self.reader.readexactly(5))[4] == 0


@asynccontextmanager
async def anonymous_broker(world: World) -> AsyncIterator[tuple[int, int]]:
    """The account broker's file less the plugin; its port and process id."""
    port = free_port()
    lines = [
        text
        for text in (world.folder / "account.conf").read_text().splitlines()
        if not text.startswith(
            ("plugin", "listener", "certfile", "keyfile", "tls_version", "allow_anonymous", "max_conn")
        )
    ]
    config = world.folder / "anonymous.conf"
    brokers.write_private(config, "\n".join([f"listener {port} 127.0.0.1", "allow_anonymous true", *lines]) + "\n")
    managed = Managed(
        name="anonymous-broker",
        command=[brokers.find_mosquitto(), "-c", str(config)],
        folder=world.folder,
        environment={"PATH": "/usr/bin:/usr/sbin"},
        is_ready=lambda: accepts(port),
    )
    managed.start()
    try:
        pid = managed.pid()
        assert pid is not None
        yield port, pid
    finally:
        managed.stop()


def publish_bytes(topic: str, number: int) -> bytes:
    """A PUBLISH of QoS 1 with 64 bytes."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + number.to_bytes(2, "big") + b"x" * 64
    return packet(PUBLISH, body, flags=2)


async def publish_many(client: Wire, topic: str, count: int) -> None:
    """As many as there may be in flight at a time; each is acknowledged."""
    chunk = b"".join(publish_bytes(topic, number + 1) for number in range(WINDOW))
    for _ in range(count // WINDOW):
        client.writer.write(chunk)
        await client.reader.readexactly(4 * WINDOW)


async def cpu_per_publish(client: Wire, topic: str, pid: int) -> float:
    """CPU seconds of the broker for one."""
    before = cpu_seconds(pid)
    await publish_many(client, topic, PUBLISHES)
    return (cpu_seconds(pid) - before) / PUBLISHES


async def cpu_per_delivery(publisher: Wire, topic: str, listeners: list[Wire], pid: int) -> float:
    """CPU seconds of the broker for one message to one subscriber."""
    size = len(publish_bytes(topic, 1)) - 2  # delivered with QoS 0: no packet id
    before = cpu_seconds(pid)
    for number in range(ROUNDS):
        publisher.writer.write(publish_bytes(topic, number + 1))
        await publisher.reader.readexactly(4)
        await asyncio.gather(*(listener.reader.readexactly(size) for listener in listeners))
    return (cpu_seconds(pid) - before) / (ROUNDS * len(listeners))


async def come(port: int, name: str, password: str = "") -> Wire:
    """A connection that was accepted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    username = name if password else None
    writer.write(connect_packet(name, username=username, password=password or None))
    assert await reader.readexactly(4) == CONNACK_OK
    return Wire(reader, writer)


async def measure_cpu(world: World) -> None:
    """B2 and B3."""
    pid = world.account_broker.pid()
    assert pid is not None
    password = await users.create_person(world.admin, "acme", "viewer", ["broker:connect", "data:manage"])
    async with anonymous_broker(world) as (port, anonymous_pid):
        ours, theirs = await come(world.account_port, "viewer", password), await come(port, "viewer")
        await asyncio.sleep(1.5)  # the feed is heard
        topic = "acme/viewer/x"
        found = await ratios(
            lambda: cpu_per_publish(ours, topic, pid), lambda: cpu_per_publish(theirs, topic, anonymous_pid)
        )
        print_ratio("B2 broker CPU per QoS 1 publish / anonymous", found, at_most=1.10)
        listeners: dict[int, list[Wire]] = {world.account_port: [], port: []}
        for number in range(SUBSCRIBERS):
            name = f"viewer-{number}"
            secret = await users.create_person(world.admin, "acme", name, ["broker:connect", "data:view"])
            for where, word in ((world.account_port, secret), (port, "")):
                client = await come(where, name, word)
                await client.subscribe("acme/viewer/#")
                listeners[where].append(client)
        await asyncio.sleep(2.5)
        found = await ratios(
            lambda: cpu_per_delivery(ours, topic, listeners[world.account_port], pid),
            lambda: cpu_per_delivery(theirs, topic, listeners[port], anonymous_pid),
        )
        print_ratio("B3 broker CPU per delivery to 200 / anonymous", found, at_most=1.10)


async def measure_revocations(world: World) -> None:
    """B8: from the commit to the end of the connection."""
    taken = []
    for number in range(REVOCATIONS):
        name = f"revoked-{number}"
        password = await users.create_person(world.admin, "acme", name, ["broker:connect"])
        client = await come(world.account_port, name, password)
        await asyncio.sleep(0.1)
        await users.set_user_enabled(world.admin, "acme", name, enabled=False)
        began = time.monotonic()
        await client.reader.read(1)
        taken.append((time.monotonic() - began) * 1000)
        client.writer.close()
    line("B8 revocation to kick, p50", quantile(taken, 0.5))
    line("B8 revocation to kick, p99", quantile(taken, 0.99), 1000)


async def main() -> None:
    """Print the figures."""
    print(__doc__)
    async with bench_world() as world:
        await measure_cpu(world)
        await measure_revocations(world)


if __name__ == "__main__":
    asyncio.run(main())
