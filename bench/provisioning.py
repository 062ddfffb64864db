"""
Whole provisionings a second, from the CONNECT at the provision broker to the confirmed login at the account broker, all
on this machine with a durable Postgres: by one shared factory credential (B5), and by one each, where bcrypt is what it
costs, against the bcrypt rate of the cores that may hash (B6).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt

from bench import fleet, scale
from bench.cpu import PAIRS, added, cpu_seconds, family_cpu_seconds
from bench.figures import Figure, Goal
from bench.worlds import bench_database, postgres_pid
from embedded.processes import Managed, accepts, free_port
from tests.support.database import PASSWORD
from tests.support.world import World

LOAD = Path(__file__).resolve().parent / "load"
COST = 10
AT_ONCE = 32
SHARED, DISTINCT, WARM_UP = 2000, 150, 200
GOAL_A_SECOND = 100.0
GOAL_ONE_CORE, GOAL_BOTH_CORES = 0.85, 0.70
# The budget never binds: what is measured is what hashing costs, not what it is limited to.
LIFTED = {"PROVISION_SLOW_HASH_RATE": "1000000", "PROVISION_SLOW_HASH_BURST": "1000000"}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one round of the load generator came to. `cpu`: seconds by process, the generator's own among them."""

    count: int
    failed: int
    retries: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Whole provisionings a second."""
        return self.count / self.seconds


@dataclass(frozen=True, kw_only=True)
class Bare:
    """bcrypt and nothing else: hashes a second, and what each costs in CPU seconds."""

    rate: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Hashing:
    """B6: rounds in turn with bare bcrypt on as many cores as there are provision brokers."""

    brokers: int
    rounds: list[Measured]
    bare: list[Bare]

    @property
    def ratios(self) -> list[float]:
        """Provisionings against bare hashes."""
        return sorted(one.rate / bare.rate for one, bare in zip(self.rounds, self.bare, strict=True))

    @property
    def cpu_shares(self) -> list[float]:
        """
        bcrypt's share of the CPU that a provisioning costs: what the ratio comes to at most where all of it runs on the
        cores that hash. Unlike the ratio it does not depend on what else the machine does.
        """
        return sorted(
            bare.cpu * one.count / sum(one.cpu.values()) for one, bare in zip(self.rounds, self.bare, strict=True)
        )


def bare_bcrypt(threads: int, seconds: float = 3.0) -> Bare:
    """Hashes of this cost on so many threads: bcrypt lets go of the interpreter's lock."""
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST))
    ends = time.monotonic() + seconds

    def work(_number: int) -> tuple[int, float, float]:
        began, cpu, done = time.monotonic(), time.thread_time(), 0
        while time.monotonic() < ends:
            bcrypt.checkpw(PASSWORD.encode(), stored)
            done += 1
        return done, time.monotonic() - began, time.thread_time() - cpu

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(work, range(threads)))
    return Bare(
        rate=sum(done / took for done, took, _ in found),
        cpu=sum(cpu for _, _, cpu in found) / sum(done for done, _, _ in found),
    )


@asynccontextmanager
async def provisioning_world(provision_brokers: int = 1) -> AsyncIterator[tuple[World, int, dict[str, int]]]:
    """Everything runs: (world, the port that devices provision at, {process: pid})."""
    await asyncio.to_thread(subprocess.run, ["make", "-s", "-C", str(LOAD)], check=True)
    async with bench_database(bcrypt_cost=COST, durable=True) as (database, admin):
        world = World(database=database, admin=admin, settings=LIFTED)
        try:
            await world.prepare()
            world.start()
            port, more = world.provision_port, {}
            if provision_brokers > 1:
                broker, responder, second = await world.add_provision_broker("provision-broker-2")
                world.start(broker, responder)
                balancer, port = _balancer(world, (world.provision_port, second))
                balancer.start()
                world.started.append(balancer)
                more = {process.name: process for process in world.started[4:]}
            processes = {
                "hooks": world.hooks, "responder": world.responder, "provision broker": world.provision_broker,
                "account broker": world.account_broker, **more,
            }  # fmt: skip
            yield world, port, {name: process.pid() or 0 for name, process in processes.items()}
        finally:
            world.close()


