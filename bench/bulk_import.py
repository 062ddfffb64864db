"""
An import of 100,000 rows with one shared credential, the same again, and one that is killed at half and run again: the
real command, as a process of its own, on a Postgres of its own. Seconds, and the most memory that the process had.
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
from pathlib import Path

from bench.report import line
from bench.worlds import bench_database
from service.keys import ACTIVATION_KEY, secret_hash
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


def start(database: Database, file: Path, result: Path) -> subprocess.Popen[bytes]:
    """The command."""
    return subprocess.Popen(
        [sys.executable, "-m", "service", "cli", "request", "import", str(file), "--result", str(result), "--json"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            **settings(database),
            "PROVISION_BCRYPT_COST": "10",
            "PROVISION_ACCOUNT": "acme",
        },
        stdout=subprocess.DEVNULL,
    )


def measure(what: str, database: Database, file: Path, result: Path) -> None:
    """Run it to its end; print seconds and megabytes."""
    began = time.monotonic()
    process = start(database, file, result)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise RuntimeError(f"{what}: status {process.returncode}")
    line(f"{what}: time", seconds, GOAL_SECONDS, unit="s")
    line(f"{what}: memory of the process", usage.ru_maxrss / 1024, GOAL_MEGABYTES, unit="MB")


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


async def main() -> None:
    """Print the figures."""
    print("Import:")
    async with bench_database() as (database, admin):
        await make_account(admin)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_file(folder / "a.csv", "a-", ROWS)
            await asyncio.to_thread(measure, f"{ROWS:,} rows", database, folder / "a.csv", folder / "a.result")
            await asyncio.to_thread(measure, "the same again", database, folder / "a.csv", folder / "a.result")
            write_file(folder / "b.csv", "b-", ROWS)
            process = start(database, folder / "b.csv", folder / "b.result")
            count = "SELECT count(*) FROM provision_requests WHERE client_id LIKE 'b-%'"
            for _ in range(6000):
                if await database.value(count) >= ROWS // 2:
                    break
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
            line("rows that were there when it was killed", await database.value(count), unit="")
            await asyncio.to_thread(measure, "run again after that", database, folder / "b.csv", folder / "b.result")
            for prefix in "ab":
                wrong = await wrong_keys(database, await _read(folder / f"{prefix}.result"), f"{prefix}-")
                line(f"keys lost or wrong, file {prefix}", wrong, 0, unit="")
            broken = await database.broken_invariants()
            line("invariants that do not hold", len(broken), 0, unit="")


if __name__ == "__main__":
    asyncio.run(main())
