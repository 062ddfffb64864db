"""`python -m service hooks` as a process: what it logs, what it counts, how it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedded.processes import Managed, answers, free_port
from service.keys import new_secret
from service.operations import accounts
from tests.support.gate import WRITE
from tests.support.raw_http import Client, basic, connected
from tests.support.scene import ACCOUNT, PROVISION, Scene, until

ROOT = Path(__file__).resolve().parents[2]
CANARY = "Canary-" + "c4n4ry" * 5


@dataclass(kw_only=True)
class Hooks:
    """A running process."""

    scene: Scene
    process: Managed
    port: int

    def lines(self) -> list[dict[str, Any]]:
        """What it logged; every line must be JSON."""
        return [json.loads(line) for line in self.process.log.read_text(encoding="utf-8").splitlines()]

    def client(self, broker: str, secret: str | None = None) -> AbstractAsyncContextManager[Client]:
        """A broker's connection."""
        return connected(self.port, basic(broker, secret or self.scene.secrets[broker]))


@pytest.fixture
async def hooks(scene: Scene, tmp_path: Path) -> AsyncIterator[Hooks]:
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
            "PROVISION_SLOW_HASH_RATE": "1000000",
            "PROVISION_SLOW_HASH_BURST": "1000000",
            "PROVISION_LOG_LEVEL": "debug",
        },
        is_ready=lambda: answers(f"http://127.0.0.1:{metrics}/readyz"),
    )
    process.start()
    try:
        yield Hooks(scene=scene, process=process, port=port)
    finally:
        process.stop()


async def refusals(client: Client, factory: str, username: str) -> None:
    """Each cause of a refusal, with canaries for passwords."""
    for fields in (
        {"username": factory, "password": CANARY, "clientid": "gw-1"},
        {"username": username, "password": CANARY, "clientid": "gw-1"},
        {"username": "nobody", "password": CANARY, "clientid": "gw-1"},
        {"username": "~responder", "password": CANARY, "clientid": "~responder"},
        {"username": "~takeover", "password": CANARY, "clientid": "gw-1"},
        {"username": factory, "password": CANARY * 3, "clientid": "gw-1"},
        {"username": factory, "password": CANARY + "é", "clientid": "gw-1"},
        {"username": factory, "password": CANARY, "clientid": "gw\n{}\x1b[31m-1"},
        {"username": "a" * 3000, "password": CANARY, "clientid": "gw-1"},
        {"username": factory, "password": CANARY, "clientid": "gw-1", "clean": False},
        {"username": "~responder", "password": CANARY, "clientid": "a\0b"},
    ):
        assert (await client.ask("user", fields)).status in (403, 503)
    for body in (b'{"username":"x","password":"' + CANARY.encode() + b'"}', b'{"password":"' + CANARY.encode()):
        assert (await client.ask("user", body)).status == 403
    await client.acl(factory, "gw-1", "prov/v1/gw-2/request", WRITE)


async def test_the_log_names_the_cause_and_no_secret(hooks: Hooks) -> None:
    """Every refusal with its true reason; no password, key, secret or stack trace, whatever was sent."""
    scene = hooks.scene
    device = await scene.run(generate_activation_key=True)
    secret = new_secret()
    for broker in (PROVISION, ACCOUNT):
        async with hooks.client(broker) as client:
            await refusals(client, device.factory_username, device.username)
        async with hooks.client(broker, secret) as client:
            assert (await client.ask("user", b"{}")).status == 401
    async with hooks.client(ACCOUNT) as client:
        assert (await client.user(device.username, device.password, "gw-2")).status == 403
        assert (await client.user(device.username, device.password, "gw-1")).status == 200
    assert hooks.process.stop()
    text = hooks.process.log.read_text(encoding="utf-8")
    for canary in (
        CANARY, "c4n4ry", secret, device.password, device.factory_password, device.activation_key or "",
        *scene.secrets.values(), scene.database.server.passwords["hooks"], "postgresql://", "$2b$", "Traceback",
        base64.b64encode(scene.database.event_key).decode(), scene.database.event_key.hex(), "\x1b[",
    ):  # fmt: skip
        assert canary not in text
    for encoded in (basic(PROVISION, secret)[6:], basic(PROVISION, scene.secrets[PROVISION])[6:]):
        assert encoded not in text
    lines = hooks.lines()
    assert all({"event", "level", "timestamp", "component"} <= line.keys() for line in lines)
    refused = [line for line in lines if line["event"] == "refused"]
    assert {line["reason"] for line in refused} >= {
        "wrong_password", "unknown_user", "malformed_client_id", "malformed_username", "malformed_password",
        "session_not_clean", "client_id_of_another_run", "no_grant",
    }  # fmt: skip
    assert {"question_malformed", "broker_unauthenticated", "hooks_ready"} <= {line["event"] for line in lines}
    assert max(len(line) for line in text.splitlines()) < 4096


