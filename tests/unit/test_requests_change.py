"""Changes of provision requests: what may change in which state, judged like a new one."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from service.core.device_config import TRANSPORT, Value
from service.core.requests import UNSET, Changes, Limits, NewRequest, StoredRequest, Surroundings, check_change
from service.core.states import RequestState

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
TICK = datetime.timedelta(microseconds=1)
HOUR = datetime.timedelta(hours=1)
URL = "mqtts://broker:8883"

STORED = StoredRequest(
    client_id="gw-1",
    state=RequestState.OPEN,
    provision_endpoint=URL,
    activates_on=NOON,
    expires_on=NOON + HOUR,
    attempts=2,
    device_connection_coupling="INHERITED",
    maximum_attempts=5,
    additional_device_configuration={},
)
AROUND = Surroundings(account="acme", account_enabled=True, endpoints={URL: 5, "wss://other": 6}, now=NOON)
BIG = {"com.acme.Pump": {"text": Value(type="String", clear="x" * 40_000)}}


def check(stored: dict[str, Any] | None = None, limits: Limits | None = None, **changes: Any) -> list[tuple[str, str]]:
    """(field, rule) of every problem."""
    request = dataclasses.replace(STORED, **(stored or {}))
    return [
        (problem.field, problem.rule)
        for problem in check_change(request, Changes(**changes), AROUND, limits or Limits())
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"new_activation_key": True},
        {"remove_activation_key": True},
        {"provision_endpoint": "wss://other"},
        {"activates_on": NOON + HOUR - TICK},
        {"expires_on": NOON + TICK},
        {"expires_on": None},
        {"activates_on": NOON + 2 * HOUR, "expires_on": NOON + 3 * HOUR},
        {"reserve_user": False},
        {"device_connection_coupling": "LOOSE"},
        {"additional_device_configuration": {"com.acme.Pump": {"rate": Value(type="Integer", clear=1)}}},
        {"additional_device_configuration": {}},
        {"maximum_attempts": 2},
        {"maximum_attempts": 1000},
    ],
)
@pytest.mark.parametrize("state", [RequestState.OPEN, RequestState.ABANDONED])
def test_what_may_change(state: RequestState, changes: dict[str, Any]) -> None:
    assert check({"state": state}, **changes) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"provision_endpoint": "http://x"}, ("provision_endpoint", "endpoint")),
        ({"provision_endpoint": "mqtts://elsewhere"}, ("provision_endpoint", "endpoint_not_served")),
        ({"activates_on": NOON + HOUR}, ("expires_on", "expires_before_activates")),
        ({"expires_on": NOON}, ("expires_on", "expires_before_activates")),
        ({"activates_on": NOON.replace(tzinfo=None)}, ("activates_on", "no_time_zone")),
        ({"expires_on": NOON.replace(tzinfo=None)}, ("expires_on", "no_time_zone")),
        ({"device_connection_coupling": "TIGHT"}, ("device_connection_coupling", "coupling")),
        ({"maximum_attempts": 0}, ("maximum_attempts", "maximum_attempts")),
        ({"maximum_attempts": 1001}, ("maximum_attempts", "maximum_attempts")),
        ({"maximum_attempts": 1}, ("maximum_attempts", "fewer_than_made")),
        ({"new_activation_key": True, "remove_activation_key": True}, ("activation_key", "contradiction")),
        ({"additional_device_configuration": BIG}, ("additional_device_configuration", "answer_too_large")),
    ],
)
def test_a_broken_rule_is_a_problem_of_its_field(changes: dict[str, Any], problem: tuple[str, str]) -> None:
    assert problem in check(**changes)
    assert {field for field, _ in check(**changes)} == {problem[0]}


@pytest.mark.parametrize("changes", [{}, {"reserve_user": False}, {"new_activation_key": True}, {"expires_on": None}])
def test_nothing_changes_while_it_is_running(changes: dict[str, Any]) -> None:
    assert check({"state": RequestState.RUNNING}, **changes) == [("state", "running")]


@pytest.mark.parametrize("changes", [{"new_activation_key": True}, {"remove_activation_key": True}])
def test_the_key_stays_once_it_is_provisioned(changes: dict[str, Any]) -> None:
    assert check({"state": RequestState.PROVISIONED}, **changes) == [("activation_key", "provisioned")]
    assert check({"state": RequestState.PROVISIONED}, reserve_user=False) == []


def test_all_problems_are_reported_at_once() -> None:
    found = check(
        {"state": RequestState.RUNNING},
        Limits(answer_bytes=10),
        new_activation_key=True,
        remove_activation_key=True,
        provision_endpoint="x",
        expires_on=NOON,
        device_connection_coupling="x",
        maximum_attempts=0,
    )
    assert set(found) == {
        ("state", "running"),
        ("activation_key", "contradiction"),
        ("provision_endpoint", "endpoint"),
        ("expires_on", "expires_before_activates"),
        ("device_connection_coupling", "coupling"),
        ("maximum_attempts", "maximum_attempts"),
        ("maximum_attempts", "fewer_than_made"),
        ("additional_device_configuration", "answer_too_large"),
    }


def test_an_endpoint_that_stays_is_not_asked_again() -> None:
    """It may have gone from the broker's list since: an ask is refused then, other fields can be changed."""
    assert check({"provision_endpoint": "mqtts://gone"}, reserve_user=False) == []
    assert check({"provision_endpoint": "mqtts://gone"}, provision_endpoint="mqtts://gone") != []


def test_what_stays_counts_towards_the_size_too() -> None:
    limits = Limits(answer_bytes=4_096)
    big = {"com.acme.Pump": {"text": Value(type="String", clear="x" * 4_000)}}
    assert check({"additional_device_configuration": big}, limits, reserve_user=False) != []
    assert check({"additional_device_configuration": big}, limits, additional_device_configuration={}) == []
    applications = [{"name": "n", "version": "1", "url": "https://x/" + "y" * 4_000, "sha256": "0", "size": 1}]
    assert check({"applications": applications}, limits, reserve_user=False) != []


def test_a_longer_endpoint_makes_a_longer_answer() -> None:
    """Judged with the endpoint as it will be."""
    base = next(
        limit for limit in range(200, 4_000) if not check({"provision_endpoint": URL}, Limits(answer_bytes=limit))
    )
    longer = dataclasses.replace(AROUND, endpoints={"mqtts://" + "b" * 200: 1})
    problems = check_change(
        STORED, Changes(provision_endpoint="mqtts://" + "b" * 200), longer, Limits(answer_bytes=base)
    )
    assert [problem.rule for problem in problems] == ["answer_too_large"]


def test_what_provisioning_overrides_does_not_count() -> None:
    configuration = {TRANSPORT: {"password": Value(type="String", clear="x" * 60_000)}}
    assert check(additional_device_configuration=configuration) == []


def test_client_id_username_and_password_never_change() -> None:
    never = {"client_id", "provision_username", "provision_password", "enabled"}
    fields = {field.name for field in dataclasses.fields(Changes)}
    assert not fields & never
    assert {field.name for field in dataclasses.fields(NewRequest)} - fields == {
        *never,
        "generate_activation_key",
    }


def test_what_is_not_named_stays() -> None:
    changes = Changes()
    for field in dataclasses.fields(Changes):
        assert getattr(changes, field.name) in (UNSET, False)
