"""
Malformed payloads to the running responder, on every topic that a device may write (G8, T27): it goes on, takes each
message off the broker, grows by nothing, and answers the next good ask.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import urllib.request
from pathlib import Path
from random import Random

import pytest

from embedded.processes import Managed
from tests.e2e.mqtt_raw import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, field, number, packet
from tests.fuzz import seeds
from tests.support import figures
from tests.support.database import PASSWORD, make_request
from tests.support.devices import ask, connect, eventually, reply
from tests.support.world import World

# Below what the responder hears of one client in one go (listener.py), so that each message gets to its reader.
EACH = 90
LARGEST = 64_000
GROWTH_MB = 10.0
GOAL_SECONDS = 1.0

JSON_TOPICS = ("prov/v1/{0}/request", "prov/v1/{0}/status")
KURA_TOPICS = (
    "$EDC/provision/{0}/MQTT/PROV", "$EDC/provision/{0}/MQTT/BIRTH", "$EDC/provision/~{0}/DEPLOY-V2/REPLY/1",
    "$EDC/provision/~{0}/CONF-V1/REPLY/\u20281", "$EDC/provision/~{0}/DEPLOY-V2/NOTIFY/{0}/download",
    "$EDC/provision/~{0}/DEPLOY-V2/NOTIFY/{0}/install",
)  # fmt: skip
TOPICS = (*JSON_TOPICS, *KURA_TOPICS)

# Properties of a PUBLISH that a broker hands on (MQTT 5, 3.3.2.3): ours has to read past them.
PROPERTIES = (
    b"", b"\x01\0", b"\x01\x01", b"\x02\0\0\0\x3c", b"\x03" + field("x"), b"\x03" + field(""), b"\x08" + field("a/b"),
    b"\x09" + field(b"\xff\0"), b"\x09" + field(b"x" * 1000), b"\x26" + field("a") + field("b"),
    (b"\x26" + field("") + field("\u2028")) * 50, b"\x03" + field("x" * 5000) + b"\x08" + field("y") + b"\x01\x01",
)  # fmt: skip


async def publish(client: Client, topic: str, payload: bytes, chance: Random) -> bool:
    """At QoS 1 or 2, with properties where there are some; whether the broker took it."""
    own = b""
    if client.version == 5:
        properties = chance.choice(PROPERTIES)
        own = number(len(properties)) + properties
    qos = chance.choice((1, 1, 1, 2))
    await client.send(packet(PUBLISH, field(topic) + b"\0\x01" + own + payload, qos << 1))
    if qos == 1:
        answer = await client.read(PUBACK)
        return answer is not None and answer.reason(client.version) == 0
    answer = await client.read(PUBREC)
    if answer is None or answer.reason(client.version) != 0:
        return False
    await client.send(packet(PUBREL, b"\0\x01", 2))
    return await client.read(PUBCOMP) is not None


class Attack:
    """Devices that mean no good, and what the broker took of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.taken = 0
        self._seeds = [data for name in ("ask", "kura_payload") for data in seeds.all_of(name)]

    async def run(self, client_id: str, payloads: list[bytes], chance: Random) -> None:
        """One device."""
        client: Client | None = None
        for count, payload in enumerate(payloads):
            topic = TOPICS[(count + len(client_id)) % len(TOPICS)]
            if client is None:
                client = await self._connect(client_id, chance)
            if await publish(client, topic.format(client_id), payload[:LARGEST], chance):
                self.taken += 1
            else:
                client.close()
                client = None
        if client is not None:
            await client.disconnect()

    async def _connect(self, client_id: str, chance: Random) -> Client:
        return await connect(self.world, client_id, f"factory-{client_id}", version=chance.choice((4, 5)))

    def mutated(self, chance: Random, many: int) -> list[bytes]:
        """Payloads of either wire."""
        return [seeds.mutate(chance, self._seeds) for _ in range(many)]


