"""Rows against requests that exist, and against one another."""

from __future__ import annotations

import dataclasses
import datetime
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from service import labels
from service.bulk_import import Seen
from service.core import imports, requests
from service.core.device_config import TRANSPORT, Value
from service.core.imports import CHANGED, REFUSED, UNCHANGED, Existing, Outcome, Row
from service.core.problems import Problem
from service.core.requests import Limits, NewRequest, StoredRequest, Surroundings, check_new
from service.core.states import RequestState
from service.import_results import Label

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
AROUND = Surroundings(account="acme", account_enabled=True, endpoints={"mqtt://a:1": 1, "mqtt://b:1": 1}, now=NOW)


def row(*given: str, line: int = 2, **values: Any) -> Row:
    new = {"client_id": "gw-1", "provision_username": "factory", "provision_password": "Factory-Password", **values}
    return Row(line=line, new=NewRequest(**new), given=frozenset((*new, *given)))


def existing(**changes: Any) -> Existing:
    stored = {
        "client_id": "gw-1", "state": RequestState.OPEN, "provision_endpoint": "mqtt://a:1", "activates_on": NOW,
        "expires_on": None, "attempts": 0, "device_connection_coupling": "INHERITED", "maximum_attempts": 5,
        "additional_device_configuration": {},
    }  # fmt: skip
    whole: dict[str, Any] = {
        "is_credential": True, "password_matches": True, "reserve_user": True, "enabled": True, "key_matches": False,
    }  # fmt: skip
    own = {name: changes.pop(name) for name in list(changes) if name in whole}
    return Existing(stored=StoredRequest(**{**stored, **changes}), **{**whole, **own})


def judge(row: Row, existing: Existing, *, update: bool = True) -> Outcome:
    return imports.judge_existing(row, existing, AROUND, Limits(), update=update)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("provision_endpoint", "mqtt://b:1"),
        ("activates_on", NOW + datetime.timedelta(microseconds=1)),
        ("expires_on", NOW + datetime.timedelta(days=1)),
        ("reserve_user", False),
        ("device_connection_coupling", "LOOSE"),
        ("additional_device_configuration", {"a": {"b": Value(type="Integer", clear=1)}}),
        ("applications", [{"name": "a", "version": "1", "url": "https://a/b", "sha256": "ab" * 32, "size": 1}]),
        ("maximum_attempts", 6),
        ("start_on_birth", True),
    ],
)
def test_each_field_that_differs_is_told_and_changed(name: str, value: Any) -> None:
    assert judge(row(**{name: value}), existing()).fields == (name,)
    refused = judge(row(**{name: value}), existing(), update=False)
    assert (refused.outcome, [problem.field for problem in refused.problems]) == (REFUSED, [name])
    # The same value is no change, nor is one that the row does not give.
    assert judge(row(**{name: value}), existing(**{name: value}), update=False).outcome == UNCHANGED
    assert judge(row(), existing(**{name: value}), update=False).outcome == UNCHANGED


def test_every_field_of_a_change_can_be_imported() -> None:
    changeable = {item.name for item in dataclasses.fields(requests.Changes)}
    assert changeable - {"new_activation_key", "remove_activation_key"} == set(imports.CHANGEABLE)
    named = {item.name for item in dataclasses.fields(NewRequest)}
    assert (named - {"generate_activation_key"}) | {"activation_key"} == set(imports.COLUMNS)


@pytest.mark.parametrize("wanted", [True, False, None])
@pytest.mark.parametrize("has_key", [True, False])
def test_the_presence_of_a_key(wanted: bool | None, has_key: bool) -> None:
    judged = judge(row("activation_key", generate_activation_key=wanted), existing(has_key=has_key))
    is_change = wanted is not None and wanted != has_key
    assert judged.outcome == (CHANGED if is_change else UNCHANGED)
    assert judged.needs_key == (is_change and wanted is True)


def test_secrets_are_told_apart_by_length_alone() -> None:
    def secret(clear: str) -> dict[str, dict[str, Value]]:
        return {"a": {"b": Value(type="Password", clear=clear)}}

    stored = existing(additional_device_configuration=imports.comparable(secret("one")))
    assert judge(row(additional_device_configuration=secret("two")), stored).outcome == UNCHANGED
    assert judge(row(additional_device_configuration=secret("three")), stored).outcome == CHANGED


def test_what_an_import_never_changes() -> None:
    for changes, field in (
        ({"is_credential": False}, "provision_username"),
        ({"password_matches": False}, "provision_username"),
        ({"enabled": False}, "enabled"),
        ({"state": RequestState.RUNNING}, "state"),
    ):
        judged = judge(row("enabled", maximum_attempts=9), existing(**changes))
        assert (judged.outcome, judged.fields, judged.needs_key) == (REFUSED, (), False)
        assert [problem.field for problem in judged.problems] == [field]


def differs(field: str, what_changes_it: str) -> Problem:
    text = f"is another one in the existing request; {what_changes_it}"
    return Problem(field=field, rule="differs", text=text)


