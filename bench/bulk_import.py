"""
An import of 100,000 rows with one shared credential, the same again, and one that is killed at half and run again, on
the database and over HTTP: the real command, as a process of its own, on a Postgres of its own. Seconds, and the most
memory that the process had.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from bench.figures import Figure, single
from bench.worlds import bench_database
from embedded.processes import Managed, answers, free_port
from service.core.access import Role
from service.keys import ACTIVATION_KEY, secret_hash
from service.operations import tokens
from service.operations.administration import Administration
from tests.support.command import settings
from tests.support.database import PASSWORD, Database, make_account

ROWS = 100_000
GOAL_SECONDS, GOAL_MEGABYTES = 60.0, 300.0
ROOT = Path(__file__).resolve().parents[1]


def write_file(path: Path, prefix: str, rows: int) -> None:
    """A CSV file of rows that share a credential."""
    lines = [f"{prefix}{number:06},factory-shared,{PASSWORD}\n" for number in range(rows)]
    path.write_text("client_id,provision_username,provision_password\n" + "".join(lines))
    path.chmod(0o600)


Environment = Mapping[str, str]


def start(environment: Environment, file: Path, result: Path) -> subprocess.Popen[bytes]:
    """The command."""
    return subprocess.Popen(
        [sys.executable, "-m", "service", "cli", "request", "import", str(file), "--result", str(result), "--json"],
        env=dict(environment),
        stdout=subprocess.DEVNULL,
    )


def on_database(database: Database) -> dict[str, str]:
    """What a process of ours needs for a database."""
    common = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return {**common, **settings(database), "PROVISION_BCRYPT_COST": "10", "PROVISION_ACCOUNT": "acme"}


@asynccontextmanager
async def over_http(database: Database, admin: Administration, folder: Path) -> AsyncIterator[tuple[Environment, int]]:
    """The command's environment with a server to ask, and the server's process id."""
    environment, port, metrics_port = on_database(database), free_port(), free_port()
    ports = {"PROVISION_API_PORT": str(port), "PROVISION_API_METRICS_PORT": str(metrics_port)}
    server = Managed(
        name="admin",
        command=[sys.executable, "-m", "service", "admin"],
        environment={**environment, **ports},
        folder=folder,
        is_ready=lambda: answers(f"http://127.0.0.1:{metrics_port}/readyz"),
    )
    await asyncio.to_thread(server.start)
    try:
        made = await tokens.create_token(admin, None, "bench", role=Role.PLATFORM_ADMINISTRATOR)
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(made.token)
        common = {name: environment[name] for name in ("PATH", "PYTHONPATH", "PROVISION_ACCOUNT")}
        named = {"PROVISION_SERVER": f"http://127.0.0.1:{port}", "PROVISION_TOKEN_FILE": str(token)}
        yield {**common, **named}, server.pid() or 0
    finally:
        await asyncio.to_thread(server.stop)


def run_import(what: str, environment: Environment, file: Path, result: Path) -> list[Figure]:
    """Run it to its end: seconds and megabytes. Raises RuntimeError where it fails."""
    began = time.monotonic()
    process = start(environment, file, result)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise RuntimeError(f"{what}: status {process.returncode}")
    return [
        single("import", f"{what}: time", seconds, "s", at_most=GOAL_SECONDS),
        single("import", f"{what}: memory of the process", usage.ru_maxrss / 1024, "MB", at_most=GOAL_MEGABYTES),
    ]


async def wrong_keys(database: Database, result: str, prefix: str) -> int:
    """How many requests have no key in the file, or more than one, or another one."""
    found: dict[str, list[bytes]] = {}
    for text in result.splitlines()[1:]:
        document = json.loads(text)
        if document["outcome"] == "pending":
            hashed = secret_hash(ACTIVATION_KEY, document["activation_key"])
            found.setdefault(document["client_id"], []).append(hashed)
    rows = await database.fetch(
        "SELECT client_id, activation_key_sha256 AS hash FROM provision_requests WHERE client_id LIKE $1", f"{prefix}%"
    )
    wrong = sum(found.get(row["client_id"]) != [row["hash"]] for row in rows)
    return wrong + ROWS - len(rows)


async def _read(path: Path) -> str:
    return await asyncio.to_thread(path.read_text)


async def measure_face(face: str, environment: Environment, database: Database, folder: Path) -> list[Figure]:
    """A new file, the same again, and one that is killed at half and run again."""
    first, second = f"{face}-a-", f"{face}-b-"
    for prefix in (first, second):
        write_file(folder / f"{prefix}.csv", prefix, ROWS)
    files = {prefix: (folder / f"{prefix}.csv", folder / f"{prefix}.result") for prefix in (first, second)}
    figures = await asyncio.to_thread(run_import, f"{face}: {ROWS:,} rows", environment, *files[first])
    figures += await asyncio.to_thread(run_import, f"{face}: the same again", environment, *files[first])
    await kill_at_half(environment, database, second, files[second])
    figures += await asyncio.to_thread(run_import, f"{face}: again after a kill at half", environment, *files[second])
    for prefix, (_, result) in files.items():
        wrong = await wrong_keys(database, await _read(result), prefix)
        figures.append(single("import", f"{face}: keys lost or wrong, file {prefix}", wrong, at_most=0))
    return figures


async def kill_at_half(environment: Environment, database: Database, prefix: str, files: tuple[Path, Path]) -> None:
    """Begin an import, and kill it when half of its rows are there."""
    process = start(environment, *files)
    count = "SELECT count(*) FROM provision_requests WHERE client_id LIKE $1"
    for _ in range(6000):
        if await database.value(count, f"{prefix}%") >= ROWS // 2:
            break
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


async def measure() -> list[Figure]:
    """On the database and over HTTP."""
    async with bench_database() as (database, admin):
        await make_account(admin)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            figures = await measure_face("database", on_database(database), database, folder)
            async with over_http(database, admin, folder) as (environment, pid):
                figures += await measure_face("server", environment, database, folder)
                status = await _read(Path(f"/proc/{pid}/status"))
                peak = int(status.partition("VmHWM:")[2].split()[0])
                memory = single("import", "server: memory of the server", peak / 1024, "MB", at_most=GOAL_MEGABYTES)
                figures.append(memory)
            broken = await database.broken_invariants()
            return [*figures, single("import", "invariants that do not hold", len(broken), at_most=0)]
