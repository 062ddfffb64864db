"""The rules for names and passwords, each from its product page sentence (design D4, D5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.names import (
    check_client_id,
    check_provision_password,
    check_username,
    is_client_id,
    is_password,
    warn_client_id,
)
from service.core.problems import Problem
from tests.unit import vectors
from tests.unit.strategies import any_text


def short(row: dict[str, Any]) -> str:
    return vectors.shown(row["text"])


@pytest.mark.parametrize("row", vectors.rows("names", "client_ids"), ids=short)
def test_client_ids_as_in_the_table(row: dict[str, Any]) -> None:
    assert is_client_id(row["text"]) is (row["valid"] == 23)
    assert is_client_id(row["text"], 255) is (row["valid"] is not False)


@pytest.mark.parametrize("row", vectors.rows("names", "usernames"), ids=short)
def test_usernames_as_in_the_table(row: dict[str, Any]) -> None:
    assert (list(check_username(row["text"], "provision_username")) == []) is row["valid"]


@pytest.mark.parametrize("row", vectors.rows("names", "provision_passwords"), ids=short)
def test_provision_passwords_as_in_the_table(row: dict[str, Any]) -> None:
    """All broken rules at once."""
    assert [problem.rule for problem in check_provision_password(row["text"])] == row["rules"]


@pytest.mark.parametrize(
    ("length", "longest", "valid"),
    [
        (0, 23, False),
        (1, 23, True),
        (23, 23, True),
        (24, 23, False),
        (24, 255, True),
        (255, 255, True),
        (256, 255, False),
    ],
)
def test_a_client_id_has_1_to_23_characters_or_up_to_the_setting(length: int, longest: int, valid: bool) -> None:
    assert is_client_id("x" * length, longest) is valid
    assert (list(check_client_id("x" * length, longest)) == []) is valid


def test_no_setting_allows_more_than_255_characters() -> None:
    assert not is_client_id("x" * 256, 1000)


@pytest.mark.parametrize(("length", "valid"), [(2, False), (3, True), (255, True), (256, False)])
def test_a_username_has_3_to_255_characters(length: int, valid: bool) -> None:
    assert (list(check_username("x" * length, "provision_username")) == []) is valid


@pytest.mark.parametrize(
    ("password", "rules"),
    [
        ("aB-" + "x" * 8, ["too_short"]),
        ("aB-" + "x" * 9, []),
        ("aB-" + "x" * 69, []),
        ("aB-" + "x" * 70, ["too_long"]),
        # Two bytes at the edge: 72 bytes in 71 characters, 73 bytes in 72 characters.
        ("aB-" + "x" * 67 + "é", ["not_printable_ascii"]),
        ("aB-" + "x" * 68 + "é", ["too_long", "not_printable_ascii"]),
    ],
)
def test_a_password_has_12_characters_to_72_bytes(password: str, rules: list[str]) -> None:
    assert [problem.rule for problem in check_provision_password(password)] == rules


def test_each_problem_names_its_field_and_says_the_rule() -> None:
    (username,) = check_username("x", "provision_username")
    assert username == Problem(
        field="provision_username",
        rule="username",
        text="must be 3 to 255 characters long, and contain only alphanumeric characters and '-' or '_'",
    )
    (client_id,) = check_client_id("", 23)
    assert (client_id.field, client_id.rule) == ("client_id", "client_id")
    assert client_id.text == (
        "must follow the MQTT v3.1 naming convention: 1 to 23 characters of A-Z a-z 0-9 _ . : - without '::'"
    )
    (longer,) = check_client_id("", 255)
    assert "1 to 255 characters" in longer.text
    problems = list(check_provision_password("é" * 40))
    assert [(problem.field, problem.text) for problem in problems] == [
        ("provision_password", "must contain a lowercase character"),
        ("provision_password", "must contain an uppercase character"),
        ("provision_password", "must be at most 72 bytes long: bcrypt reads no further"),
        ("provision_password", "must be printable ASCII"),
    ]
    assert [problem.text for problem in check_provision_password("aB-")] == ["must be at least 12 characters long"]
    assert [problem.text for problem in check_provision_password("aBxxxxxxxxxxx")] == [
        "must contain a special character"
    ]


@given(any_text)
def test_any_text_can_be_checked(text: str) -> None:
    """Also lone surrogates, as command lines may hold; and no problem repeats the password."""
    list(check_client_id(text))
    list(check_username(text, "provision_username"))
    problems = list(check_provision_password(text))
    if len(text) > 5:
        assert not any(text in problem.text for problem in problems)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_connect_takes_every_password_that_creation_takes(password: str) -> None:
    if not list(check_provision_password(password)):
        assert is_password(password)


@pytest.mark.parametrize(
    ("password", "possible"),
    [
        ("", False),
        ("x", True),
        ("x" * 72, True),
        ("x" * 73, False),
        (" ~", True),
        ("pw\0", False),
        ("é", False),
        ("\n", False),
    ],
)
def test_a_password_is_possible_by_its_bytes_alone(password: str, possible: bool) -> None:
    assert is_password(password) is possible


def test_a_dot_is_allowed_but_warned_about() -> None:
    assert list(warn_client_id("gw-01")) == []
    (warning,) = warn_client_id("gw.0.1")
    assert "connects as 'gw-0-1'" in warning
