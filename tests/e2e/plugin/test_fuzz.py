"""Answers that no hooks would give, and packets that have hurt brokers, to the plugin under sanitizers (G8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.e2e.mqtt_raw import (
    CONNECT,
    PUBLISH,
    SUBSCRIBE,
    Client,
    Will,
    connect_packet,
    field,
    packet,
    publish_packet,
    subscribe_packet,
)
from tests.e2e.plugin.broker import Broker
from tests.e2e.plugin.hooks_stub import Hooks, Question, Reply, answer, by_default
from tests.e2e.plugin.test_sanitizers import checked_plugin, ends_clean, start_checked  # noqa: F401 (a fixture)
from tests.fuzz import seeds

pytestmark = pytest.mark.own_plugin

GRANTS = {"ok": True, "as_of": "11", "grants": [["own/+/#", 7], ["a/b", 2], ["$SYS/x", 5]]}
CHANGES = {"ok": True, "position": "10:10:", "as_of": "10", "lost": False, "changes": [["user", "u"], ["client", "c1"]]}
CLIENTS = {"ok": True, "clients": [GRANTS, {"ok": False}, {"ok": None}]}
RIGHT = {"user": GRANTS, "clients": CLIENTS, "changes": CHANGES}


def raw(document: object, *headers: str) -> bytes:
    return answer(200, json.dumps(document).encode(), *headers).raw


ANSWERS = [
    *(raw(document) for document in (GRANTS, CHANGES, CLIENTS, {"ok": True}, {"ok": False})),
    raw(GRANTS, "Transfer-Encoding: chunked"), raw(GRANTS, "Content-Encoding: gzip"), raw(GRANTS, "Location: http://x/"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ok\"\r\n6\r\n:true}\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + raw({"ok": True}), b"HTTP/1.1 301 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n{\"ok\":true}", b"HTTP/2 200\r\n\r\n", raw({"ok": True, "a": "x" * 50_000}),
    raw({"ok": True, "as_of": "1", "grants": [["a/" * 5000, 7]] * 3}), raw([[[]]] * 100), b"\0" * 100,
]  # fmt: skip


async def meet(broker: Broker, number: int, version: int) -> None:
    """A client that does a bit of everything, and may be thrown out at any of it."""
    async with await Client.open(broker.port, version=version) as client:
        name = f"c{number % 5}"
        will = Will("own/will", b"x") if number % 3 == 0 else None
        if await client.connect(name, username="u", password="p", clean=number % 2 == 0, will=will) == 0:
            await client.subscribe("own/+/#", 1)
            await client.publish("own/a/b", b"x", 1)
            await client.publish("$SYS/x", b"x")


async def hear_anything(checked_plugin: Path, new_broker: Callable[..., Broker], hooks: Hooks, many: int) -> None:  # noqa: F811
    """Mutated answers to logins, topics, the feed and the clients' grants, and right ones between them."""
    broker = await start_checked(checked_plugin, new_broker, options={"grants": "on", "timeout_ms": "300"})
    chance, pid, hostile = Random(20112), broker.pid, [0]

    def judge(question: Question) -> Reply:
        route = question.route.partition("?")[0]
        if route == "superuser" or chance.random() < 0.5:
            document = RIGHT.get(route)
            return answer(body=json.dumps(document).encode()) if document else by_default(question)
        hostile[0] += 1
        return Reply(seeds.mutate(chance, ANSWERS), chance.choice(("keep", "close", "close", "reset")))

    hooks.judge = judge
    for start in range(0, many, 8):
        await asyncio.gather(*(meet(broker, start + n, chance.choice((4, 5))) for n in range(8)))
    routes = {question.route.partition("?")[0] for question in hooks.questions}
    assert {"user", "changes", "clients"} <= routes, routes
    assert hostile[0] > many / 4
    assert broker.pid == pid
    hooks.judge = by_default
    await ends_clean(broker)


async def test_any_answer_is_survived(checked_plugin: Path, new_broker: Callable[..., Broker], hooks: Hooks) -> None:  # noqa: F811
    await hear_anything(checked_plugin, new_broker, hooks, 80)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_very_many_answers_are_survived(
    checked_plugin: Path,  # noqa: F811
    new_broker: Callable[..., Broker],
    hooks: Hooks,
) -> None:
    await hear_anything(checked_plugin, new_broker, hooks, 4000)


