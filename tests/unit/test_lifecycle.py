"""Status by logins and by what devices say, against tests/vectors/lifecycle.json."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import lifecycle
from service.core.lifecycle import (
    Link,
    Said,
    Topic,
    decide_connected,
    decide_end,
    decide_life,
    decide_login,
    parse_topic,
    read_birth,
)
from tests.unit import vectors
from tests.unit.strategies import any_text

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)


def at(seconds: float) -> datetime.datetime:
    return NOON + datetime.timedelta(seconds=seconds)


def step(link: Link, what: str, seconds: float) -> Link:
    match what:
        case "login" | "login_elsewhere":
            return decide_login(link, at(seconds), elsewhere=what == "login_elsewhere")
        case "end":
            return decide_end(link, at(seconds))
        case "connected":
            return decide_connected(link, at(seconds))
    return decide_life(link, Said(what), at(seconds))


@pytest.mark.parametrize("row", vectors.rows("lifecycle", "stories"), ids=lambda row: vectors.shown(row["name"]))
def test_a_story_goes_as_the_table_says(row: dict[str, Any]) -> None:
    link = Link()
    for what, seconds, status, owed in row["events"]:
        link = step(link, what, seconds)
        assert (link.status, link.ends_owed) == (status, owed), (what, seconds)
        assert link.last_login_at is not None or what != "login"


EVENTS = (*Said.__members__, "login", "login_elsewhere", "end", "connected")


@given(st.lists(st.sampled_from(EVENTS), max_size=20))
def test_who_is_connected_has_no_end(events: list[str]) -> None:
    """And whoever the broker tells is connected, after an end that it told, is."""
    link = Link()
    for seconds, what in enumerate(events):
        before, link = link, step(link, what, seconds)
        assert link.status != "CONNECTED" or link.ended_at is None
        assert not (before.unexplained and what == "connected") or link.status == "CONNECTED"
    assert decide_end(decide_login(link, at(100)), at(101)).status != "CONNECTED"


@given(st.lists(st.sampled_from(EVENTS), max_size=20))
def test_a_birth_is_always_the_last_word(events: list[str]) -> None:
    """Whatever came before, a BIRTH is CONNECTED, and the next will is MISSING."""
    link = Link()
    for seconds, what in enumerate(events):
        link = step(link, what, seconds)
        assert link.ends_owed in (-1, 0, 1)
    born = decide_life(link, Said.BIRTH, at(100))
    assert (born.status, born.ends_owed) == ("CONNECTED", 0)
    assert decide_life(born, Said.LWT, at(101)).status == "MISSING"
    assert decide_life(born, Said.DC, at(101)).status == "DISCONNECTED"
    stolen = decide_life(decide_login(decide_login(born, at(99)), at(200)), Said.LWT, at(201))
    assert stolen.status == "CONNECTED"


def test_when_it_became_so() -> None:
    """`status_at` moves with the status, and only then."""
    link = decide_login(Link(), at(1))
    assert link.status_at == at(1)
    assert decide_life(link, Said.BIRTH, at(2)).status_at == at(1)
    assert decide_life(link, Said.LWT, at(3)).status_at == at(3)


def after(*events: tuple[str, float]) -> Link:
    """What is kept of a connection once all that has happened."""
    link = Link()
    for what, seconds in events:
        link = step(link, what, seconds)
    return link


BORN = (("login", 1.0), ("BIRTH", 2.0))


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        # An older login that is written late is none: the newer one was the last.
        ((("login", 5), ("login", 4)), Link(status="CONNECTED", status_at=at(5), last_login_at=at(5))),
        # Its will came before it was written, after an end that was told before: it was, and is over.
        (
            (*BORN, ("DC", 5), ("LWT", 10.2), ("login", 10)),
            Link(status="DISCONNECTED", status_at=at(10.2), last_login_at=at(10), born_at=at(2)),
        ),
        # Alive again: since that BIRTH.
        (
            (*BORN, ("LWT", 9), ("BIRTH", 11)),
            Link(status="CONNECTED", status_at=at(11), last_login_at=at(1), born_at=at(11)),
        ),
        # The DC that explains an end says since when; when the connection ended stays.
        (
            (*BORN, ("end", 9), ("DC", 15)),
            Link(status="DISCONNECTED", status_at=at(15), last_login_at=at(1), born_at=at(2), ended_at=at(9)),
        ),
        # And the end that comes after the DC does not say it anew.
        (
            (*BORN, ("DC", 9), ("end", 9.1)),
            Link(status="DISCONNECTED", status_at=at(9), last_login_at=at(1), born_at=at(2), ended_at=at(9.1)),
        ),
        # Who is connected is so since before the broker tells it.
        ((("login", 1), ("connected", 5)), Link(status="CONNECTED", status_at=at(1), last_login_at=at(1))),
        # Who is not, since then, and has no end any more.
        (
            (("login", 1), ("end", 5), ("connected", 10)),
            Link(status="CONNECTED", status_at=at(10), last_login_at=at(1)),
        ),
    ],
)
def test_what_is_kept_of_a_connection(events: tuple[tuple[str, float], ...], kept: Link) -> None:
    assert after(*events) == kept


def test_a_login_whose_end_was_told_first_is_over() -> None:
    """Unless it was at another broker, which that end says nothing of."""
    ended = after(("login", 1), ("end", 10.2))
    over = Link(status="DISCONNECTED", status_at=at(10.2), last_login_at=at(10), ended_at=at(10.2))
    assert decide_login(ended, at(10)) == over
    connected = Link(status="CONNECTED", status_at=at(10), last_login_at=at(10))
    assert decide_login(ended, at(10), elsewhere=True) == connected


@pytest.mark.parametrize(
    ("events", "status", "owed"),
    [
        # Born half a second before the login, as the hooks know it, is born of it; else there were two.
        ((*BORN, ("login", 2.5)), "CONNECTED", 0),
        ((*BORN, ("login", 2.500001)), "CONNECTED", 1),
        # An end at the moment of the last login is that one's.
        ((("login", 5), ("end", 4.999999)), "CONNECTED", 0),
        ((("login", 5), ("end", 5)), "DISCONNECTED", 0),
        # And so is one that was told before the login was written.
        ((("login", 1), ("end", 5), ("login", 5)), "DISCONNECTED", 0),
        ((("login", 1), ("end", 5), ("login", 5.000001)), "CONNECTED", 0),
        # What the device said at that moment is newer than that the broker saw it come.
        ((("login", 1), ("DC", 3), ("connected", 3)), "DISCONNECTED", 0),
        ((("login", 1), ("DC", 3), ("connected", 3.000001)), "CONNECTED", 0),
    ],
)
def test_what_is_at_the_same_moment(events: tuple[tuple[str, float], ...], status: str, owed: int) -> None:
    link = after(*events)
    assert (link.status, link.ends_owed) == (status, owed)


@pytest.mark.parametrize(
    ("topic", "parsed"),
    [
        ("$EDC/acme/gw-1/MQTT/BIRTH", Topic(account="acme", client_id="gw-1", said=Said.BIRTH)),
        ("$EDC/acme/gw-1/MQTT/LWT", Topic(account="acme", client_id="gw-1", said=Said.LWT)),
        ("$EDC/acme/gw-1/MQTT/PROV", None),
        ("$EDC/acme/gw-1/MQTT/BIRTH/x", None),
        ("acme/gw-1/MQTT/BIRTH", None),
        ("$EDC/acme/gw-1/DEPLOY-V2/BIRTH", None),
    ],
)
def test_topics(topic: str, parsed: Topic | None) -> None:
    assert parse_topic(topic) == parsed


def test_what_is_listened_to_is_what_can_be_read() -> None:
    for filter_ in lifecycle.subscriptions():
        assert parse_topic(filter_.replace("+", "acme", 1).replace("+", "gw-1")) is not None


def test_every_metric_of_a_birth_is_kept() -> None:
    metrics = {
        "uptime": 12,
        "display_name": "Röhre 1",
        "load": 0.5,
        "is_up": True,
        "blob": b"\x00\xff",
        "nan": math.nan,
    }
    assert read_birth(metrics) == {
        "blob": "AP8=", "display_name": "Röhre 1", "is_up": True, "load": 0.5, "nan": "nan", "uptime": 12
    }  # fmt: skip


values = st.one_of(any_text, st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.binary())


@given(st.dictionaries(any_text, values, max_size=10))
def test_whatever_a_birth_holds_can_be_stored(metrics: dict[str, Any]) -> None:
    text = json.dumps(read_birth(metrics), allow_nan=False)
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode()


def test_a_birth_is_bounded() -> None:
    """In number, in length, and in all."""
    assert len(read_birth({f"m{n:04}": 1 for n in range(1000)})) == lifecycle.MOST_METRICS
    assert read_birth({"long": "x" * 100_000}) == {"long": "x" * lifecycle.VALUE_LENGTH}
    many = read_birth({f"m{n:02}": "x" * 4096 for n in range(99)})
    assert 5 < len(many) < 10


def test_a_metric_that_cannot_be_kept_costs_no_other_one() -> None:
    metrics = {"a": 1, "b": "\0", "c": "\ud800", "d\0": 2, "e": "", "f" * 255: 3, "f" * 256: 4}
    assert read_birth(metrics) == {"a": 1, "e": "", "f" * 255: 3}


def test_a_number_beyond_1e308_is_kept_as_text() -> None:
    """As infinities and NaN are, which JSON does not have."""
    beyond = math.nextafter(1e308, math.inf)
    assert read_birth({"a": 1e308, "b": -1e308, "c": beyond, "d": -beyond, "e": math.inf, "f": -math.inf}) == {
        "a": 1e308, "b": -1e308, "c": str(beyond), "d": str(-beyond), "e": "inf", "f": "-inf"
    }  # fmt: skip


def test_a_birth_has_at_most_32_kib_as_json_and_ends_where_it_would_have_more() -> None:
    full = {f"m{n}": "x" * 4096 for n in range(7)} | {"m7": "x" * 4016}
    assert len(json.dumps(full)) == 32 * 1024
    assert read_birth(full) == full
    kept = {name: full[name] for name in list(full)[:7]}
    assert read_birth({**full, "m7": "x" * 4017, "m8": 1}) == kept
