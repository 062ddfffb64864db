"""The five overridden parameters always lose, however an additional configuration writes them (design 4.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.device_config import TRANSPORT, Value, is_overridden, parse, render_json, without_overridden
from tests.unit import vectors

FIVE = ("broker-url", "topic.context.account-name", "client-id", "clientId", "username", "password")


@pytest.mark.parametrize(
    "row",
    vectors.rows("device_config", "overridden"),
    ids=lambda row: vectors.shown(row["component"], row["parameter"]),
)
def test_what_provisioning_owns_is_in_the_table(row: dict[str, Any]) -> None:
    assert is_overridden(row["component"], row["parameter"]) is row["overridden"]


def test_the_rest_of_the_transport_stays() -> None:
    configuration, problems = parse(
        json.dumps({TRANSPORT: {"broker-url": "mqtt://evil", "keep-alive": 30}, "com.acme.Ftp": {"password": "x"}})
    )
    assert problems == []
    assert without_overridden(configuration) == {
        TRANSPORT: {"keep-alive": Value(type="Integer", clear=30)},
        "com.acme.Ftp": {"password": Value(type="String", clear="x")},
    }


def test_a_transport_of_which_nothing_is_left_stays_as_an_empty_component() -> None:
    configuration, _ = parse(json.dumps({TRANSPORT: {"username": "x"}}))
    assert without_overridden(configuration) == {TRANSPORT: {}}


@st.composite
def cased(draw: st.DrawFn, text: str) -> str:
    """The text with each letter's case drawn anew, perhaps with space around."""
    flips = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    mixed = "".join(c.upper() if flip else c.lower() for c, flip in zip(text, flips, strict=True))
    return draw(st.sampled_from(["", " ", "\t", "\u00a0"])) + mixed + draw(st.sampled_from(["", " ", "\n", "\u2003"]))


@st.composite
def transports(draw: st.DrawFn) -> str:
    """The transport or a named instance of it, in any case."""
    return draw(cased(TRANSPORT)) + draw(st.sampled_from(["", "-2", "-1700000000-3", ".named", "Instance"]))


owned = st.sampled_from(FIVE).flatmap(cased)
free = st.sampled_from(["keep-alive", "timeout", "lwt.topic", "name"])
values = st.one_of(
    st.text("ab", max_size=3),
    st.integers(-5, 5),
    st.none(),
    st.just([]),
    st.just({"type": "Password", "value": "evil"}),
    st.just({"type": "nothing"}),
)


@given(
    st.lists(st.tuples(transports(), owned, values), max_size=6),
    st.lists(st.tuples(transports(), free, st.integers(0, 9)), max_size=3, unique_by=lambda row: row[:2]),
)
def test_however_they_are_written_they_lose(rows: list[tuple[str, str, Any]], kept: list[tuple[str, str, int]]) -> None:
    """
    In any case, order and number, in any instance, with values good or bad: nothing of them is left and nothing of them
    is a problem.
    """
    components: dict[str, list[str]] = {}
    for component, parameter, value in [*rows, *kept]:
        components.setdefault(component, []).append(f"{json.dumps(parameter)}:{json.dumps(value)}")
    text = "{" + ",".join(f"{json.dumps(name)}:{{{','.join(body)}}}" for name, body in components.items()) + "}"
    configuration, problems = parse(text)
    assert all(problem.rule == "component_name" for problem in problems)  # space around a component's name is one
    left = without_overridden(configuration)
    assert {(component, name) for component, parameters in left.items() for name in parameters} == {
        (component, name) for component, name, _ in kept
    }


def test_a_duplicate_of_an_overridden_parameter_is_no_problem_but_every_other_is() -> None:
    owned_twice = f'{{"{TRANSPORT}":{{"password":"a","PASSWORD":"b","password":null}}}}'
    assert parse(owned_twice)[1] == []
    other_twice = f'{{"{TRANSPORT}":{{"password":"a","keep-alive":1,"keep-alive":2}}}}'
    assert [problem.rule for problem in parse(other_twice)[1]] == ["duplicate_parameter"]
    elsewhere_twice = '{"com.acme.Ftp":{"password":"a","password":"b"}}'
    assert [problem.rule for problem in parse(elsewhere_twice)[1]] == ["duplicate_parameter"]


@pytest.mark.parametrize("name", FIVE)
def test_the_rendered_configuration_holds_none_of_them(name: str) -> None:
    configuration, _ = parse(json.dumps({TRANSPORT: {name: "evil", "timeout": 1}, f"{TRANSPORT}-2": {name: "evil"}}))
    rendered = render_json(without_overridden(configuration))
    assert rendered == {TRANSPORT: {"timeout": 1}, f"{TRANSPORT}-2": {}}
