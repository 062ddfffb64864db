"""A configuration's way through jsonb to the device: what comes out is what went in, on every way the same."""

from __future__ import annotations

import decimal
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.device_config import (
    Configuration,
    Value,
    from_document,
    map_passwords,
    parse,
    render_json,
    to_document,
)


def through_jsonb(document: Any) -> Any:
    """
    What Postgres gives back: numbers are kept as decimals, so 1e300 is read as a whole number of 301 digits, and zero
    has no sign.
    """

    class Written(float):
        def __repr__(self) -> str:
            return f"{decimal.Decimal(float.__repr__(self + 0.0)):f}"

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: walk(item) for name, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        return Written(value) if isinstance(value, float) else value

    def write(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ",".join(f"{json.dumps(name)}:{write(item)}" for name, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(write, value)) + "]"
        return repr(value) if isinstance(value, Written) else json.dumps(value)

    return json.loads(write(walk(document)))


def stored(configuration: Configuration) -> dict[str, dict[str, Value]]:
    return from_document(through_jsonb(to_document(configuration)))


def rendered(configuration: Configuration) -> str:
    """The bytes that count: 1 and 1.0 are equal in Python, but not on the wire."""
    return json.dumps(render_json(configuration), sort_keys=True)


def one(value: Value) -> dict[str, dict[str, Value]]:
    return {"component": {"parameter": value}}


def test_jsonb_keeps_large_floats_as_whole_numbers() -> None:
    assert through_jsonb({"x": 1e300}) == {"x": 10**300}
    assert isinstance(through_jsonb({"x": 1e300})["x"], int)


@pytest.mark.parametrize("number", [1e300, -1e300, 1e22, 0.1, 5e-324, 1.0, 0.0, 3.4028234663852886e38])
def test_a_float_survives_jsonb(number: float) -> None:
    for type_ in ("Float", "Double"):
        came = stored(one(Value(type=type_, clear=number)))["component"]["parameter"]
        assert came == Value(type=type_, clear=number)
        assert isinstance(came.clear, float)
        array = stored(one(Value(type=type_, clear=(number, 0.5))))["component"]["parameter"]
        assert array == Value(type=type_, clear=(number, 0.5))
        assert isinstance(array.clear, tuple)
        assert all(isinstance(item, float) for item in array.clear)


@pytest.mark.parametrize(
    "value",
    [
        Value(type="String", clear="x"),
        Value(type="String", clear=""),
        Value(type="String", clear=()),
        Value(type="String", clear=("a", "")),
        Value(type="Boolean", clear=False),
        Value(type="Boolean", clear=(True, False)),
        Value(type="Integer", clear=0),
        Value(type="Long", clear=2**63 - 1),
        Value(type="Long", clear=-(2**63)),
        Value(type="Character", clear="é"),
        Value(type="Password", sealed="k1.abc"),
        Value(type="Password", clear="x"),
    ],
)
def test_a_value_survives_jsonb(value: Value) -> None:
    came = stored(one(value))
    assert came == one(value)
    assert type(came["component"]["parameter"].clear) is type(value.clear)


def test_sealed_and_clear_are_told_apart_in_the_database() -> None:
    assert to_document(one(Value(type="Password", sealed="k1.abc"))) == {
        "component": {"parameter": {"type": "Password", "sealed": "k1.abc"}}
    }
    assert to_document(one(Value(type="String", clear=("a",)))) == {
        "component": {"parameter": {"type": "String", "value": ["a"]}}
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value(type="Long", clear=2**53 - 1), "9007199254740991"),
        (Value(type="Long", clear=-(2**53) + 1), "-9007199254740991"),
        (Value(type="Long", clear=2**53), '"9007199254740992"'),
        (Value(type="Long", clear=-(2**53)), '"-9007199254740992"'),
        (Value(type="Long", clear=2**63 - 1), '"9223372036854775807"'),
        (Value(type="Long", clear=(1, 2**53)), '[1, "9007199254740992"]'),
        (Value(type="Double", clear=1e300), "1e+300"),
        (Value(type="Double", clear=0.5), "0.5"),
        (Value(type="Boolean", clear=True), "true"),
        (Value(type="Boolean", clear=(True,)), "[true]"),
        (Value(type="String", clear=()), "[]"),
        (Value(type="String", clear="1"), '"1"'),
    ],
)
def test_a_device_reads_bare_values(value: Value, text: str) -> None:
    """RFC 7493: a whole number that a double cannot hold exactly is sent as text."""
    assert rendered(one(value)) == f'{{"component": {{"parameter": {text}}}}}'


scalars = {
    "Boolean": st.booleans(),
    "Byte": st.integers(-(2**7), 2**7 - 1),
    "Integer": st.integers(-(2**31), 2**31 - 1),
    "Long": st.integers(-(2**63), 2**63 - 1),
    "Float": st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
    | st.integers(-(10**6), 10**6),
    "Double": st.floats(-1e307, 1e307).map(lambda number: number + 0.0)
    | st.integers(-(10**306), 10**306)
    | st.integers(-3, 3),
    "String": st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cn"]), max_size=6),
    "Password": st.text("abc", max_size=6),
}


@st.composite
def typed_texts(draw: st.DrawFn) -> str:
    """A configuration as an administrator writes it, each parameter with its type or bare."""
    parameters: dict[str, Any] = {}
    for number in range(draw(st.integers(0, 5))):
        type_ = draw(st.sampled_from(sorted(scalars)))
        value = draw(scalars[type_] | st.lists(scalars[type_], max_size=3))
        bare = type_ in ("Boolean", "String", "Integer") and not isinstance(value, list) and draw(st.booleans())
        parameters[f"p{number}"] = value if bare else {"type": type_, "value": value}
    return json.dumps({"component": parameters})


@given(typed_texts())
def test_what_is_judged_at_creation_is_what_the_device_gets(text: str) -> None:
    """The size of an answer is checked before anything is stored: the way through the database must not change it."""
    configuration, problems = parse(text)
    assert problems == []
    assert rendered(stored(configuration)) == rendered(configuration)


@given(typed_texts())
def test_an_answer_is_the_same_each_time_it_is_read(text: str) -> None:
    """I12: a run stores what it answered with, once more through jsonb."""
    configuration = stored(parse(text)[0])
    assert rendered(stored(configuration)) == rendered(configuration)


def test_passwords_are_mapped_and_nothing_else() -> None:
    configuration = {
        "a": {"p": Value(type="Password", clear="x"), "q": Value(type="String", clear="x")},
        "b": {"r": Value(type="Password", sealed="k.y")},
        "c": {},
    }
    seen = []

    def hide(component: str, name: str, value: Value) -> Value:
        seen.append((component, name, value))
        return Value(type=value.type, clear="***")

    hidden = map_passwords(configuration, hide)
    assert seen == [("a", "p", configuration["a"]["p"]), ("b", "r", configuration["b"]["r"])]
    assert hidden == {
        "a": {"p": Value(type="Password", clear="***"), "q": Value(type="String", clear="x")},
        "b": {"r": Value(type="Password", clear="***")},
        "c": {},
    }
    assert configuration["a"]["p"].clear == "x"


def test_a_value_does_not_show_itself() -> None:
    assert "hunter2" not in repr(Value(type="Password", clear="hunter2"))
    assert "hunter2" not in repr(Value(type="Password", sealed="hunter2"))
