"""
B2, B3: what the account broker's CPU pays for a QoS 1 publish, and for a delivery to one of 200 subscribers, of
admitted clients; against a broker of the same file without a plugin.

CPU seconds of the broker's process, divided by the number: what else the machine does matters little.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import generators, peers, registry
from bench.cpu import Taken, Watch, difference, in_turns, plain, ratio
from bench.figures import Figure, Goal
from bench.generators import Result, Session, User
from bench.worlds import bench_world
from service.operations import users
from tests.support.world import World

PUBLISHES = 60_000
WINDOW = 15
SUBSCRIBERS = 200
MESSAGES = 300
GOAL = Goal(at_most=1.10)
DEVICE = 7
TOPIC = f"acme/{registry.client_id(DEVICE)}/data"
FILTER = "acme/+/data"
MICRO = 1e6


@dataclass(kw_only=True)
class Side:
    """A broker with a generator's clients."""

    session: Session
    broker: peers.Broker
    ask: int
    results: list[Result] = field(default_factory=list)

    async def measure(self, _turn: int) -> Taken:
        """Microseconds of the broker's CPU for each message or delivery."""
        watch = Watch(processes={"broker": self.broker.pid})
        before = watch.now()
        result = await self.session.ask(self.ask)
        cost = difference(before, watch.now())
        self.results.append(result)
        count = result.get("acknowledged") or result["delivered"]
        return Taken(value=cost["broker"] / count * MICRO, cpu_seconds={**cost, "generator": result["cpu_seconds"]})


async def compare(row: str, what: str, own: Side, peer: Side) -> list[Figure]:
    """Both costs, their ratio, and how busy the generator was."""
    measured, anonymous = await in_turns(own.measure, peer.measure)
    return [
        plain(row, f"broker CPU per {what}", "µs", measured),
        plain(row, f"broker CPU per {what}, anonymous", "µs", anonymous),
        ratio(row, f"broker CPU per {what} / anonymous", measured, anonymous, GOAL),
        generators.busy(row, [*own.results, *peer.results]),
    ]


async def _sides(
    world: World, stack: AsyncExitStack, program: str, people: list[User], arguments: tuple[object, ...], ask: int
) -> tuple[Side, Side]:
    """The same clients at the account broker and, without their passwords, at one without a plugin."""

    async def side(broker: peers.Broker, file: Path) -> Side:
        session = await stack.enter_async_context(generators.asked_often(program, broker.port, file, *arguments))
        return Side(session=session, broker=broker, ask=ask)

    anonymous = await stack.enter_async_context(peers.anonymous(world))
    known = generators.write_users(world.folder, program, people)
    nobodies = generators.write_users(world.folder, f"{program}-anonymous", [user[:1] for user in people])
    return await side(peers.own(world), known), await side(anonymous, nobodies)


async def measure() -> list[Figure]:
    """Both rows in one world."""
    device: User = (registry.client_id(DEVICE), registry.username(DEVICE), registry.password(DEVICE))
    async with bench_world() as world:
        await registry.fill(world.database, 100)
        async with AsyncExitStack() as stack:
            sides = await _sides(world, stack, "publish", [device], (TOPIC, WINDOW), PUBLISHES)
            figures = await compare("B2", "QoS 1 publish", *sides)
        people = [device]
        for number in range(SUBSCRIBERS):
            name = f"viewer-{number}"
            secret = await users.create_person(world.admin, "acme", name, ["broker:connect", "data:view"])
            people.append((name, name, secret))
        async with AsyncExitStack() as stack:
            sides = await _sides(world, stack, "deliver", people, (FILTER, TOPIC), MESSAGES)
            return figures + await compare("B3", f"delivery to {SUBSCRIBERS}", *sides)
