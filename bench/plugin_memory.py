"""
B9: what the plugin's memory grows by for each connected client: of two new brokers, with the plugin and without one,
the resident memory with so many clients less that without any, and the difference of the two.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from bench import generators, peers, registry, scale
from bench.cpu import PAIRS, resident_bytes
from bench.figures import Figure, Goal
from bench.logins import as_user
from bench.worlds import bench_world
from tests.support.world import World

WINDOW = 32
GOAL = Goal(at_most=1.0)


async def grown(broker: AbstractAsyncContextManager[peers.Broker], users: object, count: int) -> float:
    """kB for each client that is connected."""
    async with broker as running:
        before = resident_bytes(running.pid)
        async with generators.started("connect", running.port, users, WINDOW, "hold") as session:
            result = await session.answer()
            assert result["accepted"] == count, result
            return (resident_bytes(running.pid) - before) / count / 1000


async def _of_both(world: World, count: int) -> tuple[list[float], list[float]]:
    """With and without the plugin, in turns. Both brokers keep usernames and passwords themselves."""
    users = generators.write_users(world.folder, "many", map(as_user, range(count)))
    with_plugin, without = [], []
    for number in range(PAIRS):
        ours = peers.over_hooks(world, f"memory-{number}", world.hooks_port)
        with_plugin.append(await grown(ours, users, count))
        without.append(await grown(peers.anonymous(world), users, count))
    return with_plugin, without


async def measure() -> list[Figure]:
    """Per client, and what Mosquitto itself takes."""
    count = 10_000 if scale.is_large() else 5_000
    async with bench_world() as world:
        await registry.fill(world.database, count)
        with_plugin, without = await _of_both(world, count)
        return [
            Figure(row="B9", what="Mosquitto's own memory per client", unit="kB", values=tuple(without)),
            Figure(
                row="B9",
                what=f"plugin's memory per client, {count:,} connected",
                unit="kB",
                values=tuple(ours - alone for ours, alone in zip(with_plugin, without, strict=True)),
                goal=GOAL,
            ),
        ]
