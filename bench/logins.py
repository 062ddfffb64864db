"""
B1: CONNECTs a second at an account broker, by distinct devices out of many, with our plugin, hooks and Postgres;
against the same plugin over an empty handler.

Cold: this hooks process has never seen the client. Warm: its second login. Devices are registered, bound and were there
before, so a login changes no row. 32 CONNECTs are under way at a time; each connection is closed after its CONNACK.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench import generators, peers, registry, scale
from bench.cpu import PAIRS, Taken, Watch, difference, in_turns, plain, ratio
from bench.figures import Figure, Goal
from bench.generators import Result, User
from bench.worlds import bench_world, postgres_pid
from tests.support.world import World

WINDOW = 32
# So few that warm ones are still remembered: PROVISION_PASSWORDS_MEMORY is 10,000, and two turns are in between.
EACH = 4_000
# A machine that is busy with something else has hooks that answer some questions too late.
MOST = 0.99
COLD, WARM, GO_AUTH = Goal(at_least=0.45), Goal(at_least=0.85), Goal(at_least=1.5)


def chunks(count: int, each: int, turns: int) -> list[list[int]]:
    """Devices of each turn: spread over all of them, none twice, and the same in every run."""
    numbers = random.Random(1).sample(range(count), each * turns)
    return [numbers[start : start + each] for start in range(0, len(numbers), each)]


def as_user(number: int) -> User:
    """A device that logs in."""
    return (registry.client_id(number), registry.username(number), registry.password(number))


@dataclass(kw_only=True)
class Side:
    """A broker that the devices of a turn come to."""

    world: World
    broker: peers.Broker
    watch: Watch
    users: Callable[[int], Iterator[User]]
    results: list[Result] = field(default_factory=list)

    async def measure(self, turn: int) -> Taken:
        """CONNECTs that were accepted, a second. Raises RuntimeError where too many were not."""
        users = generators.write_users(self.world.folder, f"turn-{self.broker.port}", self.users(turn))
        before = self.watch.now()
        result = await generators.run("connect", self.broker.port, users, WINDOW)
        if result["accepted"] < MOST * result["asked"]:
            raise RuntimeError(f"too few logins were accepted: {result}")
        self.results.append(result)
        return generators.taken(result, "accepted", difference(before, self.watch.now()))


def _watch(world: World, broker: peers.Broker, **more: int) -> Watch:
    return Watch(processes={"broker": broker.pid, **more}, families={"postgres": postgres_pid(world.database)})


async def _go_auth_sides(world: World, stack: AsyncExitStack, chunked: list[list[int]]) -> list[tuple[str, Side]]:
    plugin = peers.go_auth()
    if plugin is None:
        return []
    over_hooks = await stack.enter_async_context(peers.go_auth_over_our_hooks(world, plugin))
    everybody = [number for chunk in chunked for number in chunk]
    over_postgres = await stack.enter_async_context(
        peers.go_auth_over_postgres(world, plugin, everybody, registry.username, registry.password)
    )
    hooks = {"hooks": world.hooks.pid() or 0}

    def users(turn: int) -> Iterator[User]:
        return map(as_user, chunked[turn + 1])

    sides = (
        ("go-auth over the same hooks", over_hooks, _watch(world, over_hooks, **hooks)),
        ("go-auth over its Postgres backend", over_postgres, _watch(world, over_postgres)),
    )
    return [(name, Side(world=world, broker=broker, watch=watch, users=users)) for name, broker, watch in sides]


async def measure() -> list[Figure]:
    """Rates side by side, in turns."""
    devices = 1_000_000 if scale.is_large() else 100_000
    async with bench_world() as world, AsyncExitStack() as stack:
        await registry.fill(world.database, devices)
        chunked = chunks(devices, EACH, PAIRS + 2)
        anonymous = await stack.enter_async_context(peers.anonymous(world))
        empty, handler = await stack.enter_async_context(peers.over_empty_handler(world))
        own, hooks = peers.own(world), {"hooks": world.hooks.pid() or 0}

        def cold_users(turn: int) -> Iterator[User]:
            return map(as_user, chunked[turn + 1])

        def warm_users(turn: int) -> Iterator[User]:  # who was cold a turn ago
            return map(as_user, chunked[turn])

        def nobodies(turn: int) -> Iterator[User]:
            return ((registry.client_id(number),) for number in chunked[turn + 1])

        cold = Side(world=world, broker=own, watch=_watch(world, own, **hooks), users=cold_users)
        warm = Side(world=world, broker=own, watch=_watch(world, own, **hooks), users=warm_users)
        peer = Side(world=world, broker=empty, watch=_watch(world, empty, handler=handler), users=cold_users)
        alone = Side(world=world, broker=anonymous, watch=_watch(world, anonymous), users=nobodies)
        others = await _go_auth_sides(world, stack, chunked)
        sides = [cold, peer, warm, alone, *(side for _, side in others)]
        await cold.measure(-1)
        found = await in_turns(*(side.measure for side in sides))
        colds, peered, warms, free = found[:4]
        of = f"of {devices:,} devices"
        return [
            plain("B1", f"logins {of}, cold", "1/s", colds),
            plain("B1", f"logins {of}, warm", "1/s", warms),
            plain("B1", "logins over an empty handler", "1/s", peered),
            plain("B1", "logins at an anonymous broker", "1/s", free),
            ratio("B1", f"logins {of}, cold / empty handler", colds, peered, COLD),
            ratio("B1", f"logins {of}, warm / empty handler", warms, peered, WARM),
            ratio("B1", "cold / anonymous", colds, free),
            ratio("B1", "warm / anonymous", warms, free),
            *(
                ratio("B1", f"{kind} / {name}", taken, other, GO_AUTH if "hooks" in name else None)
                for (name, _), other in zip(others, found[4:], strict=True)
                for kind, taken in (("cold", colds), ("warm", warms))
            ),
            generators.busy("B1", [result for side in (cold, warm, peer) for result in side.results]),
        ]
