"""
B8: from the commit of a revocation (a user is disabled) to its effect at the account broker.

The kick: the end of the connection, p99 of a batch; idle, and under B10's flood at the provision broker, whose
questions go to the same hooks. With the feed cut (bench/cut.py): the last message that the client could publish or got.
The stored session: the line of the broker's log that says that a takeover came; and then, enabled again, the client
must find no session and no message.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bench import bystander, peers, scale
from bench.cpu import PAIRS
from bench.cut import Relay, relaying, without_feed
from bench.figures import Figure, Goal, quantile
from bench.worlds import bench_world
from service.operations import users
from tests.e2e.mqtt_raw import CONNACK, PUBLISH, Client, connect_packet
from tests.support.world import World

KICK, CUT, WIPED = Goal(at_most=1.0), Goal(at_most=5.0), Goal(at_most=2.0)
EVERYTHING = ["broker:connect", "device:manage", "data:manage", "data:view"]
# The plugin hears of the feed's beginning, after which a login's grants are its own.
SETTLE = 1.5
# So long nothing may get through before we take it for the end.
QUIET = 3.0
PATIENCE = 20.0


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who may do anything in the account, until it is disabled."""

    world: World
    name: str
    password: str

    async def come(self, port: int, *, clean: bool = True) -> tuple[Client, bool]:
        """A connection that was accepted, and whether a session was there."""
        client = await Client.open(port)
        await client.send(connect_packet(self.name, username=self.name, password=self.password, clean=clean))
        answer = await client.read(CONNACK)
        if answer is None or answer.body[1] != 0:
            raise RuntimeError(f"{self.name} was not let in")
        return client, bool(answer.body[0])

    async def set_enabled(self, enabled: bool) -> float:
        """Committed; returns when."""
        await users.set_user_enabled(self.world.admin, "acme", self.name, enabled=enabled)
        return time.monotonic()


async def make_person(world: World, name: str) -> Person:
    """With every permission."""
    password = await users.create_person(world.admin, "acme", name, EVERYTHING)
    return Person(world=world, name=name, password=password)


async def kicks(world: World, prefix: str, count: int) -> float:
    """The p99 of so many, in seconds."""
    taken = []
    for number in range(count):
        person = await make_person(world, f"{prefix}-{number}")
        client, _ = await person.come(world.account_port)
        await asyncio.sleep(0.1)
        began = await person.set_enabled(False)
        assert await client.read() is None
        taken.append(time.monotonic() - began)
        client.close()
    return quantile(taken, 0.99)


async def kicks_under_flood(world: World, prefix: str, count: int) -> float:
    """The same while wrong passwords come at the provision broker."""
    stopped = asyncio.create_task(bystander.flood(world, 3600))
    try:
        await asyncio.sleep(1.0)
        return await kicks(world, prefix, count)
    finally:
        stopped.cancel()
        await asyncio.gather(stopped, return_exceptions=True)


async def publish_on(client: Client, topic: str, stop: asyncio.Event) -> None:
    """Until told to stop, or cut off. Messages that arrive meanwhile are kept."""
    while not stop.is_set() and await client.publish(topic, b"x", qos=1) is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def take_messages(client: Client) -> int:
    """How many arrived since the last time."""
    waiting = client._waiting
    messages = [packet for packet in waiting if packet.kind == PUBLISH]
    for packet in messages:
        waiting.remove(packet)
    return len(messages)


async def last_message(began: float, *clients: Client) -> float:
    """Seconds until the last one that any of them got."""
    last = began
    while time.monotonic() - last < QUIET and time.monotonic() - began < PATIENCE:
        if sum(take_messages(client) for client in clients) > 0:
            last = time.monotonic()
        await asyncio.sleep(0.01)
    return last - began


async def until_cut_off(world: World, relay: Relay, port: int, name: str) -> float:
    """Seconds until a client without a feed can neither publish nor receive."""
    person, other = await make_person(world, name), await make_person(world, f"{name}-other")
    (client, _), (source, _) = await person.come(port), await other.come(port)
    await client.subscribe(f"acme/{name}/in")
    await source.subscribe(f"acme/{name}/out")
    await asyncio.sleep(SETTLE)
    stop = asyncio.Event()
    publishing = [
        asyncio.create_task(publish_on(client, f"acme/{name}/out", stop)),
        asyncio.create_task(publish_on(source, f"acme/{name}/in", stop)),
    ]
    await asyncio.sleep(0.2)
    if not all([take_messages(client), take_messages(source)]):
        raise RuntimeError("messages did not arrive before the revocation")
    async with without_feed(world.database, relay):
        taken = await last_message(await person.set_enabled(False), client, source)
    stop.set()
    client.close()
    source.close()
    await asyncio.gather(*publishing, return_exceptions=True)
    return taken


async def until_wiped(world: World, name: str, *, online: bool) -> float:
    """Seconds until a stored session with a message is ended. Raises RuntimeError where session or message stay."""
    person = await make_person(world, name)
    client, _ = await person.come(world.account_port, clean=False)
    topic = f"acme/{name}/kept"
    await client.subscribe(topic, qos=1)
    await asyncio.sleep(SETTLE)
    if not online:
        client.close()
        await publish_to(world, name, topic)
    began = await person.set_enabled(False)
    await taken_over(world, name)
    taken = time.monotonic() - began
    client.close()
    await person.set_enabled(True)
    again, present = await person.come(world.account_port, clean=False)
    if present or await again.waiting_messages():
        raise RuntimeError(f"{name}'s session was not ended")
    again.close()
    return taken


async def publish_to(world: World, name: str, topic: str) -> None:
    """A message that the broker keeps for who is away."""
    other = await make_person(world, f"{name}-other")
    source, _ = await other.come(world.account_port)
    assert await source.publish(topic, b"kept", qos=1) == 0
    source.close()


async def taken_over(world: World, name: str) -> None:
    """Wait for the line of the broker's log. Raises TimeoutError."""
    log, mark = world.account_broker.log, f" as {name} (".encode()
    async with asyncio.timeout(PATIENCE):
        while not any(mark in line and b"u'~takeover'" in line for line in log.read_bytes().splitlines()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def measure() -> list[Figure]:
    """All four."""
    count = 100 if scale.is_large() else 20

    def figure(what: str, values: list[float], goal: Goal) -> Figure:
        return Figure(row="B8", what=what, unit="s", values=tuple(values), goal=goal)

    async with bench_world() as world:
        await bystander.remember(world)
        await kicks(world, "first", 3)
        turns = range(PAIRS)
        idle = [await kicks(world, f"idle-{turn}", count) for turn in turns]
        flooded = [await kicks_under_flood(world, f"flood-{turn}", count) for turn in turns]
        async with (
            relaying(world.hooks_port) as relay,
            peers.over_hooks(world, "relayed-broker", relay.port) as broker,
        ):
            cut = [await until_cut_off(world, relay, broker.port, f"cut-{turn}") for turn in turns]
        online = [await until_wiped(world, f"online-{turn}", online=True) for turn in turns]
        offline = [await until_wiped(world, f"offline-{turn}", online=False) for turn in turns]
    return [
        figure(f"revocation to kick, p99 of {count}", idle, KICK),
        figure(f"revocation to kick, p99 of {count}, under {bystander.RATE} wrong passwords/s", flooded, KICK),
        figure("revocation without a feed to the last message in or out", cut, CUT),
        figure("revocation to the end of the stored session, connected", online, WIPED),
        figure("revocation to the end of the stored session, away", offline, WIPED),
    ]