def counts(responder: Managed) -> dict[str, int]:
    """What became of the messages it was given, by outcome."""
    port = responder.environment["PROVISION_RESPONDER_METRICS_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    found: dict[str, int] = {}
    for outcome, times in re.findall(r'^responder_messages_total\{kind="\w+",outcome="(\w+)"\} (\S+)$', text, re.M):
        found[outcome] = found.get(outcome, 0) + int(float(times))
    return found


def resident_mb(process: Managed) -> float:
    """Memory of a process."""
    status = Path(f"/proc/{process.pid()}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


async def good_ask(world: World, client_id: str) -> float:
    """Seconds to the answer of a device that does as it should."""
    await make_request(world.admin, client_id)
    client = await connect(world, client_id, f"factory-{client_id}", PASSWORD)
    assert await client.subscribe(f"prov/v1/{client_id}/reply") == 0
    began = time.monotonic()
    await ask(client, client_id)
    assert (await reply(client))["result"] == "accepted"
    await client.disconnect()
    return time.monotonic() - began


async def attack(world: World, devices: int, at_once: int, command: str) -> None:
    """
    25 and more poison messages first, then so many devices with EACH mutated ones.

    Growth is from the end of the first group on: until then connections to Postgres are opened and caches filled.
    """
    budget = {"PROVISION_SLOW_HASH_RATE": "1000", "PROVISION_SLOW_HASH_BURST": "1000"}
    world.hooks.environment = {**world.hooks.environment, **budget}
    world.start()
    for index in range(devices + 1):
        await make_request(world.admin, f"bad-{index}")
    attackers, pid = Attack(world), world.responder.pid()
    await attackers.run("bad-0", [data for data in seeds.POISON for _ in TOPICS][: EACH - 1], Random(0))
    first = await good_ask(world, "good-1")
    sizes: list[float] = []

    async def all_handled() -> bool:
        return sum(counts(world.responder).values()) >= attackers.taken + 1

    for start in range(1, devices + 1, at_once):
        group = range(start, min(start + at_once, devices + 1))
        chances = {index: Random(index) for index in group}
        await asyncio.gather(
            *(attackers.run(f"bad-{n}", attackers.mutated(chance, EACH), chance) for n, chance in chances.items())
        )
        await eventually(all_handled, patience=600)
        sizes.append(resident_mb(world.responder))
    after = await good_ask(world, "good-2")
    handled, grown = counts(world.responder), sizes[-1] - sizes[0]
    assert world.responder.pid() == pid
    await check_nothing_waits(world)
    good = handled == {"done": attackers.taken + 2} and grown <= GROWTH_MB
    reached = (
        f"{attackers.taken} taken by the broker, {handled.get('done', 0) - 2} handled, 0 exits, 0 un-acknowledged, "
        f"RSS {grown:+.1f} MB, next good ask {first:.2f} s and {after:.2f} s"
    )
    asked = f"0 exits, 0 un-acknowledged, RSS + <= {GROWTH_MB:.0f} MB, next good ask <= {GOAL_SECONDS:.0f} s"
    figures.record("G8", "malformed payloads to the responder", asked, reached, command, good)
    assert handled == {"done": attackers.taken + 2}
    assert attackers.taken > devices * EACH * 0.9
    assert grown <= GROWTH_MB


async def check_nothing_waits(world: World) -> None:
    """Killed and started again, it is given nothing of all that: each message was acknowledged."""
    log = world.responder.log.read_text()
    assert log.count('"responder_active"') == 2, "once at each broker: no connection was lost"
    world.responder.kill()
    world.start(world.responder)
    await good_ask(world, "good-3")
    assert counts(world.responder) == {"done": 1}


async def test_the_responder_takes_poison(stopped_world: World) -> None:
    await attack(stopped_world, 6, 3, "make test")


@pytest.mark.long
@pytest.mark.timeout(1500)
async def test_the_responder_takes_20_000_poisoned_messages(stopped_world: World) -> None:
    await attack(stopped_world, int(os.environ.get("POISONERS", "230")), 20, "make test-long")