LOGIN = connect_packet("c", username="u", password="p", version=5)
PAIR = b"\x26" + field("a") + field("b")
# By the advisory that each comes from, a connection's bytes (reliability.md 5.1).
ADVISORIES: dict[str, list[bytes]] = {
    "CVE-2017-7650": [connect_packet(name, username=name, password="p") for name in ("#", "+", "a/+", "$", "/", "")],
    "CVE-2017-7651": [packet(CONNECT, b"\0\x04MQTT\x04\xc2\0\x3c" + b"\xff\xff" + b"x" * 60_000)],
    "CVE-2018-12543": [LOGIN + publish_packet(topic, b"x", version=5) for topic in ("$", "$x", "$SYS", "$SYSx/y", "")],
    "CVE-2021-34432": [LOGIN + packet(PUBLISH, b"\0\0"), LOGIN + packet(PUBLISH), LOGIN + packet(PUBLISH, bytes(4))],
    "CVE-2021-28166": [packet(2, b"\0\0"), LOGIN + packet(2, b"\0\0\0"), LOGIN + packet(2, b"")],
    "CVE-2021-34431": [connect_packet("c", username="u", password="p") * 50, LOGIN * 50],
    "CVE-2021-41039": [
        connect_packet("c", username="u", password="p", version=5, properties=PAIR * 3000),
        LOGIN + packet(PUBLISH, field("a") + b"\xf0\x2e" + PAIR * 850),
    ],
    "CVE-2023-0809": [bytes([kind << 4]) + b"\xff\xff\xff\x7f" for kind in range(16)],
    "CVE-2023-3592": [
        connect_packet("c", username="u", password="p", version=5, will=Will("a"), properties=b"\x17\x01"),
        packet(CONNECT, field("MQTT") + b"\x05\xc6\0\x3c\0" + field("c") + b"\x05\x01\x01\x23\0\x01" + PAIR[1:]),
    ],
    "CVE-2023-28366": [LOGIN + publish_packet("a", b"x", version=5, qos=2, packet_id=n % 3) * 200 for n in range(3)],
    "subscriptions": [
        LOGIN + packet(SUBSCRIBE, b"\0\x01\0", 2), LOGIN + subscribe_packet(1, ["/" * 60_000], version=5),
        LOGIN + subscribe_packet(1, ["+/" * 150 + "#"], version=5), LOGIN + subscribe_packet(0, ["a"], version=5),
        LOGIN + packet(SUBSCRIBE, b"\0\x01\x05\x0b\xff\xff\xff\xff" + field("a") + b"\0", 2),
        LOGIN + subscribe_packet(1, ["$share/g/a", "$share//a", "$share/g/", "$share/+/a"], version=5),
    ],
}  # fmt: skip
PACKETS = [data for packets in ADVISORIES.values() for data in packets]


def resident_kb(broker: Broker) -> int:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def attack(broker: Broker, data: bytes) -> None:
    async with await Client.open(broker.port) as client:
        await client.send(data)
        client.finish()
        while await client.read() is not None:
            pass


async def take_packets(checked_plugin: Path, new_broker: Callable[..., Broker], hooks: Hooks, many: int) -> None:  # noqa: F811
    """The advisories' own packets, then mutations of them; a good client is served all along."""
    broker = await start_checked(checked_plugin, new_broker)
    hooks.judge = lambda question: by_default(question)
    pid, chance = broker.pid, Random(20113)
    good = await broker.client("good")
    assert await good.subscribe("t") == 0
    for data in PACKETS:
        await attack(broker, data)
    before = resident_kb(broker)
    for _ in range(many // 20):
        await asyncio.gather(*(attack(broker, seeds.mutate(chance, PACKETS)) for _ in range(20)))
        assert await good.publish("t", b"x", 1) == 0
        assert (await good.message()) is not None
    # AddressSanitizer keeps what was freed for a while, 256 MB at most.
    assert resident_kb(broker) - before < 300 * 1024
    assert broker.pid == pid
    await good.disconnect()
    await ends_clean(broker)


async def test_packets_of_advisories(checked_plugin: Path, new_broker: Callable[..., Broker], hooks: Hooks) -> None:  # noqa: F811
    await take_packets(checked_plugin, new_broker, hooks, 400)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_very_many_packets(checked_plugin: Path, new_broker: Callable[..., Broker], hooks: Hooks) -> None:  # noqa: F811
    await take_packets(checked_plugin, new_broker, hooks, 20_000)
