"""What each answer of the hooks does to a client, by operation and protocol version."""

from __future__ import annotations

import pytest

from tests.e2e.mqtt_raw import Client
from tests.e2e.plugin.broker import Broker
from tests.e2e.plugin.conftest import StartBroker
from tests.e2e.plugin.hooks_stub import HANG, Hooks, Reply, answer

own = pytest.mark.own_plugin

ALLOWING = {
    "200 true": answer(),
    "200 true and more": answer(body=b' {"error": "", "ok" : true, "x": [1, {"ok": false}]}\r\n'),
}
DENYING = {
    "403": answer(403, b'{"ok":false,"error":"not authorised"}'),
    "403 that says yes": answer(403, b'{"ok":true}'),
    "400": answer(400, b""),
    "413": answer(413, b"too large"),
    "200 false": answer(body=b'{"ok":false}'),
    "200 without ok": answer(body=b"{}"),
    "200 null": answer(body=b"null"),
    "200 ok null": answer(body=b'{"ok":null}'),
}
FAILING = {
    "500": answer(500),
    "502": answer(502, b"<html>"),
    "503": answer(503),
    "not JSON": answer(body=b"ok"),
    "no body": answer(body=b""),
    "a string": answer(body=b'{"ok":"true"}'),
    "a number": answer(body=b'{"ok":1}'),
    "a list": answer(body=b"[]"),
    "cut": answer(body=b'{"ok":tru'),
    "closed without an answer": Reply(then="close"),
    "reset": Reply(then="reset"),
    "reset inside the answer": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{", "reset"),
    "closed inside the answer": Reply(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"ok":true}', "close"),
    "not HTTP": Reply(b'SSH-2.0-x\r\n{"ok":true}', "close"),
}
FAILING_UNLIKE_GO_AUTH = {
    "201": answer(201),
    "204": Reply(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "299": answer(299),
    "301": answer(301, b'{"ok":true}', "Location: /hooks/other"),
    "302": answer(302, b"", "Location: /hooks/other"),
    "307": answer(307, b"", "Location: /hooks/other"),
    "401": answer(401, b"", "WWW-Authenticate: Basic"),
    "404": answer(404),
    "429": answer(429),
    "capitals": answer(body=b'{"OK":true}'),
    "no, then yes": answer(body=b'{"ok":false,"ok":true}'),
    "more behind it": answer(body=b'{"ok":true}{"ok":false}'),
    "a NUL behind it": answer(body=b'{"ok":true}\0'),
    "HTTP 0.9": Reply(b'{"ok":true}', "close"),
    "65537 bytes": answer(body=b'{"ok":true}'.ljust(65537)),
    "endless headers": Reply(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000 + b"\r\n", "close"),
}
REFUSED = {4: 5, 5: 0x87}
NOT_ADMITTED = {4: 0x80, 5: 0x87}


def rows(*tables: dict[str, Reply]) -> list[object]:
    """Parameters with names; those of the second table are for our plugin alone."""
    return [
        pytest.param(reply, id=name, marks=[own] if index else [])
        for index, table in enumerate(tables)
        for name, reply in table.items()
    ]


async def connect(broker: Broker, version: int) -> tuple[int | None, bool]:
    """The code of CONNACK, and whether the connection lives after it."""
    async with await Client.open(broker.port, version=version) as client:
        code = await client.connect("target", username="u", password="p")
        return code, await client.ping()


async def publish(broker: Broker, version: int, qos: int) -> tuple[int | None, list[str], Client]:
    """The answer to a PUBLISH by `target`, what a watcher got of it, and the client."""
    watcher, other = await broker.client("watcher"), await broker.client("other")
    assert await watcher.subscribe("#") == 0
    target = await broker.client("target", version=version)
    code = await target.publish("t", b"x", qos)
    await other.publish("end", qos=1)
    got: list[str] = []
    while not got or got[-1] != "end":
        message = await watcher.message()
        assert message is not None
        got.append(message.topic)
    watcher.close()
    other.close()
    return code, got[:-1], target


async def receive(broker: Broker, version: int, qos: int) -> tuple[int | None, list[str], Client]:
    """What a PUBLISH by somebody else comes to when READ by `target` is in question."""
    target, publisher = await broker.client("target"), await broker.client("publisher", version=version)
    assert await target.subscribe("t") == 0
    code = await publisher.publish("t", b"x", qos)
    got = await target.waiting_messages()
    target.close()
    return code, got, publisher


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("reply", rows(ALLOWING))
async def test_yes(broker: Broker, hooks: Hooks, reply: Reply, version: int) -> None:
    """Only 200 with `{"ok":true}` lets anybody do anything."""
    hooks.judge = lambda _: reply
    assert await connect(broker, version) == (0, True)
    async with await broker.client("reader", version=version) as client:
        assert await client.subscribe("a/#", 1) == 1
    for qos in (0, 1, 2):
        code, got, target = await publish(broker, version, qos)
        assert (code, got) == (0, ["t"])
        assert (await receive(broker, version, qos))[:2] == (0, ["t"])
        target.close()


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("reply", rows(DENYING))
async def test_no(broker: Broker, hooks: Hooks, reply: Reply, version: int) -> None:
    """A denial is told where MQTT can tell it, and the connection lives on."""
    hooks.deciding("user", reply, clientid="target")
    assert await connect(broker, version) == (REFUSED[version], False)

    hooks.deciding("acl", reply, clientid="target", acc=2)
    for qos in (0, 1, 2):
        code, got, target = await publish(broker, version, qos)
        assert (code, got) == (0x87 if qos and version == 5 else 0, [])
        assert await target.ping()
        target.close()

    hooks.deciding("acl", reply, clientid="target", acc=4)
    async with await broker.client("target", version=version) as target:
        assert await target.subscribe("t") == NOT_ADMITTED[version]
        assert await target.ping()

    hooks.deciding("acl", reply, clientid="target", acc=1)
    for qos in (0, 1, 2):
        code, got, publisher = await receive(broker, version, qos)
        assert got == []
        assert code in (0, 0x10)
        assert await publisher.ping()
        publisher.close()


async def check_failing(broker: Broker, hooks: Hooks, reply: Reply, version: int) -> None:
    """Nobody is let in, nobody is told that he is refused: he is cut off, and comes back."""
    hooks.deciding("user", reply, clientid="target")
    assert await connect(broker, version) == (None, False)

    hooks.deciding("acl", reply, clientid="target", acc=2)
    for qos in (0, 1):
        code, got, target = await publish(broker, version, qos)
        assert (code, got) == (None, [])
        if qos:  # with QoS 0 our PINGREQ may still be unread when Mosquitto closes, and the reset eats its DISCONNECT
            assert target.disconnect_reason == (0x80 if version == 5 else None)
        target.close()

    hooks.deciding("acl", reply, clientid="target", acc=4)
    async with await broker.client("target", version=version) as target:
        assert await target.subscribe("t") is None

    # While delivering it is the publisher who is cut off; only a QoS 1 publisher of 3.1.1 gets an answer before that.
    hooks.deciding("acl", reply, clientid="target", acc=1)
    for qos in (0, 1, 2):
        code, got, publisher = await receive(broker, version, qos)
        assert got == []
        assert code == (0 if (version, qos) == (4, 1) else None)
        publisher.close()
    assert "other" not in {question.route for question in hooks.questions}, "a redirect was followed"


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("reply", rows(FAILING, FAILING_UNLIKE_GO_AUTH))
async def test_trouble(broker: Broker, hooks: Hooks, reply: Reply, version: int) -> None:
    """Everything that is not a verdict."""
    await check_failing(broker, hooks, reply, version)


@own
@pytest.mark.parametrize("version", [4, 5])
async def test_silence(start_broker: StartBroker, hooks: Hooks, version: int) -> None:
    """Hooks that never answer count as trouble when the time is over."""
    broker = await start_broker(options={"timeout_ms": "50"})
    await check_failing(broker, hooks, HANG, version)


@pytest.mark.parametrize("version", [4, 5])
async def test_refused_connection(broker: Broker, hooks: Hooks, version: int) -> None:
    """Hooks that are away."""
    async with (
        await broker.client("a", version=version) as publisher,
        await broker.client("b", version=version) as subscriber,
    ):
        await hooks.stop()
        assert await connect(broker, version) == (None, False)
        assert await publisher.publish("t", qos=1) is None
        assert await subscriber.subscribe("t") is None
