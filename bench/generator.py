"""
The load generators themselves: how many times as fast they are against a server that does nothing as against an
anonymous Mosquitto, which is faster than anything that they measure; and for logins, where most of a CONNECT is the
client's own connecting and closing, against the plugin over an empty handler too: the fastest that a goal is about.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import generators, peers
from bench.cpu import Taken, in_turns, plain, ratio
from bench.figures import Figure, Goal
from bench.worlds import bench_world

GOAL = Goal(at_least=2.0)
CONNECTS, PUBLISHES, MESSAGES = 5_000, 60_000, 100
SUBSCRIBERS = 200


async def _connect(port: int, users: Path) -> Taken:
    return generators.taken(await generators.run("connect", port, users, 32), "accepted", {})


async def _publish(port: int, users: Path) -> Taken:
    async with generators.asked_often("publish", port, users, "a/b/c", 15) as session:
        return generators.taken(await session.ask(PUBLISHES), "acknowledged", {})


async def _deliver(port: int, users: Path) -> Taken:
    async with generators.asked_often("deliver", port, users, "a/#", "a/b/c") as session:
        return generators.taken(await session.ask(MESSAGES), "delivered", {})


async def measure() -> list[Figure]:
    """connect, publish, deliver."""
    figures = []
    async with bench_world() as world, AsyncExitStack() as stack:
        broker = await stack.enter_async_context(peers.anonymous(world))
        noop, _ = await stack.enter_async_context(generators.noop_server())
        folder = Path(stack.enter_context(TemporaryDirectory()))
        many = generators.write_users(
            folder, "many", ((f"c-{number}", "user", "password") for number in range(CONNECTS))
        )
        few = generators.write_users(folder, "few", ((f"c-{number}",) for number in range(SUBSCRIBERS + 1)))
        for what, run, users in (("connect", _connect, many), ("publish", _publish, few), ("deliver", _deliver, few)):
            fast, slow = await in_turns(
                lambda _, run=run, users=users: run(noop, users),  # type: ignore[misc]
                lambda _, run=run, users=users: run(broker.port, users),  # type: ignore[misc]
            )
            figures.append(plain("load", f"{what}, a server that does nothing", "1/s", fast))
            figures.append(ratio("load", f"{what}, a server that does nothing / anonymous Mosquitto", fast, slow, GOAL))
        empty, _ = await stack.enter_async_context(peers.over_empty_handler(world))
        fast, slow = await in_turns(lambda _: _connect(noop, many), lambda _: _connect(empty.port, many))
        figures.append(ratio("load", "connect, a server that does nothing / over an empty handler", fast, slow, GOAL))
    return figures