async def test_refusals_and_logins_reach_the_database(hooks: Hooks) -> None:
    """Counted by who and why, with who was seen; what is left when it ends is written then."""
    scene = hooks.scene
    device = await scene.run()
    async with hooks.client(ACCOUNT) as client:
        for _ in range(7):
            assert (await client.user(device.username, "wrong", "gw-1")).status == 403
        assert (await client.user(device.username, device.password, "gw-1")).status == 200
        await client.acl(device.username, "gw-1", "$EDC/other/gw-1/x", WRITE)
        await scene.database.execute("UPDATE device_connections SET last_seen_at = 'epoch'")
        assert (await client.acl(device.username, "gw-1", "acme/gw-1/data", WRITE)).status == 200
    assert hooks.process.stop()
    rows = await scene.database.fetch(
        "SELECT username, client_id, reason, sum(count) AS n, max(last_topic) AS topic"
        " FROM refusals GROUP BY 1, 2, 3 ORDER BY reason"
    )
    assert [tuple(row) for row in rows] == [
        (device.username, "gw-1", "no_grant", 1, "$EDC/other/gw-1/x"),
        (device.username, "gw-1", "wrong_password", 7, None),
    ]
    assert await scene.database.value("SELECT last_seen_at > 'epoch' FROM device_connections")


async def test_each_login_is_noted_and_a_sign_of_life_once_a_minute(hooks: Hooks) -> None:
    scene = hooks.scene
    device = await scene.provision()
    await scene.database.execute(
        "UPDATE device_connections SET last_login_at = 'epoch', last_seen_at = now(), status = 'MISSING',"
        " broker_id = NULL"
    )
    before = await scene.database.value("SELECT last_seen_at FROM device_connections")
    async with hooks.client(ACCOUNT) as client:
        assert (await client.acl(device.username, "gw-1", "acme/gw-1/data", WRITE)).status == 200
        await asyncio.sleep(2.5)  # two flushes
        assert await scene.database.value("SELECT last_seen_at FROM device_connections") == before
        assert (await client.user(device.username, device.password, "gw-1")).status == 200
    assert hooks.process.stop()
    row = (
        await scene.database.fetch(
            "SELECT c.status, b.name, c.last_login_at > 'epoch'"
            " FROM device_connections c JOIN brokers b ON b.id = c.broker_id"
        )
    )[0]
    assert tuple(row) == ("CONNECTED", ACCOUNT, True)


async def test_it_follows_brokers_and_beats(hooks: Hooks) -> None:
    """A new broker's secret is good without a restart; signs of life come."""
    scene = hooks.scene
    before = await scene.database.value("SELECT at FROM heartbeats")
    secret = await accounts.create_broker(scene.admin, "another", role="provision")

    async def known() -> bool:
        async with hooks.client("another", secret) as client:
            return (await client.ask("superuser", b"{}")).status == 403

    await until(known)
    await until(lambda: scene.database.value("SELECT at > $1 FROM heartbeats", before))


async def test_it_ends_in_order(hooks: Hooks) -> None:
    """SIGTERM: idle connections do not hold it up, nothing is said but what it did, and status 0."""
    async with hooks.client(PROVISION) as client:
        assert (await client.ask("superuser", b"{}")).status == 403
        pid = hooks.process.pid()
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status[1]) == 0
    assert {line["level"] for line in hooks.lines()} <= {"info", "debug"}
