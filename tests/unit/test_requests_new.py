"""New provision requests: every rule of the product page by field, all problems at once, defaults and notices."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.device_config import TRANSPORT, Value
from service.core.problems import Problem
from service.core.requests import Accepted, Limits, NamesakeUser, NewRequest, Surroundings, check_new, choose_endpoint
from tests.unit.strategies import any_text

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
TICK = datetime.timedelta(microseconds=1)
NAIVE = datetime.datetime(2030, 1, 31, 12)
URL = "mqtts://broker:8883"

NEW = NewRequest(client_id="gw-1", provision_username="factory", provision_password="Abcdefghijk-")
AROUND = Surroundings(account="acme", account_enabled=True, endpoints={URL: 5}, now=NOON)
SHARED = NamesakeUser(of_this_account=True, kind="provision", password_matches=True, requests=1, requests_without_key=0)


def check(new: NewRequest = NEW, around: Surroundings = AROUND, limits: Limits | None = None, **changes: Any) -> Any:
    """Accepted, or the problems."""
    accepted, problems = check_new(dataclasses.replace(new, **changes), around, limits or Limits())
    assert (accepted is None) is bool(problems)
    return problems if accepted is None else accepted


def only(problems: list[Problem]) -> tuple[str, str]:
    """The one problem there is."""
    assert isinstance(problems, list)
    (problem,) = problems
    return problem.field, problem.text


def test_what_is_left_out_has_the_page_s_defaults() -> None:
    assert check() == Accepted(activation_key=False, provision_endpoint=URL, broker_id=5, activates_on=NOON, notices=())
    assert (NEW.reserve_user, NEW.device_connection_coupling, NEW.maximum_attempts, NEW.enabled, NEW.expires_on) == (
        True,
        "INHERITED",
        5,
        True,
        None,
    )


def test_what_is_given_is_taken() -> None:
    around = dataclasses.replace(AROUND, endpoints={URL: 5, "wss://other/mqtt": 6})
    accepted = check(
        around=around,
        generate_activation_key=True,
        provision_endpoint="wss://other/mqtt",
        activates_on=NOON + TICK,
        expires_on=NOON + 2 * TICK,
        device_connection_coupling="LOOSE",
        maximum_attempts=1,
    )
    assert accepted == Accepted(
        activation_key=True, provision_endpoint="wss://other/mqtt", broker_id=6, activates_on=NOON + TICK, notices=()
    )


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"client_id": ""}, "client_id", "must follow the MQTT v3.1 naming convention"),
        ({"client_id": "x" * 24}, "client_id", "1 to 23 characters"),
        ({"client_id": "a::b"}, "client_id", "without '::'"),
        ({"provision_username": "ab"}, "provision_username", "must be 3 to 255 characters long"),
        ({"provision_username": "a.b"}, "provision_username", "only alphanumeric characters and '-' or '_'"),
        ({"provision_password": "Abcdefghij-"}, "provision_password", "must be at least 12 characters long"),
        ({"provision_password": "ABCDEFGHIJK-"}, "provision_password", "must contain a lowercase character"),
        ({"provision_password": "abcdefghijk-"}, "provision_password", "must contain an uppercase character"),
        ({"provision_password": "Abcdefghijkl"}, "provision_password", "must contain a special character"),
        ({"provision_password": "A-" + "b" * 71}, "provision_password", "must be at most 72 bytes long"),
        ({"provision_password": "Abcdefghijk-é"}, "provision_password", "must be printable ASCII"),
        ({"provision_endpoint": "http://broker"}, "provision_endpoint", "must begin with mqtt://"),
        ({"provision_endpoint": ""}, "provision_endpoint", "must begin with mqtt://"),
        (
            {"provision_endpoint": "mqtts://elsewhere"},
            "provision_endpoint",
            "must be an endpoint of a broker that serves",
        ),
        ({"provision_endpoint": URL + "/"}, "provision_endpoint", "must be an endpoint of a broker that serves"),
        ({"expires_on": NOON}, "expires_on", "must follow the date it activates on"),
        ({"expires_on": NOON - TICK}, "expires_on", "must follow the date it activates on"),
        (
            {"activates_on": NOON + TICK, "expires_on": NOON + TICK},
            "expires_on",
            "must follow the date it activates on",
        ),
        ({"activates_on": NAIVE}, "activates_on", "must have a time zone"),
        ({"expires_on": NAIVE}, "expires_on", "must have a time zone"),
        (
            {"device_connection_coupling": "TIGHT"},
            "device_connection_coupling",
            "must be one of INHERITED, LOOSE, STRICT",
        ),
        ({"device_connection_coupling": "strict"}, "device_connection_coupling", "must be one of"),
        ({"maximum_attempts": 0}, "maximum_attempts", "must be from 1 to 1000"),
        ({"maximum_attempts": -1}, "maximum_attempts", "must be from 1 to 1000"),
        ({"maximum_attempts": 1001}, "maximum_attempts", "must be from 1 to 1000"),
    ],
)
def test_a_broken_rule_is_one_problem_of_its_field(changes: dict[str, Any], field: str, text: str) -> None:
    found_field, found_text = only(check(**changes))
    assert found_field == field
    assert text in found_text


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_on": NOON + TICK},
        {"activates_on": NOON - TICK, "expires_on": NOON},
        {"maximum_attempts": 1000},
        {"client_id": "x" * 23},
        {"provision_password": "Ab-" + "x" * 69},
        {"device_connection_coupling": "STRICT"},
    ],
)
def test_the_last_good_value_is_good(changes: dict[str, Any]) -> None:
    assert isinstance(check(**changes), Accepted)


def test_a_setting_allows_longer_client_ids() -> None:
    limits = Limits(client_id_length=255)
    assert isinstance(check(limits=limits, client_id="x" * 255), Accepted)
    assert only(check(limits=limits, client_id="x" * 256))[0] == "client_id"


@pytest.mark.parametrize(
    ("around", "field", "text"),
    [
        ({"account_enabled": False}, "account", "the account is disabled"),
        ({"client_id_taken": True}, "client_id", "is already in use; it must be unique within the whole platform"),
        ({"endpoints": {}}, "provision_endpoint", "no account broker with an endpoint serves the account"),
        (
            {"endpoints": {"wss://b": 1, "mqtts://a": 1}},
            "provision_endpoint",
            "must be chosen, the account has several: mqtts://a, wss://b",
        ),
    ],
)
def test_a_request_must_fit_what_is_there(around: dict[str, Any], field: str, text: str) -> None:
    assert only(check(around=dataclasses.replace(AROUND, **around))) == (field, text)


@pytest.mark.parametrize(
    "namesake",
    [{"of_this_account": False}, {"kind": "device"}, {"kind": "person"}, {"kind": ""}, {"password_matches": False}],
)
def test_a_taken_username_does_not_say_by_whom(namesake: dict[str, Any]) -> None:
    """Another account, another kind, another password: one text for all of them."""
    around = dataclasses.replace(AROUND, namesake=dataclasses.replace(SHARED, **namesake))
    assert only(check(around=around)) == (
        "provision_username",
        "is already used, or the password does not match the previously created provision user",
    )


def test_all_problems_are_reported_at_once() -> None:
    around = dataclasses.replace(
        AROUND,
        account_enabled=False,
        client_id_taken=True,
        namesake=dataclasses.replace(SHARED, of_this_account=False),
        endpoints={},
    )
    problems = check(
        around=around,
        limits=Limits(answer_bytes=10),
        client_id="",
        provision_username="",
        provision_password="",
        expires_on=NOON,
        device_connection_coupling="",
        maximum_attempts=0,
    )
    assert {problem.rule for problem in problems} == {
        "client_id",
        "username",
        "too_short",
        "no_lower_case",
        "no_upper_case",
        "no_special",
        "account_disabled",
        "client_id_taken",
        "username_taken",
        "no_endpoint",
        "expires_before_activates",
        "coupling",
        "maximum_attempts",
        "answer_too_large",
    }


def test_two_dates_without_a_time_zone_are_two_problems() -> None:
    problems = check(activates_on=NAIVE, expires_on=NAIVE)
    assert [(problem.field, problem.rule) for problem in problems] == [
        ("activates_on", "no_time_zone"),
        ("expires_on", "no_time_zone"),
    ]


@given(any_text, any_text, any_text, st.none() | any_text, any_text, st.integers())
def test_any_input_ends_in_a_request_or_in_problems(
    client_id: str, username: str, password: str, endpoint: str | None, coupling: str, attempts: int
) -> None:
    """Command lines hold any bytes (as lone surrogates): nothing raises."""
    check(
        client_id=client_id,
        provision_username=username,
        provision_password=password,
        provision_endpoint=endpoint,
        device_connection_coupling=coupling,
        maximum_attempts=attempts,
    )


@pytest.mark.parametrize("client_id", ["gw\udcff", "\ud800", "gw\0"])
def test_a_client_id_that_cannot_be_encoded_is_a_problem_like_any_other(client_id: str) -> None:
    assert only(check(client_id=client_id))[0] == "client_id"


def test_the_answer_must_fit_on_the_day_of_creation() -> None:
    text = Value(type="String", clear="x" * 40_000)
    field, message = only(check(additional_device_configuration={"com.acme.Pump": {"text": text}}))
    assert field == "additional_device_configuration"
    assert "at most 49152 are allowed" in message
    assert isinstance(check(additional_device_configuration={TRANSPORT: {"password": text}}), Accepted)


def test_applications_count_towards_the_answer() -> None:
    url = "https://x/" + "y" * 1000
    applications = [
        {"name": str(number), "version": "1", "url": url, "sha256": "0" * 64, "size": 1} for number in range(9)
    ]
    broken = only(check(applications=applications, limits=Limits(answer_bytes=9_000)))
    assert broken[0] == "additional_device_configuration"
    assert only(check(applications=[{**applications[0], "size": 0}]))[0] == "applications"


def test_the_limit_is_reached_to_the_byte() -> None:
    size = int(check(limits=Limits(answer_bytes=0))[0].text.split(" would have ")[1].split(" ")[0])
    assert isinstance(check(limits=Limits(answer_bytes=size)), Accepted)
    assert only(check(limits=Limits(answer_bytes=size - 1)))[0] == "additional_device_configuration"


@pytest.mark.parametrize(
    ("wanted", "requests", "without_key", "key", "notices"),
    [
        # A username of its own: the page's default is no key.
        (None, 0, 0, False, []),
        (True, 0, 0, True, []),
        (False, 0, 0, False, []),
        # D12: a shared one gets a key unless told otherwise, and says so.
        (None, 1, 0, True, ["generate_activation_key: set"]),
        (True, 1, 0, True, []),
        (False, 1, 0, False, ["generate_activation_key: off on a shared provision username"]),
        (
            None,
            3,
            2,
            True,
            ["generate_activation_key: set", "2 earlier request(s) with this username have no activation key"],
        ),
        (True, 3, 1, True, ["1 earlier request(s) with this username have no activation key"]),
        (False, 3, 3, False, ["generate_activation_key: off on a shared", "3 earlier request(s)"]),
    ],
)
def test_a_shared_credential_gets_an_activation_key(
    wanted: bool | None, requests: int, without_key: int, key: bool, notices: list[str]
) -> None:
    namesake = dataclasses.replace(SHARED, requests=requests, requests_without_key=without_key)
    accepted = check(around=dataclasses.replace(AROUND, namesake=namesake), generate_activation_key=wanted)
    assert accepted.activation_key is key
    assert len(accepted.notices) == len(notices)
    assert all(found.startswith(begin) for found, begin in zip(accepted.notices, notices, strict=True))


def test_a_client_id_with_a_dot_is_warned_about() -> None:
    (notice,) = check(client_id="gw.01").notices
    assert "connects as 'gw-01'" in notice


def test_an_endpoint_is_chosen_or_the_only_one() -> None:
    assert choose_endpoint(None, {URL: 1}) == (URL, [])
    assert choose_endpoint(URL, {URL: 1, "ws://b": 2}) == (URL, [])
    for wanted, offered in ((None, {}), (None, {URL: 1, "ws://b": 1}), ("ws://b", {URL: 1}), ("x", {"x": 1})):
        chosen, problems = choose_endpoint(wanted, offered)
        assert chosen is None
        assert [problem.field for problem in problems] == ["provision_endpoint"]


def test_a_new_request_does_not_show_its_password() -> None:
    assert "Abcdefghijk-" not in repr(NEW)
