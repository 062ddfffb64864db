"""Filters and topics (MQTT 5, section 4.7), against a table and against a matcher written differently."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.core.topics import covers, is_filter, is_topic
from tests.unit import vectors
from tests.unit.strategies import any_text

LEVELS = ("", "a", "b", "$x", "$share")
levels = st.sampled_from(LEVELS)
topics = st.lists(levels, min_size=1, max_size=5).map("/".join)


@st.composite
def filters(draw: st.DrawFn) -> str:
    """Well-formed: levels and `+`, perhaps `#` at the end."""
    parts = draw(st.lists(st.one_of(levels, st.just("+")), max_size=4))
    if draw(st.booleans()) or not parts:
        parts.append("#")
    return "/".join(parts)


def matches(wildcards: list[str], topic: list[str]) -> bool:
    """The words of section 4.7 level by level: `#` takes any rest, an empty one as well; `+` takes one level."""
    if not wildcards:
        return not topic
    first, *rest = wildcards
    if first == "#":
        return not rest
    if not topic:
        return False
    return first in ("+", topic[0]) and matches(rest, topic[1:])


def is_matched(wildcards: str, topic: str) -> bool:
    """4.7.2: a filter that begins with a wildcard does not match a topic that begins with `$`."""
    if topic.startswith("$") and wildcards[:1] in ("+", "#"):
        return False
    return matches(wildcards.split("/"), topic.split("/"))


# `other` stands for every level that no filter here names.
EVERY_TOPIC = ["/".join(parts) for n in range(1, 5) for parts in itertools.product(("", "a", "$x", "other"), repeat=n)]


@st.composite
def short_filters(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.sampled_from(["", "a", "$x", "+"]), max_size=3))
    if len(parts) < 3 and (draw(st.booleans()) or not parts):
        parts.append("#")
    return "/".join(parts)


@pytest.mark.parametrize(
    "row", vectors.rows("topics", "covers"), ids=lambda row: vectors.shown(row["wide"], "covers", row["narrow"])
)
def test_covers_as_in_the_table(row: dict[str, Any]) -> None:
    assert covers(row["wide"], row["narrow"]) is row["covers"]


@pytest.mark.parametrize("row", vectors.rows("topics", "filters"), ids=lambda row: vectors.shown(row["text"]))
def test_a_filter_is_well_formed_or_not(row: dict[str, Any]) -> None:
    assert is_filter(row["text"]) is row["valid"]


@pytest.mark.parametrize("row", vectors.rows("topics", "topics"), ids=lambda row: vectors.shown(row["text"]))
def test_a_topic_is_well_formed_or_not(row: dict[str, Any]) -> None:
    assert is_topic(row["text"]) is row["valid"]


def test_a_filter_has_at_most_65535_bytes() -> None:
    assert is_filter("a" * 65535)
    assert not is_filter("a" * 65536)
    assert is_filter("é" * 32767)
    assert not is_filter("é" * 32768)


@given(any_text)
def test_the_shape_of_any_text_can_be_told(text: str) -> None:
    """Also of lone surrogates; and a topic is a filter without wildcards."""
    assert is_topic(text) is (is_filter(text) and not set("+#") & set(text))


@given(filters(), topics)
def test_a_concrete_topic_is_covered_where_it_is_matched(wildcards: str, topic: str) -> None:
    assert covers(wildcards, topic) is is_matched(wildcards, topic)


@given(st.one_of(filters(), topics))
def test_covers_is_reflexive(wildcards: str) -> None:
    assert covers(wildcards, wildcards)


@st.composite
def narrowing(draw: st.DrawFn, wildcards: str) -> str:
    """A filter or topic that matches no more: wildcards kept or filled in."""
    parts: list[str] = []
    for part in wildcards.split("/"):
        if part == "+":
            parts.append(draw(st.sampled_from(["+", "", "a"])))
        elif part == "#":
            parts += draw(st.lists(st.sampled_from(["+", "", "b"]), max_size=2, min_size=0 if parts else 1))
            parts += draw(st.sampled_from([[], ["#"]]))
        else:
            parts.append(part)
    return "/".join(parts)


@given(st.data(), filters())
def test_what_is_narrowed_is_covered_and_so_is_what_is_narrowed_further(data: st.DataObject, wide: str) -> None:
    middle = data.draw(narrowing(wide))
    narrow = data.draw(narrowing(middle))
    assert covers(wide, middle)
    assert covers(middle, narrow)
    assert covers(wide, narrow)


@given(filters(), filters(), st.one_of(filters(), topics))
def test_covers_is_transitive(wide: str, middle: str, narrow: str) -> None:
    """The case that matters: what a covered subscription delivers is covered too."""
    if covers(wide, middle) and covers(middle, narrow):
        assert covers(wide, narrow)


@given(short_filters(), short_filters())
def test_a_covered_filter_matches_nothing_more(wide: str, narrow: str) -> None:
    """Over every topic of four levels: covered, where no topic of `narrow` is outside of `wide`."""
    assume((wide, narrow) != ("+/#", "#"))  # the one pair where `covers` is more careful than it need be
    outside = [t for t in EVERY_TOPIC if is_matched(narrow, t) and not is_matched(wide, t)]
    assert covers(wide, narrow) is (not outside), outside[:3]


@given(filters())
def test_nothing_in_front_of_a_dollar_is_a_wildcard(wildcards: str) -> None:
    if wildcards.startswith(("+", "#")):
        assert not covers(wildcards, "$SYS")
        assert not covers(wildcards, "$share/x/" + wildcards)
