"""The load generators of bench/load: C programs on raw sockets, each of which answers with lines of JSON."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cpu import Taken
from bench.figures import Figure, Goal
from embedded.processes import Managed, accepts, free_port

FOLDER = Path(__file__).resolve().parent / "load"
NAME = "generator"
# A generator that is busy beyond this measures itself.
BUSIEST = 0.7

User = tuple[str, ...]
"""(client id, username, password), or (client id,) for anonymous."""
Result = dict[str, float]


@functools.cache
def _build() -> Path:
    subprocess.run(["make", "-s", "-C", str(FOLDER)], check=True)
    return FOLDER / "build"


def program(name: str) -> Path:
    """One of them, built if it is not."""
    return _build() / name


def write_users(folder: Path, name: str, users: Iterable[User]) -> Path:
    """A file of users. It has passwords: only we may read it."""
    path = folder / f"{name}.users"
    path.touch(mode=0o600)
    path.write_text("".join("\t".join(user) + "\n" for user in users))
    return path


async def _ended(process: asyncio.subprocess.Process, name: str) -> RuntimeError:
    assert process.stderr is not None
    return RuntimeError(f"load generator {name}: {(await process.stderr.read()).decode().strip()}")


async def run(name: str, *arguments: object) -> Result:
    """Run one to its end. Raises RuntimeError with what it said."""
    async with started(name, *arguments) as session:
        return await session.answer()


@dataclass(frozen=True, kw_only=True)
class Session:
    """A generator that keeps its connections and is asked again and again."""

    name: str
    process: asyncio.subprocess.Process

    async def answer(self) -> Result:
        """Its next line. Raises RuntimeError where it ended instead."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise await _ended(self.process, self.name)
        answer: Result = json.loads(line)
        return answer

    async def ask(self, count: int) -> Result:
        """For so many publishes or messages."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n".encode())
        return await self.answer()


@asynccontextmanager
async def started(name: str, *arguments: object) -> AsyncIterator[Session]:
    """It runs, and ends with its standard input, or is killed."""
    process = await asyncio.create_subprocess_exec(
        program(name),
        *(str(argument) for argument in arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        yield Session(name=name, process=process)
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def asked_often(name: str, *arguments: object) -> AsyncIterator[Session]:
    """One that says when all its clients are connected, and is asked then."""
    async with started(name, *arguments) as session:
        assert await session.answer() == {"ready": True}
        yield session


@asynccontextmanager
async def noop_server() -> AsyncIterator[tuple[int, int]]:
    """What answers MQTT and does nothing: its port and process id."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        server = Managed(
            name="noop",
            command=[str(program("noop")), str(port)],
            folder=Path(folder),
            is_ready=lambda: accepts(port),
        )
        await asyncio.to_thread(server.start)
        try:
            yield port, server.pid() or 0
        finally:
            await asyncio.to_thread(server.stop)


def busy(row: str, results: Sequence[Result]) -> Figure:
    """How much of a core the generator itself took."""
    return Figure(
        row=row,
        what="load generator's share of a core",
        values=tuple(result["cpu_seconds"] / result["seconds"] for result in results),
        goal=Goal(at_most=BUSIEST),
    )


def taken(result: Result, count: str, cpu_seconds: dict[str, float]) -> Taken:
    """So many a second, with the generator's CPU seconds beside the others."""
    return Taken(value=result[count] / result["seconds"], cpu_seconds={**cpu_seconds, NAME: result["cpu_seconds"]})
