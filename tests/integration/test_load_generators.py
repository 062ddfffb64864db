"""The load generators of bench/ count right, against a real broker and against the server that does nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench import generators, peers
from bench.generators import User
from embedded import brokers
from embedded.processes import Managed, accepts, free_port
from tests.support.devices import eventually

CLIENTS = 40
PASSWORD = "a password"


def broker_of(folder: Path, *lines: str) -> tuple[Managed, int]:
    """A Mosquitto without a plugin, not started, and its port."""
    port = free_port()
    config = folder / "broker.conf"
    folder.chmod(0o755)
    brokers.write_private(config, "\n".join([f"listener {port} 127.0.0.1", "log_dest stderr", *lines, ""]))
    managed = Managed(
        name="broker",
        command=[brokers.find_mosquitto(), "-c", str(config)],
        folder=folder,
        environment={"PATH": os.environ["PATH"]},
        is_ready=lambda: accepts(port),
    )
    return managed, port


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[int]:
    managed, port = broker_of(folder, "allow_anonymous true", "log_type notice")
    async with peers.running(managed):
        yield port


@asynccontextmanager
async def noop(_folder: Path) -> AsyncIterator[int]:
    async with generators.noop_server() as (port, _):
        yield port


def users(count: int = CLIENTS) -> list[User]:
    return [(f"client-{number}", f"user-{number}", PASSWORD) for number in range(count)]


@pytest.mark.parametrize("server", [mosquitto, noop])
async def test_counts(server: object, tmp_path: Path) -> None:
    assert callable(server)
    async with server(tmp_path) as port:
        known = generators.write_users(tmp_path, "known", users())
        came = await generators.run("connect", port, known, 8)
        assert (came["asked"], came["accepted"], came["refused"], came["closed"]) == (CLIENTS, CLIENTS, 0, 0)
        async with generators.asked_often("publish", port, known, "a/b", 15) as session:
            assert [(await session.ask(count))["acknowledged"] for count in (1, 100, 1000)] == [1, 100, 1000]
        async with generators.asked_often("deliver", port, known, "a/+", "a/b") as session:
            assert [(await session.ask(count))["delivered"] for count in (1, 20)] == [CLIENTS - 1, 20 * (CLIENTS - 1)]
        pinged = await generators.run("ping", port, known, 10, 1)
        assert pinged["sent"] == pinged["answered"] == 100
        assert 0 < pinged["p50_ms"] <= pinged["p99_ms"] <= pinged["max_ms"]
        flooded = await generators.run("flood", port, known, 50, 1)
        assert (flooded["asked"], flooded["accepted"], flooded["closed"]) == (50, 50, 0)
    if server is mosquitto:
        log = (tmp_path / "broker.log").read_text()
        # connect, publish, deliver, ping, flood: Mosquitto has seen as many.
        assert log.count("New client connected") == CLIENTS + 1 + CLIENTS + 1 + 50
        assert f" as client-{CLIENTS - 1} (p2, c1, k300, u'user-{CLIENTS - 1}')" in log


async def test_refusals_are_told_from_closed_connections(tmp_path: Path) -> None:
    managed, port = broker_of(tmp_path, "allow_anonymous false")
    nobodies = generators.write_users(tmp_path, "nobodies", [(f"c-{number}",) for number in range(10)])
    async with peers.running(managed):
        came = await generators.run("connect", port, nobodies, 4)
        with pytest.raises(RuntimeError, match="load generator ping: the CONNECT was refused"):
            await generators.run("ping", port, nobodies, 10, 1)
    assert (came["accepted"], came["refused"], came["closed"]) == (0, 10, 0)
    gone = await generators.run("connect", port, nobodies, 4)
    assert (gone["accepted"], gone["refused"], gone["closed"]) == (0, 0, 10)


async def test_connections_that_are_held_last_as_long_as_the_generator(tmp_path: Path) -> None:
    async with generators.noop_server() as (port, pid):
        known = generators.write_users(tmp_path, "known", users())
        async with generators.started("connect", port, known, 8, "hold") as session:
            assert (await session.answer())["accepted"] == CLIENTS
            held = open_files(pid)

        async def are_gone() -> bool:
            return open_files(pid) == held - CLIENTS

        await eventually(are_gone)


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        ("connect", ("0", "known", "1"), "PORT"),
        ("connect", ("1", "absent", "1"), "absent: No such file"),
        ("connect", ("1", "empty", "1"), "no users"),
        ("connect", ("1", "broken", "1"), "a username without a password"),
        ("ping", ("1", "known", "x", "1"), "EVERY_MS"),
    ],
)
async def test_what_is_wrong_is_said(
    program: str, arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    generators.write_users(tmp_path, "known", users(1)).rename("known")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "broken").write_text("client\tuser\n")
    with pytest.raises(RuntimeError, match=f"load generator {program}: {said}"):
        await generators.run(program, *arguments)
