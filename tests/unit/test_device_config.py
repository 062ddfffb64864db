"""Additional device configurations: what is read from JSON, which values fit which type, all problems at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import device_config
from service.core.device_config import TYPES, Value, parse
from tests.unit import vectors
from tests.unit.strategies import any_text


def read(raw: Any) -> tuple[Value | None, list[str]]:
    """One parameter: its value, and the rules it breaks."""
    return read_text(json.dumps(raw))


def read_text(raw: str) -> tuple[Value | None, list[str]]:
    configuration, problems = parse(f'{{"component":{{"parameter":{raw}}}}}')
    return configuration.get("component", {}).get("parameter"), [problem.rule for problem in problems]


def rules(text: str) -> list[str]:
    return [problem.rule for problem in parse(text)[1]]


def test_components_hold_parameters_that_hold_values() -> None:
    configuration, problems = parse('{"a.b": {"rate": 5, "name": {"type": "Password", "value": "x"}}, "c": {}}')
    assert problems == []
    assert configuration == {
        "a.b": {"rate": Value(type="Integer", clear=5), "name": Value(type="Password", clear="x")},
        "c": {},
    }


def test_an_empty_configuration_is_one() -> None:
    assert parse("{}") == ({}, [])


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("x", Value(type="String", clear="x")),
        ("", Value(type="String", clear="")),
        (True, Value(type="Boolean", clear=True)),
        (0, Value(type="Integer", clear=0)),
        (2**31 - 1, Value(type="Integer", clear=2**31 - 1)),
        (-(2**31), Value(type="Integer", clear=-(2**31))),
        (2**31, Value(type="Long", clear=2**31)),
        (-(2**31) - 1, Value(type="Long", clear=-(2**31) - 1)),
        (2**63 - 1, Value(type="Long", clear=2**63 - 1)),
        (0.5, Value(type="Double", clear=0.5)),
        (["a", "b"], Value(type="String", clear=("a", "b"))),
        ([True], Value(type="Boolean", clear=(True,))),
        ([1, 2], Value(type="Integer", clear=(1, 2))),
        ({"type": "String", "value": []}, Value(type="String", clear=())),
        ({"type": "Long", "value": [1, 2**40]}, Value(type="Long", clear=(1, 2**40))),
    ],
)
def test_a_bare_value_has_the_type_it_looks_like(raw: Any, value: Value) -> None:
    assert read(raw) == (value, [])


@pytest.mark.parametrize(
    "row", vectors.rows("device_config", "values"), ids=lambda row: vectors.shown(row["type"], row["json"])
)
def test_a_typed_value_fits_or_not(row: dict[str, Any]) -> None:
    value, broken = read_text(f'{{"type":"{row["type"]}","value":{row["json"]}}}')
    assert broken == ([] if row["fits"] else ["value"])
    assert (value is not None) is row["fits"]


@pytest.mark.parametrize(
    "row", vectors.rows("device_config", "values"), ids=lambda row: vectors.shown(row["type"], row["json"])
)
def test_an_array_fits_where_each_of_its_items_does(row: dict[str, Any]) -> None:
    assert read_text(f'{{"type":"{row["type"]}","value":[{row["json"]}]}}')[1] == ([] if row["fits"] else ["value"])


def test_every_type_has_values_that_fit_and_that_do_not() -> None:
    for fits in (True, False):
        assert {row["type"] for row in vectors.rows("device_config", "values") if row["fits"] is fits} == TYPES


@pytest.mark.parametrize(
    "raw",
    [
        "null",
        "[]",
        "[null]",
        "[[1]]",
        '[{"type":"Integer","value":1}]',
        "{}",
        '{"type":"String"}',
        '{"value":"x"}',
        '{"type":"String","value":"x","more":1}',
        '{"type":"string","value":"x"}',
        '{"type":"java.lang.String","value":"x"}',
        '{"type":null,"value":"x"}',
        '{"type":1,"value":"x"}',
        '{"type":["String"],"value":"x"}',
        '{"type":{"type":"String"},"value":"x"}',
        '{"type":"String","value":null}',
        '{"type":"String","value":{"type":"String","value":"x"}}',
        '{"type":"Integer","value":[[1]]}',
        '[1,"a"]',
        "[true,1]",
        '["a",true]',
        "9223372036854775808",
        "1e999",
        '"a\\u0000b"',
        '"\\ud800"',
    ],
)
def test_what_is_no_value_is_a_problem(raw: str) -> None:
    value, broken = read_text(raw)
    assert broken == ["value"]
    assert value is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "not_json"),
        ("{", "not_json"),
        ("\ufeff{}", "not_json"),
        ('{"a":{"b":NaN}}', "not_json"),
        ('{"a":{"b":-Infinity}}', "not_json"),
        ('{"a":{"b":' + "9" * 5_000 + "}}", "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"a":' * 100_000, "not_json"),
        ("null", "not_an_object"),
        ("[]", "not_an_object"),
        ("[[1]]", "not_an_object"),
        ('"x"', "not_an_object"),
        ('{"a":1}', "component"),
        ('{"a":null}', "component"),
        ('{"a":[]}', "component"),
        ('{"a":[["b",1]]}', "component"),
        ('{"":{}}', "component_name"),
        ('{" a":{}}', "component_name"),
        ('{"a\\u0000":{}}', "component_name"),
        ('{"\\ud800":{}}', "component_name"),
        ('{"a":{"":1}}', "parameter_name"),
        ('{"a":{"b ":1}}', "parameter_name"),
        ('{"a":{"\\udfff":1}}', "parameter_name"),
        ('{"a":{},"a":{}}', "duplicate_component"),
        ('{"a":{"b":1,"b":1}}', "duplicate_parameter"),
        ('{"a":{"b":1,"\\u0062":2}}', "duplicate_parameter"),
    ],
)
def test_what_is_no_configuration_is_one_problem(text: str, rule: str) -> None:
    assert rules(text) == [rule]


@pytest.mark.parametrize(("length", "broken"), [(255, []), (256, ["component_name"])])
def test_a_name_has_at_most_255_characters(length: int, broken: list[str]) -> None:
    assert rules(json.dumps({"x" * length: {}})) == broken
    assert rules(json.dumps({"a": {"x" * length: 1}})) == [rule.replace("component", "parameter") for rule in broken]


def test_there_are_bounds_on_components_and_parameters() -> None:
    assert rules(json.dumps({str(n): {} for n in range(1_000)})) == []
    assert rules(json.dumps({str(n): {} for n in range(1_001)})) == ["too_many"]
    assert rules(json.dumps({"a": {str(n): n for n in range(5_000)}, "b": {str(n): n for n in range(5_000)}})) == []
    assert rules(json.dumps({"a": {str(n): n for n in range(10_001)}})) == ["too_many"]


def test_all_problems_are_reported_at_once() -> None:
    text = '{"":{"p":null},"a":1,"b":{"p":1,"p":2,"q":[],"":3},"b":{"r":"\\u0000"}}'
    assert sorted(rules(text)) == [
        "component",
        "component_name",
        "duplicate_component",
        "duplicate_parameter",
        "parameter_name",
        "value",
        "value",
        "value",
    ]


def test_a_duplicate_is_reported_also_where_one_of_them_cannot_be_read() -> None:
    """Otherwise it would come to light only after the first problem was mended."""
    assert sorted(rules('{"a":{"b":null,"b":1}}')) == ["duplicate_parameter", "value"]
    assert sorted(rules('{"a":{"b":1,"b":null}}')) == ["duplicate_parameter", "value"]
    assert sorted(rules('{"a":1,"a":{}}')) == ["component", "duplicate_component"]


@pytest.mark.parametrize(
    "typed",
    [
        '{"type":"Integer","value":1,"value":2}',
        '{"type":"String","type":"Integer","value":1}',
        '{"type":"Password","type":"String","value":"x"}',
    ],
)
def test_a_typed_value_says_each_thing_once(typed: str) -> None:
    """Which of two values (or of Password and String) was meant, nobody can tell."""
    assert rules(f'{{"a":{{"b":{typed}}}}}') != []


def test_every_problem_is_about_the_configuration_and_shows_no_value() -> None:
    canary = "c4n4ry"
    text = json.dumps(
        {
            "a": {
                "b": {"type": "Password", "value": [canary, 1]},
                "c": {"type": canary, "value": canary},
                "d": [canary, 1],
            }
        }
    )
    _, problems = parse(text)
    assert [problem.field for problem in problems] == ["additional_device_configuration"] * 3
    assert not any(canary in str(problem) for problem in problems)
    assert canary not in repr(parse(json.dumps({"a": {"b": {"type": "Password", "value": canary}}})))


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.sampled_from(sorted(TYPES)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "value"]) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
).map(json.dumps)


@given(
    st.one_of(
        any_text,
        json_texts,
        json_texts.map(lambda text: f'{{"a":{text}}}'),
        json_texts.map(lambda text: f'{{"a":{{"b":{{"type":{text},"value":{text}}},"c":{text}}}}}'),
    )
)
def test_any_text_can_be_parsed(text: str) -> None:
    """Nothing raises; what has no problem can be stored and rendered."""
    configuration, problems = parse(text)
    if not problems:
        json.dumps(device_config.to_document(configuration), ensure_ascii=False).encode()
        json.dumps(device_config.render_json(configuration), allow_nan=False)


def told(text: str) -> list[str]:
    """As people read it."""
    return [problem.text for problem in parse(text)[1]]


VALUE = parse('{"a":{"p":null}}')[1][0].text.removeprefix("a.p: ")


def test_what_is_said_of_a_text_that_is_no_configuration() -> None:
    assert told("{") == ["must be JSON: {component: {parameter: value}}"]
    assert told("[]") == ["must be an object: {component: {parameter: value}}"]
    assert told('{"a":{},"a":{}}') == ["component 'a' is given twice"]
    assert told(json.dumps({str(n): {} for n in range(1_001)})) == ["at most 1000 components and 10000 parameters"]


def with_bad_parameters(count: int) -> str:
    """A component with so many, a good one behind them, and another component."""
    bad = {f"p{number}": None for number in range(count)}
    return json.dumps({"a": {**bad, "good": 1}, "b": {"good": 1}})


def test_a_hundred_problems_are_told_and_what_comes_after_is_not_read() -> None:
    configuration, problems = parse(with_bad_parameters(100))
    assert len(problems) == 100
    assert {name: list(parameters) for name, parameters in configuration.items()} == {"a": ["good"], "b": ["good"]}
    configuration, problems = parse(with_bad_parameters(101))
    assert [problem.text for problem in problems[99:]] == ["a.p99: " + VALUE, "has more than 100 problems"]
    assert {name: list(parameters) for name, parameters in configuration.items()} == {"a": []}
