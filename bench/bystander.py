"""
B10: 200 wrong passwords a second at the provision broker, of known and unknown names in turn, while an admitted device
pings on a schedule and a remembered one logs in once a second. Open loop: a late answer delays nothing, and counts from
when its question was to be sent.

The broker is one thread: without the slow-hash budget each wrong password would hold everybody up for 72 ms.
"""

from __future__ import annotations

import asyncio

from bench import generators, scale
from bench.cpu import PAIRS, Watch, added, difference
from bench.figures import Figure, Goal
from bench.generators import Result, User
from bench.worlds import bench_world
from tests.support.database import PASSWORD, make_request
from tests.support.devices import connect
from tests.support.world import World

RATE = 200
PING_EVERY_MS = 20
PING, LOGIN = Goal(at_most=150), Goal(at_most=1000)
BYSTANDER: User = ("gw-1", "factory-gw-1", PASSWORD)
REMEMBERED: User = ("gw-2", "factory-gw-2", PASSWORD)


def strangers() -> list[User]:
    """Wrong passwords of known and unknown names."""
    return [
        ("gw-1x", "factory-gw-1" if number % 2 else f"nobody-{number}", f"wrong-{number}") for number in range(1000)
    ]


async def flood(world: World, seconds: int) -> Result:
    """At the provision broker. Nobody gets in."""
    users = generators.write_users(world.folder, "strangers", strangers())
    result = await generators.run("flood", world.provision_port, users, RATE, seconds)
    assert result["accepted"] == 0, result
    return result


async def remember(world: World) -> None:
    """Two devices that the hooks know the passwords of."""
    for client_id, username, _ in (BYSTANDER, REMEMBERED):
        await make_request(world.admin, client_id)
        (await connect(world, client_id, username)).close()


async def _ping(world: World, seconds: int) -> Result:
    user = generators.write_users(world.folder, "bystander", [BYSTANDER])
    return await generators.run("ping", world.provision_port, user, PING_EVERY_MS, seconds)


async def _log_in(world: World, seconds: int) -> Result:
    user = generators.write_users(world.folder, "remembered", [REMEMBERED])
    return await generators.run("flood", world.provision_port, user, 1, seconds)


async def measure() -> list[Figure]:
    """Idle and under the flood, so many times."""
    seconds = 60 if scale.is_large() else 10
    idle: list[Result] = []
    pings: list[Result] = []
    logins: list[Result] = []
    floods: list[Result] = []
    cpu = []
    async with bench_world() as world:
        await remember(world)
        watch = Watch(processes={"broker": world.provision_broker.pid() or 0, "hooks": world.hooks.pid() or 0})
        for _ in range(PAIRS):
            idle.append(await _ping(world, 3))
            before = watch.now()
            taken = await asyncio.gather(_ping(world, seconds), _log_in(world, seconds), flood(world, seconds))
            for kept, result in zip((pings, logins, floods), taken, strict=True):
                kept.append(result)
            cpu.append(difference(before, watch.now()))
    under = f"under {RATE} wrong passwords/s for {seconds} s"

    def figure(what: str, results: list[Result], name: str, goal: Goal | None = None) -> Figure:
        values = tuple(result[name] for result in results)
        return Figure(row="B10", what=what, unit="ms", values=values, goal=goal)

    return [
        figure("ping p99, idle", idle, "p99_ms"),
        Figure(
            row="B10",
            what=f"ping p99 {under}",
            unit="ms",
            values=tuple(result["p99_ms"] for result in pings),
            goal=PING,
            cpu_seconds=added(cpu),
        ),
        figure("ping maximum under them", pings, "max_ms"),
        figure("login of a remembered device meanwhile, maximum", logins, "max_ms", LOGIN),
        Figure(
            row="B10",
            what="logins of it that failed",
            values=tuple(result["asked"] - result["accepted"] for result in logins),
            goal=Goal(at_most=0),
        ),
        generators.busy("B10", floods),
    ]
