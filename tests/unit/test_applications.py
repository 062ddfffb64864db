"""Applications of a request: each field's rule, every problem with its application's place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from service.core.applications import check_applications, parse
from service.core.problems import Problem

GOOD = {"name": "heater", "version": "1.2.0", "url": "https://files.example/heater.dp", "sha256": "ab" * 32, "size": 1}
FIELDS = "name, version, url, sha256, size"


def rules(*applications: Any) -> list[str]:
    return [problem.rule for problem in check_applications(applications)]


def texts(problems: Iterable[Problem]) -> list[str]:
    return [str(problem) for problem in problems]


def test_good_ones_are_good() -> None:
    assert rules() == []
    assert rules(GOOD, {**GOOD, "name": "cooler", "size": 2**53 - 1, "url": "https://[::1]:8443/a?b=c#d"}) == []


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", " x", "x ", "x" * 256, "é", "a\nb", None, 5]),
        ("version", ["", "x" * 256, "1\0", 1.0]),
        ("url", ["", "http://h/x", "HTTPS://h/x", "https://", "https:///x", "https://u:p@h/x", "https://h/a b",
                 "https://h:0/", "https://h:99999/", "https://[::1/", "https://h/é", "https://h/" + "x" * 2048, None]),
        ("sha256", ["", "ab" * 31, "AB" * 32, "zz" * 32, "ab" * 32 + "\n", None, 5]),
        ("size", [0, -1, 2**53, 1.0, True, "1", None]),
    ],
)  # fmt: skip
def test_each_field_has_its_rule(field: str, values: list[Any]) -> None:
    for value in values:
        assert rules({**GOOD, field: value}) == [field], value


def test_what_is_wrong_with_an_application_is_said_in_words() -> None:
    broken = {"name": "", "version": None, "url": "http://h/x", "sha256": "AB", "size": 0, "sha1": "x"}
    assert texts(check_applications([GOOD, broken])) == [
        f"applications: 2: must have {FIELDS}, and nothing else",
        "applications: 2: name must have 1 to 255 printable ASCII characters",
        "applications: 2: version must have 1 to 255 printable ASCII characters",
        "applications: 2: url must be https://host/..., without user or password",
        "applications: 2: sha256 must have 64 lower-case hexadecimal characters",
        "applications: 2: size must be a number of bytes above 0",
    ]


@pytest.mark.parametrize("name", [None, 5, [], {}])
def test_a_name_that_is_no_text_is_refused_for_that_alone(name: Any) -> None:
    """Twice it is no name that is given twice."""
    assert rules({**GOOD, "name": name}, {**GOOD, "name": name}) == ["name", "name"]


def test_a_text_may_have_255_characters_and_a_url_2048() -> None:
    url = "https://h/" + "x" * 2038
    assert len(url) == 2048
    assert rules({**GOOD, "name": "x" * 255, "version": "1" * 255, "url": url}) == []
    assert rules({**GOOD, "name": "x" * 256}) == ["name"]
    assert rules({**GOOD, "version": "1" * 256}) == ["version"]
    assert rules({**GOOD, "url": url + "x"}) == ["url"]


def test_missing_and_unknown_fields_are_named() -> None:
    assert rules({name: value for name, value in GOOD.items() if name != "size"}) == ["fields"]
    assert rules({**GOOD, "sha1": "x"}) == ["fields"]
    assert rules({}) == ["fields"]


def test_all_problems_at_once_each_with_its_place() -> None:
    problems = list(check_applications([GOOD, {**GOOD, "size": 0, "url": "ftp://h/"}]))
    assert [(problem.field, problem.rule, problem.text[:2]) for problem in problems] == [
        ("applications", "url", "2:"),
        ("applications", "size", "2:"),
        ("applications", "duplicate", "2:"),
    ]


def test_there_are_at_most_nine() -> None:
    many = [{**GOOD, "name": f"application-{number}"} for number in range(10)]
    assert rules(*many[:9]) == []
    assert rules(*many) == ["too_many"]


def test_too_many_and_a_name_that_is_given_twice_are_said_in_words() -> None:
    many = [{**GOOD, "name": f"application-{number}"} for number in range(9)]
    assert texts(check_applications([*many, many[0]])) == [
        "applications: at most 9 applications",
        "applications: 10: the name is given twice",
    ]


def test_how_many_there_may_be_is_a_setting() -> None:
    assert [problem.rule for problem in check_applications([GOOD], 0)] == ["too_many"]
    many = [{**GOOD, "name": f"application-{number}"} for number in range(10)]
    assert list(check_applications(many, 10)) == []


def test_a_list_is_read_as_it_is() -> None:
    assert parse(json.dumps([GOOD, {**GOOD, "size": "x"}]).encode()) == ([GOOD, {**GOOD, "size": "x"}], [])
    assert parse(b"\xef\xbb\xbf []") == ([], [])


@pytest.mark.parametrize(
    ("data", "broken"),
    [
        (b"", ["not_a_list"]),
        (b"{}", ["not_a_list"]),
        (b'{"name":1}', ["not_a_list"]),
        (b"[" * 100_000, ["not_a_list"]),
        (b"[" + b"9" * 5_000 + b"]", ["not_a_list"]),
        (b"\xff", ["unreadable"]),
        (b"[1, [], null, {}]", ["fields", "fields", "fields"]),
        (b'[{"name": "a", "name": "a"}, {"size": 1, "size": 2}]', ["duplicate_field", "duplicate_field"]),
    ],
)
def test_what_is_no_list_of_applications_is_said(data: bytes, broken: list[str]) -> None:
    problems = parse(data)[1]
    assert [(problem.field, problem.rule) for problem in problems] == [("applications", rule) for rule in broken]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\xff", ["is not UTF-8"]),
        (b"{", [f"must be a JSON list of objects with {FIELDS}"]),
        (b'"applications"', [f"must be a JSON list of objects with {FIELDS}"]),
        (
            b'[{}, 1, {"size": 1, "size": 2}]',
            [f"2: must be an object with {FIELDS}", "3: a field is given twice"],
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_words_with_its_place(data: bytes, told: list[str]) -> None:
    assert texts(parse(data)[1]) == [f"applications: {text}" for text in told]