def test_everything_that_differs_is_told_at_once_and_what_would_change_it() -> None:
    wanted = row(line=7, maximum_attempts=6, start_on_birth=True, enabled=False)
    assert judge(wanted, existing(is_credential=False), update=False) == Outcome(
        line=7,
        client_id="gw-1",
        outcome=REFUSED,
        problems=(
            differs("provision_username", "it is never changed"),
            differs("enabled", "`request enable` and `request disable` change it"),
            differs("maximum_attempts", "--update changes it"),
            differs("start_on_birth", "--update changes it"),
        ),
    )


def test_a_row_with_another_password_is_told_no_more_than_that_the_name_is_used() -> None:
    assert judge(row(), existing(password_matches=False)) == Outcome(
        line=2,
        client_id="gw-1",
        outcome=REFUSED,
        problems=(
            Problem(
                field="provision_username",
                rule="username_taken",
                text="is already used, or the password does not match the previously created provision user",
            ),
        ),
    )


@pytest.mark.parametrize(
    ("has_key", "wanted", "fields", "needs_key"),
    [
        (False, True, ("maximum_attempts", "activation_key"), True),
        (True, False, ("maximum_attempts", "activation_key"), False),
        (True, True, ("maximum_attempts",), False),
    ],
)
def test_a_changed_row_tells_every_field_that_changes_and_its_key_last(
    has_key: bool, wanted: bool, fields: tuple[str, ...], needs_key: bool
) -> None:
    changed = row("activation_key", line=7, maximum_attempts=6, generate_activation_key=wanted)
    assert judge(changed, existing(has_key=has_key)) == Outcome(
        line=7, client_id="gw-1", outcome=CHANGED, fields=fields, needs_key=needs_key
    )


def test_a_row_that_was_written_before_tells_that_its_key_is_the_one_of_the_request() -> None:
    assert judge(row(line=7), existing(has_key=True, key_matches=True)) == Outcome(
        line=7, client_id="gw-1", outcome=UNCHANGED, key_matches=True
    )


def test_a_key_that_the_row_does_not_give_stays_away() -> None:
    """Only the column asks for one."""
    assert judge(row(generate_activation_key=True), existing(has_key=False)).outcome == UNCHANGED


def test_applications_are_the_same_in_whatever_sequence_they_are_held() -> None:
    one = {"name": "a", "version": "1", "url": "https://a/b", "sha256": "ab" * 32, "size": 1}
    assert judge(row(applications=[]), existing(applications=())).outcome == UNCHANGED
    assert judge(row(applications=(one,)), existing(applications=[one])).outcome == UNCHANGED


def test_of_a_secret_is_compared_how_long_it_is_as_json() -> None:
    """Which is how it is sealed; what provisioning overrides is not stored, and all else is compared as it is."""
    given = {
        "a": {
            "pin": Value(type="Password", clear='1"3'),
            "pins": Value(type="Password", clear=("12", "3")),
            "open": Value(type="String", clear="x"),
            "rates": Value(type="Float", clear=(1.0, 2.5)),
        },
        TRANSPORT: {"password": Value(type="Password", clear="secret")},
    }
    assert imports.comparable(given) == {
        "a": {
            "pin": Value(type="Password", clear="xxxxxx"),  # "1\"3"
            "pins": Value(type="Password", clear="xxxxxxxxxxx"),  # ["12", "3"]
            "open": Value(type="String", clear="x"),
            "rates": Value(type="Float", clear=(1.0, 2.5)),
        },
        TRANSPORT: {},
    }


def test_rows_that_contradict_earlier_ones() -> None:
    seen = Seen()
    told = [
        [problem.rule for problem in seen.note(each)]
        for each in (
            row(line=2),
            row(line=3),
            row(line=4, client_id="gw-2", provision_username="Factory"),
            row(line=5, client_id="gw-3", provision_password="Other-Password"),
            row(line=6, client_id="gw-4"),
        )
    ]
    assert told == [[], ["duplicate"], ["other_case"], ["differs"], []]
    assert seen.is_shared("FACTORY")
    assert not seen.is_shared("nobody")


@pytest.mark.parametrize("client_id", ["a", "x" * 255, "a:b.c-d_e", "\ud800", "a::b", ""])
def test_the_size_of_a_request_without_content_is_that_of_the_whole_rule(client_id: str) -> None:
    """Its short way counts the same bytes, so that the limit is the same one."""
    whole = requests._answer_size(
        {"endpoint": "mqtt://a:1", "account": "acme", "client_id": client_id.encode("utf-8", "replace").decode()},
        {},
        (),
        None,
    )
    for limit, refused in ((whole, False), (whole - 1, True)):
        new = row(client_id=client_id, provision_endpoint="mqtt://a:1").new
        _, problems = check_new(new, AROUND, Limits(answer_bytes=limit, client_id_length=255))
        assert ("answer_too_large" in [problem.rule for problem in problems]) == refused


@pytest.mark.parametrize("number", [0, 1, 3, 4])
def test_sheets_of_labels(number: int) -> None:
    made = [
        Label(account="acme", client_id=f"gw-{each}", activation_key="ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        for each in range(number)
    ]
    svg = ET.fromstring("".join(labels.pieces(made, ".svg")))
    assert len(svg) == number
    html = "".join(labels.pieces(made, ".html"))
    assert html.count("ABCD EFGH IJKL MNOP QRST UVWX YZ23 4567") == html.count("<path") == number
    for label in made:
        assert label.activation_key not in repr(label)
