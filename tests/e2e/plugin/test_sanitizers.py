"""The plugin inside a real Mosquitto, under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.mqtt_raw import Client, Will, connect_packet, packet, publish_packet, subscribe_packet
from tests.e2e.plugin.broker import Broker, service_user
from tests.e2e.plugin.conftest import build
from tests.e2e.plugin.hooks_stub import ALLOW, DENY, TROUBLE, Hooks, Question, Reply, answer

pytestmark = pytest.mark.own_plugin


@pytest.fixture(scope="session")
def checked_plugin(plugin: Path, build_folder: Path) -> Path:
    """Built with the sanitizers."""
    build("asan", build_folder)
    return build_folder / "asan" / "provisioning.so"


def runtime() -> str:
    """Where the compiler keeps the sanitizer's library; it has to be the first one in the process."""
    found = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


async def start_checked(checked_plugin: Path, new_broker: Callable[..., Broker], **arguments: Any) -> Broker:
    """
    A broker whose every access to memory is looked at.

    It is started as the user that Mosquitto would become: after a change of user a process cannot be traced by its
    children, and LeakSanitizer looks for leaks from a child.
    """
    suppressions = Path(__file__).with_name("leaks.txt")
    broker = new_broker(plugin=checked_plugin, become=service_user(), **arguments)
    copy = broker.folder / "leaks.txt"
    copy.write_text(suppressions.read_text())
    broker.environment = {
        "LD_PRELOAD": runtime(),
        "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1:exitcode=99",
        "LSAN_OPTIONS": f"suppressions={copy}:print_suppressions=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    await broker.start()
    return broker


@pytest.fixture
async def checked(checked_plugin: Path, new_broker: Callable[..., Broker]) -> Broker:
    """With the usual options."""
    return await start_checked(checked_plugin, new_broker)


async def ends_clean(broker: Broker) -> None:
    """It is still there, ends when told so, and no sanitizer has spoken."""
    async with await Client.open(broker.port) as client:
        await client.connect("last", username="u", password="p")
    assert await broker.stop() == 0, broker.log
    for word in ("Sanitizer", "runtime error"):
        assert word not in broker.log, broker.log


async def test_everything_once(checked: Broker, hooks: Hooks) -> None:
    """Logins, refusals, deliveries, wills, takeovers, reloads, hooks that go and come back."""
    for version in (4, 5):
        kept = await checked.client("kept", version=version, clean=False)
        await kept.subscribe("t", 1)
        async with await checked.client("kept", version=version, clean=False) as again:
            for qos in (0, 1, 2):
                await again.publish("t", b"x", qos)
        with_will = await Client.open(checked.port, version=version)
        await with_will.connect("w", username="u", password="p", will=Will("t"))
        with_will.close()
        for reply in (DENY, TROUBLE, Reply(then="reset"), answer(body=b"{"), answer(body=b"x" * 100000)):
            hooks.judge = lambda _, reply=reply: reply  # type: ignore[misc]
            async with await Client.open(checked.port, version=version) as client:
                assert await client.connect("c", username="u", password="p") != 0
        hooks.judge = lambda _: ALLOW
        await checked.reload()
        await hooks.stop()
        await checked.reload()
        await hooks.start()
    await ends_clean(checked)


def hostile(chance: random.Random) -> bytes:
    """What no good client sends: names at the edge of what Mosquitto lets pass, or beyond; lengths and order wrong."""

    def noise() -> bytes:
        return bytes(chance.choices(range(256), k=chance.choice((0, 1, 5, 300))))

    def name() -> bytes:
        odd = (b"u", b'"', b"\\u0000", b"+", b"#", "é€😀\u2028".encode(), b"x" * 65535, b'"' * 60000)
        return chance.choice(odd) if chance.random() < 0.9 else noise()

    version = chance.choice((3, 4, 4, 4, 4, 5, 5, 5, 5, 255))
    data = connect_packet(
        name(),
        username=chance.choice((None, name(), name(), name())),
        password=chance.choice((None, name(), name(), noise(), b"a\0b")),
        version=version,
        clean=chance.random() < 0.5,
        will=chance.choice((None, None, Will(name(), noise(), chance.randrange(4)))),
        properties=chance.choice((b"",) * 8 + (b"\x11\xff\xff\xff\xff", b"\x15\0\x01x", noise())),
    )
    data += subscribe_packet(1, [name(), name()], version=version, qos=chance.randrange(4))
    data += publish_packet(name(), noise(), version=version, qos=chance.randrange(4), packet_id=chance.randrange(3))
    data += chance.choice((b"", packet(14), connect_packet("again"), packet(chance.randrange(16), noise())))
    if chance.random() < 0.2:
        spot = chance.randrange(len(data))
        data = data[:spot] + bytes([chance.randrange(256)]) + data[spot + 1 :]
    return data if chance.random() < 0.8 else data[: chance.randrange(len(data))]


async def test_hostile_clients(checked: Broker, hooks: Hooks) -> None:
    """2,000 connections of packets that are wrong in some way, hooks that are wrong at times, and SIGHUPs."""
    chance = random.Random(20111)
    replies = [ALLOW] * 6 + [DENY, TROUBLE, answer(body=b"\0"), Reply(then="close"), Reply(b"H", "reset")]

    def judge(question: Question) -> Reply:
        question.json  # whatever a client sends, the plugin's own JSON is right  # noqa: B018
        return chance.choice(replies)

    async def attack(data: bytes) -> None:
        async with await Client.open(checked.port) as client:
            await client.send(data)
            client.finish()
            while await client.read() is not None:
                pass

    hooks.judge = judge
    for index in range(50):
        await asyncio.gather(*(attack(hostile(chance)) for _ in range(40)))
        if index % 5 == 0:
            checked.signal(signal.SIGHUP)
    hooks.judge = lambda _: ALLOW
    asked = len(hooks.asked("user")), len(hooks.asked("acl"))
    assert min(asked) > 100, f"they get as far as the plugin: {asked}"
    await ends_clean(checked)
