"""Ten thousand guesses at an activation key: none is right, few cost a write, and the right one is still accepted."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.mqtt.client import Login
from service.mqtt.listener import MESSAGES_A_SECOND, MESSAGES_AT_ONCE, Incoming, Listener, Outgoing
from service.operations.asks import Desk
from tests.support.figures import record
from tests.support.scene import Device, Scene

GUESSES = 10_000
REQUEST, REPLY = "prov/v1/gw-1/request", "prov/v1/gw-1/reply"


@dataclass
class AskDesk:
    """The responder's desk for asks, counting them."""

    desk: Desk
    asked: int = 0

    def read(self, topic: str) -> Incoming:
        """Every message is an ask of the one device."""
        return Incoming(kind="request", client_id="gw-1", topic=topic)

    async def answer(self, _incoming: Incoming, payload: bytes) -> Sequence[Outgoing]:
        """As the responder does."""
        self.asked += 1
        reply = await self.desk.ask("gw-1", payload, time.monotonic())
        return [(REPLY, reply)] if reply is not None else []

    async def record_failure(self, _incoming: Incoming, _payload: bytes) -> Sequence[Outgoing]:
        """Nothing fails here."""
        raise AssertionError


@dataclass
class Broker:
    """What a listener needs of a connection: where replies go."""

    replies: list[dict[str, Any]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, topic: str, payload: bytes, *, expiry: int) -> None:
        """Keep the reply."""
        assert (topic, expiry) == (REPLY, 30)
        self.replies.append(json.loads(payload))


def guesses(key: str) -> list[bytes]:
    """Keys that are near the right one, and keys that are not."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    source = random.Random(20)
    near = [key[:-1], key + "a", key.upper(), key[::-1], f" {key}", f"{key}\n", ""]
    near += [key[:n] + ("b" if key[n] == "a" else "a") + key[n + 1 :] for n in range(len(key))]
    random_ones = ["".join(source.choices(alphabet, k=32)) for _ in range(GUESSES - len(near))]
    assert key not in (*near, *random_ones)
    return [json.dumps({"id": "g", "activation_key": guess}).encode() for guess in near + random_ones]


async def test_ten_thousand_guesses(scene: Scene) -> None:
    device: Device = await scene.request(generate_activation_key=True)
    key = device.activation_key or ""
    desk = AskDesk(scene.desk)
    login = Login(url="mqtt://127.0.0.1:1", client_id="~responder", username="~responder", password="")
    listener, broker = Listener(desk, login, (), broker="b", message_timeout=60), Broker()
    began = time.monotonic()
    for payload in guesses(key):
        await listener._handle(broker, REQUEST, payload)  # type: ignore[arg-type]
    share = MESSAGES_AT_ONCE + MESSAGES_A_SECOND * (time.monotonic() - began) + 1
    assert desk.asked <= share, "the rest is dropped before it costs a query"
    codes = [reply["code"] for reply in broker.replies]
    assert codes == ["refused"] * 10 + ["busy"] * (desk.asked - 10)
    request = await scene.database.fetch("SELECT state, key_failures, version FROM provision_requests")
    assert (request[0]["state"], request[0]["key_failures"]) == ("OPEN", desk.asked)
    assert (await scene.kinds()).count("ask_refused") == 10
    rows = await scene.database.value("SELECT count(*) FROM refusals")
    assert rows <= 2 + (time.monotonic() - began) / 60, "what is busy is one row a minute"
    good = json.dumps({"id": "mine", "activation_key": key}).encode()
    while broker.replies[-1]["id"] != "mine":  # until the client's share has room again
        await listener._handle(broker, REQUEST, good)  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
    assert broker.replies[-1]["result"] == "accepted", "while wrong ones are throttled"
    record(
        "G19",
        f"{GUESSES:,} guesses at an activation key",
        "0 hits, at most one write a batch, the right key accepted",
        f"0 hits, {desk.asked - 1} of them reached the database, the right key accepted",
        "make test",
        True,
    )
