"""
What devices say of their lives on account brokers (BIRTH, APPS, DC, LWT; Kapua's life cycle), and what that means for
their connection's status beside the logins.

A broker that lets a client in under a client id that is connected ends the old connection and publishes its will: after
the new login, before the new BIRTH (Mosquitto 2.0). That end is the old connection's, and never marks the new one
(Kapua: "stealing link"). Nothing in it tells whose it is, so ends are counted: a login on top of a connection that was
born owes one.

A broker with our plugin tells of connections as well: it knows which one ended, and not why. So an end is MISSING for
who was ever born, as a gateway says DC first, and DISCONNECTED for who never says anything of itself; a DC or will that
comes after it has the last word on it.
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
LARGEST_NUMBER = 1e308


class Said(enum.StrEnum):
    """The last level of the topic."""

    BIRTH = "BIRTH"
    APPS = "APPS"
    DC = "DC"
    LWT = "LWT"


@dataclass(frozen=True, kw_only=True)
class Link:
    """
    A connection as it is stored. `ends_owed`: 1, the next end is an older connection's; -1, an end came early.

    `ended_at`: when, as its broker told, the last connection ended; None while there is one.
    """

    status: str | None = None
    status_at: datetime.datetime | None = None
    last_login_at: datetime.datetime | None = None
    born_at: datetime.datetime | None = None
    ends_owed: int = 0
    ended_at: datetime.datetime | None = None

    @property
    def unexplained(self) -> bool:
        """Its broker told of an end, and the device has said nothing of it."""
        return self.ended_at is not None and self.ended_at == self.status_at


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


def decide_login(link: Link, login_at: datetime.datetime, *, elsewhere: bool = False) -> Link:
    """
    A login that the hooks allowed; it may be written up to some seconds after what followed it.

    `elsewhere`: at another broker than the last one, so what that one told is of an older connection.
    """
    born_of_it = _since(link.born_at, login_at - LOGIN_MARGIN)
    if _since(link.last_login_at, login_at) or (
        born_of_it and (link.status == "CONNECTED" or _since(link.status_at, login_at))
    ):
        return dataclasses.replace(link, last_login_at=max(link.last_login_at or login_at, login_at))
    if link.ends_owed == -1 and _since(link.status_at, login_at):
        return dataclasses.replace(link, last_login_at=login_at, ends_owed=0)
    if not elsewhere and _since(link.ended_at, login_at):
        return dataclasses.replace(link, last_login_at=login_at)
    stolen = link.status == "CONNECTED" and link.last_login_at is not None and _since(link.born_at, link.last_login_at)
    word_to_come = link.unexplained and link.born_at is not None
    connected = _with_status(link, "CONNECTED", login_at)
    return dataclasses.replace(
        connected, last_login_at=login_at, ends_owed=1 if stolen or word_to_come else 0, ended_at=None
    )


def decide_life(link: Link, said: Said, now: datetime.datetime) -> Link:
    """What a message makes of the connection; the same where it changes nothing."""
    if said in (Said.BIRTH, Said.APPS):
        return dataclasses.replace(_with_status(link, "CONNECTED", now), born_at=now, ends_owed=0, ended_at=None)
    if link.ends_owed == 1:
        return dataclasses.replace(link, ends_owed=0)
    status = "DISCONNECTED" if said is Said.DC else "MISSING"
    if link.status == "CONNECTED":
        return _with_status(link, status, now)
    if link.unexplained:
        return dataclasses.replace(link, status=status, status_at=now)
    # Its login is not written yet, or this is a second word about an end: what was said first stays.
    return dataclasses.replace(link, status=link.status or status, status_at=now, ends_owed=-1)


def decide_end(link: Link, at: datetime.datetime) -> Link:
    """The broker of the last login tells that nobody is connected under the client id any more, since then."""
    if link.last_login_at is None or link.last_login_at > at:
        return link
    if link.status == "CONNECTED":
        status = "MISSING" if link.born_at is not None else "DISCONNECTED"
        return dataclasses.replace(link, status=status, status_at=at, ended_at=at)
    if link.unexplained:
        return dataclasses.replace(link, status_at=at, ended_at=at)
    return dataclasses.replace(link, ended_at=at)


def decide_connected(link: Link, at: datetime.datetime) -> Link:
    """That broker tells that somebody is, since then: an end that it told before was an older one's."""
    if link.last_login_at is None or link.status == "CONNECTED":
        return link
    if not link.unexplained and _since(link.status_at, at):
        return link
    return dataclasses.replace(link, status="CONNECTED", status_at=at, ended_at=None)


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
            value = base64.b64encode(value).decode()
        if isinstance(value, float) and not abs(value) <= LARGEST_NUMBER:  # JSON has no infinities and no NaN
            value = str(value)
        if isinstance(value, str):
            value = value[:VALUE_LENGTH]
            if not is_text(value, VALUE_LENGTH):
                continue
        if is_text(name, NAME_LENGTH):
            facts[name] = value
        if len(json.dumps(facts)) > BIRTH_BYTES:
            del facts[name]
            break
    return facts
