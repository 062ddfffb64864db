"""SIGHUP: Mosquitto asks again for every session. Nobody may fall out, and nobody may get in."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from embedded.processes import free_port
from tests.e2e.mqtt_raw import PINGREQ, WAIT, Client, connect_packet, packet
from tests.e2e.plugin.broker import NAME, SECRET, Broker
from tests.e2e.plugin.conftest import StartBroker
from tests.e2e.plugin.hooks_stub import ALLOW, DENY, TROUBLE, Hooks, Reply, answer, by_default

pytestmark = pytest.mark.own_plugin

NEW_SECRET = "An0ther-canary-9876543210"


def accepting(hooks: Hooks, secret: str) -> None:
    """From now on these hooks answer 401 to every other secret."""
    unauthorised = answer(401, b"", "WWW-Authenticate: Basic")
    hooks.judge = lambda q: by_default(q) if q.credentials == f"{NAME}:{secret}" else unauthorised


async def log_in(broker: Broker, client_id: str) -> int | None:
    """The code of CONNACK."""
    async with await Client.open(broker.port) as client:
        return await client.connect(client_id, username="u", password="p")


async def test_secret_is_read_again(broker: Broker, hooks: Hooks) -> None:
    """Rotation without a restart: the hooks change, devices wait, SIGHUP, and they are let in."""
    accepting(hooks, NEW_SECRET)
    assert await log_in(broker, "c1") is None
    broker.write_secret(NEW_SECRET)
    assert await log_in(broker, "c1") is None
    await broker.reload()
    assert await log_in(broker, "c1") == 0
    assert "the secret was read again" in broker.log
    assert NEW_SECRET not in broker.log
    assert hooks.connections == 1


@pytest.mark.parametrize("state", ["gone", "empty", "two lines", "open to others", "a folder", "too large"])
async def test_secret_that_cannot_be_read_again(broker: Broker, hooks: Hooks, state: str) -> None:
    """The old one stays in use, and the log says why."""
    accepting(hooks, SECRET)
    if state in ("gone", "a folder"):
        broker.secret_file.unlink()
    if state == "a folder":
        broker.secret_file.mkdir()
    elif state != "gone":
        content = {"empty": "", "two lines": "a\nb", "open to others": "other", "too large": "x" * 9999}[state]
        broker.write_secret(content, 0o644 if state == "open to others" else 0o600)
    await broker.reload()
    assert "plugin_opt_secret_file" in broker.log
    assert "the old secret stays in use" in broker.log
    assert await log_in(broker, "c1") == 0


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("trouble", ["away", "saying no", "in trouble"])
async def test_nobody_falls_out(broker: Broker, hooks: Hooks, trouble: str, version: int) -> None:
    """Connected with and without a clean session, and offline with a queue; the hooks are not even asked."""
    clean = await broker.client("clean", version=version)
    kept = await broker.client("kept", version=version, clean=False)
    offline = await Client.open(broker.port, version=version)
    forever = b"\x11\xff\xff\xff\xff" if version == 5 else b""
    await offline.connect("offline", username="u", password="p", clean=False, properties=forever)
    assert await offline.subscribe("t", 1) == 1
    await offline.disconnect()
    assert await clean.publish("t", b"queued", 1) == 0
    hooks.questions.clear()

    if trouble == "away":
        await hooks.stop()
    hooks.judge = lambda _: {"away": ALLOW, "saying no": DENY, "in trouble": TROUBLE}[trouble]
    for _ in range(3):
        await broker.reload()
    assert await clean.ping()
    assert await kept.ping()
    assert hooks.questions == []

    hooks.judge = by_default
    if trouble == "away":
        await hooks.start()
    async with await Client.open(broker.port, version=version) as back:
        assert await back.connect("offline", username="u", password="p", clean=False, properties=forever) == 0
        message = await back.message()
        assert message is not None
        assert message.topic == "t"
    assert await clean.publish("t", qos=1) == 0
    assert await kept.subscribe("t") == 0


async def test_many_sessions(broker: Broker, hooks: Hooks) -> None:
    """Several hundred, half of them offline by now."""
    clients = [await broker.client(f"c{index}", clean=index % 2 == 0) for index in range(300)]
    for client in clients[1::2]:
        client.close()
    await hooks.stop()
    await broker.reload()
    assert all([await client.ping() for client in clients[::2]])
    assert "not authorised" not in broker.log


async def test_session_taken_over(broker: Broker, hooks: Hooks) -> None:
    """The connection that replaced another one under the same client id is the one that stays."""
    old = await broker.client("c1", clean=False)
    new = await broker.client("c1", clean=False)
    assert not await old.ping()
    await hooks.stop()
    await broker.reload()
    assert await new.ping()


@pytest.mark.parametrize("reply", [DENY, TROUBLE, Reply(then="reset")])
async def test_nobody_gets_in(broker: Broker, hooks: Hooks, reply: Reply) -> None:
    """Before, at and after SIGHUP the hooks decide about every CONNECT, whatever the table knows of it."""
    await (await broker.client("known")).disconnect()
    hooks.judge = lambda _: reply
    waiting = []
    for index in range(10):
        client = await Client.open(broker.port)
        await client.send(connect_packet(f"c{index}" if index % 2 else "known", username="u-known", password="pw"))
        waiting.append(client)
        broker.signal(signal.SIGHUP)
    await broker.reload()
    for client in waiting:
        connack = await client.read()
        assert connack is None or connack.body[1] == 5
    assert await log_in(broker, "known") != 0
    assert "New client connected" not in broker.log.partition("Reloading config.")[2]


async def test_new_client_inside_the_window(broker: Broker, hooks: Hooks) -> None:
    """Over TCP there is none: a CONNECT that comes together with SIGHUP is asked about, known pointer or not."""
    for _ in range(10):
        hooks.judge = by_default
        async with await Client.open(broker.port) as client:
            assert await client.connect("c1", username="u", password="p") == 0
        await broker.logged("Client c1 closed its connection.", broker.log.count(" as c1 "))
        hooks.judge = lambda _: DENY
        async with await Client.open(broker.port) as client:
            broker.signal(signal.SIGSTOP)
            await client.send(connect_packet("c1", username="u", password="p"))
            broker.signal(signal.SIGHUP)
            broker.signal(signal.SIGCONT)
            connack = await client.read()
            assert connack is not None
            assert connack.body == b"\0\x05"
    assert len(hooks.asked("user")) == 20


@pytest.mark.parametrize("version", [4, 5])
async def test_session_restored_from_disk(new_broker: Callable[..., Broker], hooks: Hooks, version: int) -> None:
    """Mosquitto stores no passwords and offers none for such a session, so it is refused; and it is kept all the same.

    A session that has no connection has nothing for Mosquitto 2.0.11 to disconnect.
    """
    broker = new_broker()
    broker.settings = [("persistence", "true"), ("persistence_location", f"{broker.folder}/")]
    await broker.start()
    forever = b"\x11\xff\xff\xff\xff" if version == 5 else b""

    async def log_in_again(client: Client) -> None:
        assert await client.connect("c1", username="u", password="p", clean=False, properties=forever) == 0

    async with await Client.open(broker.port, version=version) as client:
        await log_in_again(client)
        await client.subscribe("t", 1)
        await client.disconnect()
    assert await broker.stop() == 0

    await broker.start()
    publisher = await broker.client("publisher")
    await publisher.publish("t", b"before", 1)
    hooks.questions.clear()
    await broker.reload()
    assert await publisher.ping()
    assert hooks.questions == []
    await publisher.publish("t", b"after", 1)
    async with await Client.open(broker.port, version=version) as client:
        await log_in_again(client)
        for payload in (b"before", b"after"):
            message = await client.message()
            assert message is not None
            assert message.body.endswith(payload)


@asynccontextmanager
async def websocket(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A WebSocket connection that speaks MQTT and has sent nothing of it yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
    )
    assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
    yield reader, writer
    writer.close()


def frame(content: bytes) -> bytes:
    """A masked binary frame (RFC 6455, 5.2); the mask of zeros leaves the content as it is."""
    assert len(content) < 126
    return bytes([0x82, 0x80 | len(content)]) + bytes(4) + content


def frame_of_broker(content: bytes) -> bytes:
    """The same, as a server sends it: without a mask."""
    return bytes([0x82, len(content)]) + content


async def test_websocket_client_inside_the_window(start_broker: StartBroker, hooks: Hooks) -> None:
    """Mosquitto serves WebSockets between RELOAD and TICK: such a CONNECT is not let in, and not told "no" either.

    It is the hardest case: the credentials that were good under the same pointer a moment ago, revoked since.
    """
    port = free_port()
    broker = await start_broker(settings=[("listener", f"{port} 127.0.0.1"), ("protocol", "websockets")])
    inside = 0
    for _ in range(8):
        hooks.judge = by_default
        async with websocket(port) as (reader, writer):
            writer.write(frame(connect_packet("c1", username="u", password="p")))
            assert await asyncio.wait_for(reader.readexactly(6), WAIT) == frame_of_broker(b"\x20\x02\0\0")
        await broker.logged("Client c1 closed its connection.", broker.log.count(" as c1 "))

        hooks.judge = lambda _: DENY
        async with websocket(port) as (reader, writer):
            asked = len(hooks.questions)
            broker.signal(signal.SIGSTOP)
            writer.write(frame(connect_packet("c1", username="u", password="p")))
            await writer.drain()
            broker.signal(signal.SIGHUP)
            broker.signal(signal.SIGCONT)
            got = await asyncio.wait_for(reader.read(6), WAIT)
        # At times the CONNECT comes before SIGHUP, and the hooks are asked as always.
        before = len(hooks.questions) > asked
        assert got.startswith(frame_of_broker(b"\x20\x02\0\x05")) if before else b"\x20\x02" not in got
        inside += not before
    assert inside > 0


async def test_connected_websocket_client_stays(start_broker: StartBroker, hooks: Hooks) -> None:
    """Those who are connected by WebSocket are known as well as all others."""
    port = free_port()
    broker = await start_broker(settings=[("listener", f"{port} 127.0.0.1"), ("protocol", "websockets")])
    async with websocket(port) as (reader, writer):
        writer.write(frame(connect_packet("c1", username="u", password="p")))
        assert await asyncio.wait_for(reader.readexactly(6), WAIT) == frame_of_broker(b"\x20\x02\0\0")
        await hooks.stop()
        await broker.reload()
        writer.write(frame(packet(PINGREQ)))
        assert await asyncio.wait_for(reader.readexactly(4), WAIT) == frame_of_broker(b"\xd0\0")