def _balancer(world: World, ports: tuple[int, ...]) -> tuple[Managed, int]:
    """HAProxy before the provision brokers, by the number of connections."""
    port = free_port()
    servers = "".join(f"  server broker{number} 127.0.0.1:{one}\n" for number, one in enumerate(ports))
    path = world.folder / "haproxy.cfg"
    path.write_text(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
        f"listen provision\n  bind 127.0.0.1:{port}\n  balance leastconn\n{servers}"
    )
    path.chmod(0o644)
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        raise RuntimeError("haproxy is missing: run embedded/install.sh bench")
    managed = Managed(
        name="haproxy",
        command=[program, "-db", "-f", str(path)],
        folder=world.folder,
        environment={"PATH": "/usr/sbin:/usr/bin"},
        is_ready=lambda: accepts(port),
    )
    return managed, port


async def provision(world: World, port: int, pids: Mapping[str, int], numbers: range, *, shared: bool) -> Measured:
    """Provision the devices with these numbers."""
    lines = "".join(
        f"{fleet.client_id(n)},{fleet.factory_username(n, shared=shared)},{PASSWORD},{fleet.activation_key(n)}\n"
        for n in numbers
    )
    postgres = postgres_pid(world.database)
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    postgres_before = family_cpu_seconds(postgres)
    generator = await asyncio.create_subprocess_exec(
        str(LOAD / "build" / "provision"), str(port), str(world.account_port), str(AT_ONCE),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await generator.communicate(lines.encode())
    if generator.returncode != 0:
        raise RuntimeError(f"not everybody was provisioned: {out.decode()}\n{world.logs()[-4000:]}")
    told = json.loads(out)
    cpu = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    cpu["postgres"] = family_cpu_seconds(postgres) - postgres_before
    cpu["load generator"] = told.pop("cpu_seconds")
    return Measured(cpu=cpu, **told)


async def shared_credential(rounds: int = PAIRS, devices: int = SHARED) -> list[Measured]:
    """B5: the first devices warm up and are not counted."""
    async with provisioning_world() as (world, port, pids):
        await fleet.fill(world.database, 0, WARM_UP + rounds * devices - 1, shared=True)
        await provision(world, port, pids, range(WARM_UP), shared=True)
        measured = []
        for number in range(rounds):
            first = WARM_UP + number * devices
            measured.append(await provision(world, port, pids, range(first, first + devices), shared=True))
        return measured


async def distinct_credentials(brokers: int, rounds: int = PAIRS, devices: int = DISTINCT) -> Hashing:
    """B6 with so many provision brokers."""
    async with provisioning_world(brokers) as (world, port, pids):
        await fleet.fill(world.database, 0, (rounds + 1) * devices - 1, shared=False)
        measured, bare = [], []
        for number in range(rounds + 1):
            numbers = range(number * devices, (number + 1) * devices)
            one = await provision(world, port, pids, numbers if number else numbers[:AT_ONCE], shared=False)
            if number:
                measured.append(one)
                bare.append(await asyncio.to_thread(bare_bcrypt, brokers))
        return Hashing(brokers=brokers, rounds=measured, bare=bare)


def figures_of(row: str, what: str, rounds: list[Measured], **goal: float) -> list[Figure]:
    """Rates, and the 99th percentile of how long one took."""
    rates = tuple(one.rate for one in rounds)
    waits = tuple(one.p99_ms for one in rounds)
    cpu = added(one.cpu for one in rounds)
    aim = Goal(**goal) if goal else None
    return [
        Figure(row=row, what=f"provisionings, {what}", unit="1/s", values=rates, goal=aim, cpu_seconds=cpu),
        Figure(row=row, what=f"a provisioning's p99, {what}", unit="ms", values=waits),
    ]


def hashing_figures(hashing: Hashing) -> list[Figure]:
    """B6 with so many provision brokers."""
    what = f"distinct credentials, {hashing.brokers} provision broker{'s' if hashing.brokers > 1 else ''}"
    goal = Goal(at_least=GOAL_ONE_CORE if hashing.brokers == 1 else GOAL_BOTH_CORES)
    against = f"{what} / bcrypt of {hashing.brokers} core{'s' if hashing.brokers > 1 else ''}"
    return [
        *figures_of("B6", what, hashing.rounds),
        Figure(row="B6", what=against, values=tuple(hashing.ratios), goal=goal),
    ]


async def measure() -> list[Figure]:
    """B5, and B6 with `make bench-large`."""
    figures = figures_of("B5", "shared credential", await shared_credential(), at_least=GOAL_A_SECOND)
    for brokers in (1, 2) if scale.is_large() else ():
        figures += hashing_figures(await distinct_credentials(brokers))
    return figures
