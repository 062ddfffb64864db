"""The responder's operations without MQTT: asks and statuses as bytes."""

from __future__ import annotations

import itertools
import json
from typing import Any

from service.core import derivation
from service.operations.asks import Desk

_clock = itertools.count(0, 10)  # ten seconds between two messages: rates never bind by chance


async def ask(desk: Desk, client_id: str, **fields: Any) -> dict[str, Any]:
    """Ask, and read the reply."""
    payload = json.dumps({"id": "ask-1", **fields}).encode()
    reply = await desk.ask(client_id, payload, next(_clock))
    assert reply is not None
    document: dict[str, Any] = json.loads(reply)
    return document


async def say(desk: Desk, client_id: str, run: str, state: str, **fields: Any) -> None:
    """A status message."""
    await desk.status(client_id, json.dumps({"run": run, "state": state, **fields}).encode(), next(_clock))


def open_answer(reply: dict[str, Any], client_id: str, activation_key: str) -> dict[str, Any]:
    """What a sealed answer says."""
    clear = derivation.open_answer(
        activation_key=activation_key, ask_id=reply["id"], client_id=client_id, sealed=reply["sealed"]
    )
    opened: dict[str, Any] = json.loads(clear)
    return opened
