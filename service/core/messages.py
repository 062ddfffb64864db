"""
The JSON wire with devices (design 4.1, docs/protocol.md): bytes in, messages or `Malformed` out; answers to bytes.

Parsing is total: no payload, however hostile, raises. Times are RFC 3339 UTC.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.core.states import RunState

ID = re.compile(r"[\x20-\x7e]{1,64}", re.ASCII)
KEY_MAX_LENGTH = 128
MAX_BYTES = 16 * 1024
DEVICE_FIELD_MAX_LENGTH = 256
DEVICE_MAX_FIELDS = 16

STATUS_STATES: dict[str, RunState] = {
    "installing": RunState.APPS_INSTALLING,
    "installed": RunState.APPS_INSTALLED,
    "configuring": RunState.CONF_UPDATING,
    "applied": RunState.CONF_UPDATED,
    "failed": RunState.FAILED,
}

# What a device may learn. Everything else is `refused` on the wire and a reason in the event log (D10).
CODES = ("bad_message", "refused", "not_yet_active", "expired", "already_provisioned", "busy", "server_error")


@dataclass(frozen=True)
class Malformed:
    """A message that cannot be read. `reason` never holds any of its content; `id` is set where it could be read."""

    reason: str
    id: str | None = None

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A device asks to be provisioned. `id` is new for each ask and the same when it is repeated."""

    id: str
    activation_key: str | None = field(default=None, repr=False)
    seal: bool = False
    device: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far the device is. `run` is the token that its answer named."""

    run: str = field(repr=False)
    state: RunState
    step: str | None = None
    detail: str | None = None


class _Unreadable(ValueError):
    pass


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Unreadable("duplicate_field")
    return result


def _refuse_constant(_: str) -> None:
    raise _Unreadable("not_json")  # NaN and Infinity are not JSON


def _parse_object(payload: bytes) -> dict[str, Any] | Malformed:
    if len(payload) > MAX_BYTES:
        return Malformed("too_large")
    try:
        document = json.loads(
            payload.decode(),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except _Unreadable as unreadable:
        return Malformed(str(unreadable))
    except (ValueError, RecursionError):  # not UTF-8, not JSON, digits without end, nesting without end
        return Malformed("not_json")
    if not isinstance(document, dict):
        return Malformed("not_an_object")
    return document


def is_text(value: object, longest: int) -> bool:
    """Text that Postgres can keep: no NUL, no lone surrogate."""
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def parse_ask(payload: bytes) -> Ask | Malformed:
    """`{"id", "activation_key"?, "seal"?, "device"?}`; unknown and duplicate fields are refused."""
    document = _parse_object(payload)
    if isinstance(document, Malformed):
        return document
    ask_id = document.get("id")
    if not isinstance(ask_id, str) or not ID.fullmatch(ask_id):
        return Malformed("bad_id")
    if document.keys() - {"id", "activation_key", "seal", "device"}:
        return Malformed("unknown_field", ask_id)
    key = document.get("activation_key")
    if key is not None and not is_text(key, KEY_MAX_LENGTH):
        return Malformed("bad_activation_key", ask_id)
    seal = document.get("seal", False)
    if not isinstance(seal, bool):
        return Malformed("bad_seal", ask_id)
    device = document.get("device", {})
    if not _is_device(device):
        return Malformed("bad_device", ask_id)
    return Ask(id=ask_id, activation_key=key, seal=seal, device=device)


def _is_device(device: object) -> bool:
    return (
        isinstance(device, dict)
        and len(device) <= DEVICE_MAX_FIELDS
        and all(is_text(k, 64) and is_text(v, DEVICE_FIELD_MAX_LENGTH) for k, v in device.items())
    )


def parse_status(payload: bytes) -> Status | Malformed:
    """`{"run", "state", "step"?, "detail"?}`; unknown and duplicate fields are refused."""
    document = _parse_object(payload)
    if isinstance(document, Malformed):
        return document
    if document.keys() - {"run", "state", "step", "detail"}:
        return Malformed("unknown_field")
    run, state = document.get("run"), document.get("state")
    if not isinstance(run, str) or not is_text(run, 64) or not run:
        return Malformed("bad_run")
    if not isinstance(state, str) or state not in STATUS_STATES:
        return Malformed("bad_state")
    step, detail = document.get("step"), document.get("detail")
    if (step is not None and not is_text(step, 256)) or (detail is not None and not is_text(detail, 1024)):
        return Malformed("bad_text")
    return Status(run=run, state=STATUS_STATES[state], step=step, detail=detail)


def rfc3339(moment: datetime.datetime) -> str:
    """A moment as the wire writes it: UTC, milliseconds, `Z`."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def encode(document: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def encode_refused(
    *,
    ask_id: str | None,
    code: str,
    now: datetime.datetime,
    correlation_id: str,
    retry_after: int | None = None,
    not_before: datetime.datetime | None = None,
) -> bytes:
    """The `refused` answer. `id` is left out where the ask's could not be read; `retry_after` is in seconds."""
    assert code in CODES
    document: dict[str, Any] = {"id": ask_id} if ask_id is not None else {}
    document |= {"result": "refused", "code": code}
    if retry_after is not None:
        document["retry_after"] = retry_after
    if not_before is not None:
        document["not_before"] = rfc3339(not_before)
    document |= {"server_time": rfc3339(now), "correlation_id": correlation_id}
    return encode(document)
