"""
G21: the whole product for a long time. Devices are provisioned and provisioned anew, five a second; a broker dies or
every connection to Postgres does, once a minute. Memory, descriptors, tasks and connections of hooks and responder must
stay flat: looked at every ten seconds, once all that is remembered has come up (a provisioning makes a new user, so the
hooks remember few here: with 100,000 clients they would fill up for hours).

Of memory the slope is told. What is counted goes up and down with each break, and a slope over minutes is mostly where
in that it began: of it the median of the last third is compared with that of the first.

`SOAK_MINUTES` (default 10) says how long.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import asyncpg

from bench.cpu import resident_bytes
from bench.figures import Figure, quantile, single
from bench.worlds import bench_world
from embedded.processes import Managed
from service.operations import moves
from tests.crash.test_random_kills import Device, make_devices
from tests.support.world import World

DEVICES = 100
PROVISIONINGS_A_SECOND = 5.0
SAMPLE_EVERY = 10.0
BREAK_EVERY = 60.0
WARM_UP_SHARE = 0.3
# In MB an hour, as reliability.md asks; and one more descriptor, task or connection in the end.
RSS_SLOPE, COUNT_RISE = 1.0, 1.0
SETTINGS = {"PROVISION_GRANTS_MEMORY": "200", "PROVISION_PASSWORDS_MEMORY": "200"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One process at one moment."""

    at: float
    values: Mapping[str, float]


@dataclass(kw_only=True)
class Soak:
    """What goes on, and what was seen of it."""

    world: World
    devices: Sequence[Device]
    ends_at: float
    provisioned: int = 0
    longest: float = 0.0
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    async def provision(self) -> None:
        """One device after another, each time from the beginning."""
        turns = itertools.cycle(self.devices)
        running: set[asyncio.Task[None]] = set()
        while time.monotonic() < self.ends_at:
            task = asyncio.create_task(self._once(next(turns)))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(1 / PROVISIONINGS_A_SECOND)
        await asyncio.gather(*running)

    async def _once(self, device: Device) -> None:
        began = time.monotonic()
        if device.answer:
            device.answer = {}
            await moves.reopen_request(self.world.admin, "acme", device.client_id)
        await device.provision(self.world)
        self.provisioned += 1
        self.longest = max(self.longest, time.monotonic() - began)

    async def break_things(self) -> None:
        """A broker dies, or every connection to Postgres does, in turns."""
        for number in itertools.count():
            await asyncio.sleep(BREAK_EVERY)
            if time.monotonic() > self.ends_at - BREAK_EVERY / 2:
                return
            if number % 2:
                broker = self.world.provision_broker if number % 4 == 1 else self.world.account_broker
                await asyncio.to_thread(broker.kill)
                await asyncio.to_thread(broker.start)
            else:
                await self.world.database.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename IN ('provisioning_hooks', 'provisioning_responder')"
                )

    async def watch(self) -> None:
        """Every ten seconds."""
        named = {"hooks": self.world.hooks, "responder": self.world.responder}
        ports = {"hooks": self.world.hooks_metrics_port, "responder": _responder_port(self.world)}
        while time.monotonic() < self.ends_at:
            for name, process in named.items():
                values = await self._look(name, process, ports[name])
                self.samples.setdefault(name, []).append(Sample(at=time.monotonic(), values=values))
            await asyncio.sleep(SAMPLE_EVERY)

    async def _look(self, name: str, process: Managed, port: int) -> dict[str, float]:
        pid = process.pid()
        assert pid is not None, f"{name} has ended"
        return {
            "memory": resident_bytes(pid) / 1e6,
            "descriptors": float(len(os.listdir(f"/proc/{pid}/fd"))),
            "tasks": await _tasks(port),
            "connections": await _connections(self.world, name),
        }


def _responder_port(world: World) -> int:
    return int(world.responder.environment["PROVISION_RESPONDER_METRICS_PORT"])


async def _tasks(port: int) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        text = await response.text()
    [line] = [line for line in text.splitlines() if line.startswith("asyncio_tasks ")]
    return float(line.rpartition(" ")[2])


async def _connections(world: World, name: str) -> float:
    connection = await asyncpg.connect(world.database.url().reveal())
    try:
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1"
        return float(await connection.fetchval(count, f"provisioning_{name}"))
    finally:
        await connection.close()


def warm(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those that count."""
    return samples[int(len(samples) * WARM_UP_SHARE) :]


def rise(samples: Sequence[Sample], what: str) -> float:
    """How much more there is of it in the last third than in the first."""
    values = [each.values[what] for each in warm(samples)]
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) - statistics.median(values[:third])


def slope(samples: Sequence[Sample], what: str) -> float:
    """By how much it grows an hour, once it is warm."""
    kept = warm(samples)
    line = statistics.linear_regression([each.at for each in kept], [each.values[what] for each in kept])
    return line.slope * 3600


def figures_of(soak: Soak) -> list[Figure]:
    """The slopes, and what was seen at most."""
    found = [
        single("G21", f"provisionings in {len(soak.samples['hooks']) * SAMPLE_EVERY / 60:.0f} min", soak.provisioned),
        single("G21", "the longest of them, through every break", soak.longest, "s"),
    ]
    for name, samples in soak.samples.items():
        for what in ("memory", "descriptors", "tasks", "connections"):
            if what == "memory":
                growth = single("G21", f"{name}: growth of memory", slope(samples, what), "MB/h", at_most=RSS_SLOPE)
            else:
                growth = single("G21", f"{name}: more {what} at the end", rise(samples, what), at_most=COUNT_RISE)
            found.append(growth)
            highest = quantile([each.values[what] for each in samples], 1.0)
            found.append(single("G21", f"{name}: {what} at most", highest, "MB" if what == "memory" else ""))
    return found


async def measure() -> list[Figure]:
    """For as long as SOAK_MINUTES says."""
    minutes = float(os.environ.get("SOAK_MINUTES", "10"))
    async with bench_world(bcrypt_cost=4, settings=SETTINGS) as world:
        devices = await make_devices(world.admin, DEVICES)
        soak = Soak(world=world, devices=devices, ends_at=time.monotonic() + minutes * 60)
        async with asyncio.TaskGroup() as group:
            for part in (soak.provision(), soak.break_things(), soak.watch()):
                group.create_task(part)
        await world.database.check_invariants()
    return figures_of(soak)
