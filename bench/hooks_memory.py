"""
Memory of a hooks process with 100,000 admitted clients (B9, its part): each logged in once, as distinct users. What the
process says that they take stands beside what the system says that it has.
"""

from __future__ import annotations

import asyncio
import tempfile
import urllib.request
from pathlib import Path

from bench import registry
from bench.empty_hooks import LOOPS
from bench.figures import Figure, single
from bench.hooks import Load, build_generator, hooks
from bench.worlds import bench_database
from embedded.processes import free_port
from tests.support.database import make_account
from tests.support.raw_http import basic

CLIENTS = 100_000
GOAL_MEGABYTES = 200.0


def resident(pid: int, what: str = "VmRSS") -> float:
    """Megabytes (`VmHWM`: at most so far)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1000 * 1.024


def metric(port: int, name: str) -> float:
    """Of the process's own metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return float(reply.read().decode().partition(f"\n{name} ")[2].split()[0])


async def measure() -> list[Figure]:
    """Before and after they came."""
    async with bench_database() as (database, admin):
        secret = await make_account(admin)
        await registry.fill(database, CLIENTS)
        with tempfile.TemporaryDirectory() as name:
            bodies, metrics = Path(name) / "bodies", free_port()
            bodies.write_text(registry.lines(registry.connect_question(number) for number in range(CLIENTS)))
            load = Load(
                program=build_generator(),
                authorization=basic("account-broker", secret),
                path="/hooks/user",
                bodies=bodies,
            )
            async with hooks(database, Path(name), LOOPS[-1], PROVISION_HOOKS_METRICS_PORT=str(metrics)) as server:
                before = resident(server.pid)
                await load.ask(server, 4, CLIENTS)
                await asyncio.sleep(3.0)  # two flushes
                assert metric(metrics, "hook_remembered_clients") == CLIENTS
                said = metric(metrics, "hook_remembered_bytes") / 1e6
                return [
                    single("B9", "a hooks process before anybody came", before, "MB"),
                    single("B9", f"what {CLIENTS:,} clients take, as it says itself", said, "MB"),
                    single(
                        "B9",
                        f"a hooks process with {CLIENTS:,} admitted clients",
                        resident(server.pid),
                        "MB",
                        at_most=GOAL_MEGABYTES,
                    ),
                    single("B9", "the most until then", resident(server.pid, "VmHWM"), "MB", at_most=GOAL_MEGABYTES),
                ]
