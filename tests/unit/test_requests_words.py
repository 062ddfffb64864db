"""What people are told of provision requests, new and changed, to the last word; and that a CA counts in an answer."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from service.core.device_config import Value
from service.core.problems import Problem
from service.core.requests import (
    Changes,
    Limits,
    NamesakeUser,
    NewRequest,
    StoredRequest,
    Surroundings,
    check_change,
    check_new,
    check_start_on_birth,
    check_window,
    choose_endpoint,
)
from service.core.states import RequestState

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
URL, OTHER = "mqtts://broker:8883", "mqtt://broker:1883"
CA = "A" * 6_000
NEW = NewRequest(client_id="gw-1", provision_username="factory", provision_password="Abcdefghijk-")
AROUND = Surroundings(account="acme", account_enabled=True, endpoints={URL: 5}, now=NOON)
SHARED = NamesakeUser(of_this_account=True, kind="provision", password_matches=True, requests=1, requests_without_key=0)
STORED = StoredRequest(
    client_id="gw-1",
    state=RequestState.OPEN,
    provision_endpoint=URL,
    activates_on=NOON,
    expires_on=None,
    attempts=2,
    device_connection_coupling="INHERITED",
    maximum_attempts=5,
    additional_device_configuration={},
)
SMALL = Limits(answer_bytes=10)
CONFIGURATION = {"com.acme.Pump": {"text": Value(type="String", clear="x")}}
BIRTH_HAS_NO_KEY = Problem(
    field="start_on_birth", rule="birth_has_no_key", text="is not possible with an activation key"
)


def of_new(around: dict[str, Any] | None = None, limits: Limits | None = None, **changes: Any) -> list[Problem]:
    """Problems of a new request."""
    surroundings = dataclasses.replace(AROUND, **(around or {}))
    return check_new(dataclasses.replace(NEW, **changes), surroundings, limits or Limits())[1]


def of_change(
    stored: dict[str, Any] | None = None, around: dict[str, Any] | None = None, limits: Limits | None = None, **to: Any
) -> list[Problem]:
    """Problems of a change."""
    request, surroundings = dataclasses.replace(STORED, **(stored or {})), dataclasses.replace(AROUND, **(around or {}))
    return list(check_change(request, Changes(**to), surroundings, limits or Limits()))


def test_an_endpoint_that_cannot_be_chosen() -> None:
    def told(rule: str, text: str) -> tuple[None, list[Problem]]:
        return None, [Problem(field="provision_endpoint", rule=rule, text=text)]

    assert choose_endpoint(OTHER, {URL: 5}) == told(
        "endpoint_not_served", "must be an endpoint of a broker that serves the account"
    )
    assert choose_endpoint(None, {}) == told("no_endpoint", "no account broker with an endpoint serves the account")
    assert choose_endpoint(None, {URL: 5, OTHER: 6}) == told(
        "endpoint_ambiguous", f"must be chosen, the account has several: {OTHER}, {URL}"
    )


def test_dates_that_are_none() -> None:
    naive = NOON.replace(tzinfo=None)
    zone = "must have a time zone, such as 2030-01-31T08:00:00Z"
    assert list(check_window(naive, naive)) == [
        Problem(field=name, rule="no_time_zone", text=zone) for name in ("activates_on", "expires_on")
    ]
    assert list(check_window(NOON, NOON)) == [
        Problem(field="expires_on", rule="expires_before_activates", text="must follow the date it activates on")
    ]


@pytest.mark.parametrize("born", [False, True])
@pytest.mark.parametrize("key", [False, True])
def test_a_birth_has_no_key(born: bool, key: bool) -> None:
    found = [BIRTH_HAS_NO_KEY] if born and key else []
    assert list(check_start_on_birth(born, key=key)) == found
    assert of_new(start_on_birth=born, generate_activation_key=key) == found
    assert of_change({"start_on_birth": born, "has_key": key}) == found
    assert of_change({"has_key": key}, start_on_birth=born) == found
    assert of_change({"start_on_birth": born}, new_activation_key=key) == found


def test_a_key_that_is_removed_stands_against_no_birth() -> None:
    assert of_change({"has_key": True}, start_on_birth=True, remove_activation_key=True) == []
    assert of_change({"start_on_birth": True, "has_key": True}, start_on_birth=False) == []


def test_a_shared_credential_gives_a_birth_no_key_and_says_so() -> None:
    accepted, _ = check_new(
        dataclasses.replace(NEW, start_on_birth=True), dataclasses.replace(AROUND, namesake=SHARED), Limits()
    )
    assert accepted is not None
    assert accepted.notices == (
        "start_on_birth: a BIRTH cannot carry an activation key, so none was generated",
        "generate_activation_key: off on a shared provision username: any of its devices can pose as this one",
    )


@pytest.mark.parametrize(
    ("state", "changes", "field", "rule", "text"),
    [
        (
            RequestState.RUNNING,
            {},
            "state",
            "running",
            "a request cannot be changed while it is RUNNING; stop it first",
        ),
        (
            RequestState.PROVISIONED,
            {"new_activation_key": True},
            "activation_key",
            "provisioned",
            "cannot be changed once the request is PROVISIONED",
        ),
        (
            RequestState.OPEN,
            {"new_activation_key": True, "remove_activation_key": True},
            "activation_key",
            "contradiction",
            "can be made anew or removed, not both",
        ),
        (
            RequestState.OPEN,
            {"maximum_attempts": 1},
            "maximum_attempts",
            "fewer_than_made",
            "2 attempts were made already",
        ),
    ],
)
def test_a_change_that_cannot_be(
    state: RequestState, changes: dict[str, Any], field: str, rule: str, text: str
) -> None:
    assert of_change({"state": state}, **changes) == [Problem(field=field, rule=rule, text=text)]


def test_how_many_applications_there_may_be_is_a_setting() -> None:
    application = {"version": "1", "url": "https://x/app", "sha256": "a" * 64, "size": 1}
    applications = [{**application, "name": name} for name in ("one", "two")]
    assert of_new(applications=applications, limits=Limits(most_applications=2)) == []
    assert of_new(applications=applications, limits=Limits(most_applications=1)) == [
        Problem(field="applications", rule="too_many", text="at most 1 applications")
    ]


def size(problems: list[Problem]) -> int:
    """Bytes of an answer that is too large."""
    (problem,) = (problem for problem in problems if problem.rule == "answer_too_large")
    number = int(problem.text.removeprefix("the answer to the device would have ").partition(" ")[0])
    assert problem == Problem(
        field="additional_device_configuration",
        rule="answer_too_large",
        text=f"the answer to the device would have {number} bytes, at most 10 are allowed",
    )
    return number


@pytest.mark.parametrize("configuration", [{}, CONFIGURATION])
@pytest.mark.parametrize("of", [of_new, of_change])
def test_a_ca_counts_in_the_answer(of: Any, configuration: dict[str, Any]) -> None:
    """Of the endpoint that it is for, where that is encrypted. (A short one: the answer on Kura's wire is longer.)"""
    asked = {"limits": SMALL, "additional_device_configuration": configuration}
    shorter, longer = (size(of(around={"cas": {URL: ca}}, **asked)) for ca in (CA, CA + "A"))
    assert longer == shorter + 1 > size(of(**asked)) + 3_000
    assert size(of(around={"cas": {OTHER: CA}}, **asked)) == size(of(**asked))


def test_a_ca_goes_to_no_open_endpoint() -> None:
    open_ = {"endpoints": {OTHER: 6}}
    assert size(of_new(around={**open_, "cas": {OTHER: CA}}, limits=SMALL)) == size(of_new(around=open_, limits=SMALL))


def test_a_changed_endpoint_brings_its_own_ca() -> None:
    around = {"endpoints": {URL: 5, "mqtts://other0:8883": 6}, "cas": {"mqtts://other0:8883": CA}}
    before = size(of_change(around=around, limits=SMALL))
    after = size(of_change(around=around, limits=SMALL, provision_endpoint="mqtts://other0:8883"))
    assert after > before + 3_000


def test_without_an_endpoint_the_rest_is_measured_all_the_same() -> None:
    bare, given = size(of_new(around={"endpoints": {}}, limits=SMALL)), size(of_new(limits=SMALL))
    assert given - bare == len(URL)
