"""
What devices say of their lives on account brokers (BIRTH, APPS, DC, LWT; Kapua's life cycle), and what that means for
their connection's status beside the logins.

A broker that lets a client in under a client id that is connected ends the old connection and publishes its will: after
the new login, before the new BIRTH (Mosquitto 2.0). That end is the old connection's, and never marks the new one
(Kapua: "stealing link"). Nothing in it tells whose it is, so ends are counted: a login on top of a connection that was
born owes one.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.core.messages import is_text

# How exactly the hooks know when a login was, being written later: who was born within it was born of that login.
LOGIN_MARGIN = datetime.timedelta(seconds=0.5)
# A Kura BIRTH has some thirty metrics.
MOST_METRICS = 100
NAME_LENGTH = 255
VALUE_LENGTH = 4096
BIRTH_BYTES = 32 * 1024


class Said(enum.StrEnum):
    """The last level of the topic."""

    BIRTH = "BIRTH"
    APPS = "APPS"
    DC = "DC"
    LWT = "LWT"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A connection as it is stored. `ends_owed`: 1, the next end is an older connection's; -1, an end came early."""

    status: str | None = None
    status_at: datetime.datetime | None = None
    last_login_at: datetime.datetime | None = None
    born_at: datetime.datetime | None = None
    ends_owed: int = 0


@dataclass(frozen=True, kw_only=True)
class Topic:
    """`$EDC/{account}/{client id}/MQTT/{what}`, taken apart."""

    account: str
    client_id: str
    said: Said


def parse_topic(topic: str) -> Topic | None:
    """None: not a topic of the life cycle."""
    match topic.split("/"):
        case ["$EDC", account, client_id, "MQTT", said] if said in Said.__members__:
            return Topic(account=account, client_id=client_id, said=Said(said))
    return None


def subscriptions() -> tuple[str, ...]:
    """What the responder listens to on account brokers."""
    return tuple(f"$EDC/+/+/MQTT/{said}" for said in Said)


def decide_login(link: Link, login_at: datetime.datetime) -> Link:
    """A login that the hooks allowed; it may be written up to some seconds after what followed it."""
    born_of_it = _since(link.born_at, login_at - LOGIN_MARGIN)
    if _since(link.last_login_at, login_at) or (
        born_of_it and (link.status == "CONNECTED" or _since(link.status_at, login_at))
    ):
        return dataclasses.replace(link, last_login_at=max(link.last_login_at or login_at, login_at))
    if link.ends_owed == -1 and _since(link.status_at, login_at):
        return dataclasses.replace(link, last_login_at=login_at, ends_owed=0)
    born = link.last_login_at is not None and _since(link.born_at, link.last_login_at)
    stolen = link.status == "CONNECTED" and born
    connected = _with_status(link, "CONNECTED", login_at)
    return dataclasses.replace(connected, last_login_at=login_at, ends_owed=1 if stolen else 0)


def decide_life(link: Link, said: Said, now: datetime.datetime) -> Link:
    """What a message makes of the connection; the same where it changes nothing."""
    if said in (Said.BIRTH, Said.APPS):
        return dataclasses.replace(_with_status(link, "CONNECTED", now), born_at=now, ends_owed=0)
    if link.ends_owed == 1:
        return dataclasses.replace(link, ends_owed=0)
    status = "DISCONNECTED" if said is Said.DC else "MISSING"
    if link.status == "CONNECTED":
        return _with_status(link, status, now)
    # Its login is not written yet, or this is a second word about an end: what was said first stays.
    return dataclasses.replace(link, status=link.status or status, status_at=now, ends_owed=-1)


def _with_status(link: Link, status: str, at: datetime.datetime) -> Link:
    return link if link.status == status else dataclasses.replace(link, status=status, status_at=at)


def _since(moment: datetime.datetime | None, other: datetime.datetime) -> bool:
    return moment is not None and moment >= other


def read_birth(metrics: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Every metric that can be kept, in the order of their names: texts cut, bytes in base64; bounded in all."""
    facts: dict[str, str | int | float | bool] = {}
    for name in sorted(metrics)[:MOST_METRICS]:
        value = metrics[name]
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode("ascii")
        if isinstance(value, float) and not -1e308 <= value <= 1e308:  # JSON has no infinities and no NaN
            value = str(value)
        if isinstance(value, str):
            value = value[:VALUE_LENGTH]
            if not is_text(value, VALUE_LENGTH) and value:
                continue
        if is_text(name, NAME_LENGTH):
            facts[name] = value
        if len(json.dumps(facts)) > BIRTH_BYTES:
            del facts[name]
            break
    return facts
