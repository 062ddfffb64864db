"""`python -m service hooks` with two processes behind one port (decision 0010)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from embedded.processes import Managed, answers, free_port, started_at
from service.operations import accounts
from tests.support.raw_http import Client, basic, connected
from tests.support.scene import ACCOUNT, PROVISION, Device, Scene, until

ROOT = Path(__file__).resolve().parents[2]


@dataclass(kw_only=True)
class Several:
    """The running parent."""

    scene: Scene
    process: Managed
    port: int
    metrics_port: int

    def client(self, broker: str) -> AbstractAsyncContextManager[Client]:
        """A broker's connection."""
        return connected(self.port, basic(broker, self.scene.secrets[broker]))

    async def get(self, path: str) -> str:
        """From the one port of health and metrics."""

        def get() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=10) as reply:
                text: str = reply.read().decode()
                return text

        return await asyncio.to_thread(get)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of what has these labels."""
        families = text_string_to_metric_families(await self.get("/metrics"))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def pids(self) -> list[int]:
        """The parent's and the others'."""
        pid = self.process.pid()
        assert pid is not None
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def lines(self) -> list[dict[str, Any]]:
        """What they logged."""
        return [json.loads(line) for line in self.process.log.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
async def several(scene: Scene, tmp_path: Path) -> AsyncIterator[Several]:
    """Ready."""
    port, metrics = free_port(), free_port()
    process = Managed(
        name="hooks",
        command=[sys.executable, "-m", "service", "hooks"],
        folder=tmp_path,
        environment={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PROVISION_HOOKS_DATABASE_URL": scene.database.url("hooks").reveal(),
            "PROVISION_EVENT_KEY": base64.b64encode(scene.database.event_key).decode(),
            "PROVISION_HOOKS_PORT": str(port),
            "PROVISION_HOOKS_METRICS_PORT": str(metrics),
            "PROVISION_HOOKS_PROCESSES": "2",
            "PROVISION_SLOW_HASH_RATE": "0.1",
            "PROVISION_SLOW_HASH_BURST": "3",
        },
        is_ready=lambda: answers(f"http://127.0.0.1:{metrics}/readyz"),
    )
    process.start()
    try:
        yield Several(scene=scene, process=process, port=port, metrics_port=metrics)
    finally:
        process.stop()


async def log_in(several: Several, device: Device) -> list[int]:
    """The device at both brokers; what they are told."""
    statuses = []
    for broker, username, password in (
        (PROVISION, device.factory_username, device.factory_password),
        (ACCOUNT, device.username, device.password),
    ):
        async with several.client(broker) as client:
            statuses.append((await client.user(username, password, device.client_id)).status)
    return statuses


async def test_each_broker_has_a_process_and_both_follow_the_same_changes(several: Several) -> None:
    """What either remembers ends with the change; health, metrics and what is counted are of both."""
    scene = several.scene
    device = await scene.provision("gw-1")
    assert len(several.pids()) == 3
    told = [await log_in(several, device) for _ in range(3)]
    assert told == [[200, 200]] * 3
    await until(lambda: _is(several.metric("hook_remembered_clients"), 2))
    await until(lambda: _is(several.metric("hook_questions_total", route="user", outcome="allowed"), 6))
    assert json.loads(await several.get("/readyz")) == {"ok": True, "missing": None}
    assert json.loads(await several.get("/livez")) == {"ok": True}
    await accounts.set_account_enabled(scene.admin, "acme", enabled=False)

    async def refused() -> bool:
        told.append(await log_in(several, device))
        return told[-1] == [403, 403]

    await until(refused)
    pids = several.pids()
    assert several.process.stop()
    assert [started_at(pid) for pid in pids] == [None] * 3
    counted = await scene.database.value("SELECT sum(count) FROM logins")
    assert counted == sum(statuses.count(200) for statuses in told), "written when they ended"
    assert {line["level"] for line in several.lines()} <= {"info"}


async def _is(value: Any, expected: float) -> bool:
    return bool(await value == expected)


async def test_the_slow_hash_budget_is_one_however_many_connections(several: Several) -> None:
    """Three hashes are saved up; a fourth connection finds no other process that has three more."""
    device = await several.scene.request("gw-1")

    async def wrong(number: int) -> int:
        async with several.client(PROVISION) as client:
            return (await client.user(device.factory_username, f"Wrong-Password-{number}", "gw-1")).status

    assert sorted([await wrong(number) for number in range(8)]) == [403] * 3 + [503] * 5


async def test_a_process_that_dies_ends_all(several: Several) -> None:
    """The supervisor starts them anew: half of the brokers without an answer would be worse."""
    parent, first, second = several.pids()
    os.kill(first, signal.SIGKILL)
    _, status = await asyncio.to_thread(os.waitpid, parent, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert started_at(second) is None


async def test_without_the_parent_nobody_stays(several: Several) -> None:
    parent, *others = several.pids()
    os.kill(parent, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, parent, 0)

    async def gone() -> bool:
        return [started_at(pid) for pid in others] == [None, None]

    await until(gone)


async def test_whoever_sends_no_whole_head_holds_nobody_up(several: Several) -> None:
    """It is not handed on, and others are served meanwhile; a head may come in pieces."""
    device = await several.scene.request("gw-1")
    async with connected(several.port, None) as silent, several.client(PROVISION) as client:
        silent.writer.write(b"POST /hooks/user HTTP/1.1\r\nHost: x\r\n")
        await silent.writer.drain()
        assert (await client.user(device.factory_username, device.factory_password, "gw-1")).status == 200
    async with connected(several.port, None) as slow:
        for piece in (b"POST /hooks/user HTTP/1.1\r\nHost: x\r\nAuthoriz", b"ation: Basic QUFB", b"QUFB\r\n\r\n"):
            slow.writer.write(piece)
            await slow.writer.drain()
            await asyncio.sleep(0.02)
        assert (await slow.read()).status == 401
