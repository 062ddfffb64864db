"""
`/hooks/user` and `/hooks/acl` of one hooks process against an empty aiohttp handler on the same kind of event loop
(B4), warm (from memory) and cold (one statement each), over one kept-alive connection, as a broker asks,
and over eight.

Ratios of pairs measured in turn: of answers a second, and of answers a CPU second of the process, which does not mind
what else the machine does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.cpu import PAIRS, exact_cpu_seconds
from bench.empty_hooks import LOOPS
from bench.figures import Figure, Goal, single
from bench.worlds import bench_database
from embedded.processes import Managed, accepts, answers, free_port
from tests.support.database import make_account
from tests.support.raw_http import basic

ROOT = Path(__file__).resolve().parents[1]
DEVICES = 50_000
# So many are asked about while memory holds them all; cold ones go round all devices.
KNOWN = 1_000
WARM, COLD = 5_000, 1_500
WARM_GOAL, COLD_GOAL = Goal(at_least=0.75), Goal(at_least=0.30)


@dataclass(frozen=True, kw_only=True)
class Server:
    """What is asked."""

    port: int
    pid: int


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Answers a second, a CPU second of the server, and microseconds to an answer."""

    wall: float
    cpu: float
    p50: float
    generator: float


def build_generator() -> Path:
    """The C program that asks."""
    subprocess.run(["make", "-s", "-C", str(ROOT / "bench" / "load")], check=True)
    return ROOT / "bench" / "load" / "build" / "http"


@dataclass(kw_only=True)
class Load:
    """Questions in a file, asked of one server after another."""

    program: Path
    authorization: str
    path: str
    bodies: Path
    next: int = 0

    async def ask(self, server: Server, connections: int, count: int) -> Rates:
        """So many of them. Raises RuntimeError where one was not answered 200."""
        before = exact_cpu_seconds(server.pid)
        arguments = (server.port, self.path, self.bodies, connections, count, self.next)
        process = await asyncio.create_subprocess_exec(
            str(self.program),
            *map(str, arguments),
            env={"AUTHORIZATION": self.authorization},  # not in the list of processes
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError("the generator failed")
        self.next += count
        found = json.loads(output)
        if found["not_200"]:
            raise RuntimeError(f"{self.path}: {found['not_200']} questions were not answered 200")
        return Rates(
            wall=count / found["seconds"],
            cpu=count / (exact_cpu_seconds(server.pid) - before),
            p50=found["p50"],
            generator=found["cpu"] / found["seconds"],
        )


@asynccontextmanager
async def running(
    command: list[str], environment: dict[str, str], folder: Path, port: int, url: str
) -> AsyncIterator[Server]:
    """A server as a process of its own; `url` answers once it is ready (empty: once it accepts)."""
    managed = Managed(
        name=f"server-{port}",
        command=[sys.executable, *command],
        environment={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        folder=folder,
        is_ready=lambda: answers(url) if url else accepts(port),
    )
    await asyncio.to_thread(managed.start)
    try:
        pid = managed.pid()
        assert pid is not None
        yield Server(port=port, pid=pid)
    finally:
        await asyncio.to_thread(managed.stop)


@asynccontextmanager
async def hooks(database: Any, folder: Path, loop: str, **settings: str) -> AsyncIterator[Server]:
    """`python -m service hooks` on a database."""
    port = free_port()
    metrics = settings.setdefault("PROVISION_HOOKS_METRICS_PORT", str(free_port()))
    environment = {
        "PROVISION_HOOKS_DATABASE_URL": database.url("hooks").reveal(),
        "PROVISION_EVENT_KEY": base64.b64encode(database.event_key).decode(),
        "PROVISION_HOOKS_PORT": str(port),
        "PROVISION_EVENT_LOOP": loop,
        **settings,
    }
    ready = f"http://127.0.0.1:{metrics}/readyz"
    async with running(["-m", "service", "hooks"], environment, folder, port, ready) as server:
        yield server


async def compare(
    what: str, load: Load, measured: Server, peer: Server, connections: int, count: int, goal: Goal
) -> list[Figure]:
    """Pairs in turn; the first warms up."""
    pairs: list[tuple[Rates, Rates]] = []
    for _ in range(PAIRS + 1):
        pairs.append((await load.ask(measured, connections, count), await load.ask(peer, connections, count)))
    del pairs[0]
    title = f"{what}, {connections} connection{'s' if connections > 1 else ''}"
    wall = tuple(ours.wall / theirs.wall for ours, theirs in pairs)
    cpu = tuple(ours.cpu / theirs.cpu for ours, theirs in pairs)
    busiest = max(each.generator for pair in pairs for each in pair)
    return [
        Figure(row="B4", what=f"{title}: answers a second", values=wall, goal=goal),
        Figure(row="B4", what=f"{title}: answers a CPU second", values=cpu, goal=goal),
        Figure(row="B4", what=f"{title}: p50", unit="us", values=tuple(ours.p50 for ours, _ in pairs)),
        single("B4", f"{title}: the generator's share of a core", busiest),
    ]


async def measure_loop(database: Any, folder: Path, secret: str, devices: int, loop: str) -> list[Figure]:
    """All of them on one kind of event loop."""
    program, authorization = build_generator(), basic("account-broker", secret)
    loads: dict[tuple[str, str], Load] = {}
    for heat, count in (("warm", KNOWN), ("cold", devices)):
        for route, question in (("user", registry.connect_question), ("acl", registry.topic_question)):
            bodies = folder / f"{heat}-{route}"
            bodies.write_text(registry.lines(question(number) for number in range(count)))
            loads[heat, route] = Load(
                program=program, authorization=authorization, path=f"/hooks/{route}", bodies=bodies
            )
    port = free_port()
    forgetful = {"PROVISION_GRANTS_MEMORY": "1", "PROVISION_PASSWORDS_MEMORY": "1"}
    async with (
        running(["-m", "bench.empty_hooks", str(port), loop], {}, folder, port, "") as peer,
        hooks(database, folder, loop) as warm,
        hooks(database, folder, loop, **forgetful) as cold,
    ):
        figures: list[Figure] = []
        for connections in (1, 8):
            for route in ("user", "acl"):
                for heat, server, count, goal in (("warm", warm, WARM, WARM_GOAL), ("cold", cold, COLD, COLD_GOAL)):
                    what = f"{loop}: {heat} /hooks/{route}"
                    figures += await compare(what, loads[heat, route], server, peer, connections, count, goal)
        return figures


async def measure() -> list[Figure]:
    """On each kind of event loop that is installed."""
    figures: list[Figure] = []
    async with bench_database() as (database, admin):
        secret = await make_account(admin)
        await registry.fill(database, DEVICES)
        with tempfile.TemporaryDirectory() as name:
            for loop in LOOPS:
                figures += await measure_loop(database, Path(name), secret, DEVICES, loop)
    return figures
