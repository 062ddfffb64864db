"""Changes of device connections: every problem, and every surprise (issue: Kapua's reserved users without a reason)."""

from __future__ import annotations

from typing import Any

import pytest

from service.core.connections import (
    Candidate,
    ConnectionChanges,
    check_connection_change,
    refuse_deletion,
    warn_connection_change,
)
from service.core.problems import Problem
from service.core.states import RequestState

PERSON = Candidate(kind="person", generated_for=None, reserved_for=None)
OWN = Candidate(kind="device", generated_for="gw-1", reserved_for=None)
LEFT_BEHIND = Candidate(kind="device", generated_for=None, reserved_for=None)


def problems(changes: dict[str, Any], candidate: Candidate | None = None, state: str | None = None) -> set[str]:
    """Field and rule of each."""
    found = check_connection_change(
        "gw-1", ConnectionChanges(**changes), candidate, RequestState(state) if state else None
    )
    return {f"{problem.field} {problem.rule}" for problem in found}


@pytest.mark.parametrize("state", [None, "OPEN", "PROVISIONED", "ABANDONED"])
@pytest.mark.parametrize(
    ("changes", "candidate"),
    [
        ({}, None),
        ({"coupling": "LOOSE", "allow_user_change": True}, None),
        ({"reserved_user": None}, None),
        ({"reserved_user": "ann"}, PERSON),
        ({"reserved_user": "d-1"}, OWN),
        ({"reserved_user": "d-2"}, LEFT_BEHIND),
    ],
)
def test_what_may_be_changed(changes: dict[str, Any], candidate: Candidate | None, state: str | None) -> None:
    assert problems(changes, candidate, state) == set()


@pytest.mark.parametrize(
    ("candidate", "rules"),
    [
        (None, {"not_found"}),
        (Candidate(kind="provision", generated_for=None, reserved_for=None), {"kind"}),
        (Candidate(kind="service", generated_for=None, reserved_for=None), {"kind"}),
        (Candidate(kind="device", generated_for="gw-2", reserved_for=None), {"generated_for_another_client_id"}),
        (Candidate(kind="person", generated_for=None, reserved_for="gw-2"), {"reserved_already"}),
        (
            Candidate(kind="device", generated_for="gw-2", reserved_for="gw-2"),
            {"generated_for_another_client_id", "reserved_already"},
        ),
    ],
)
def test_whom_it_cannot_be_reserved_for(candidate: Candidate | None, rules: set[str]) -> None:
    assert problems({"reserved_user": "x"}, candidate) == {f"reserved_user {rule}" for rule in rules}


def test_the_connection_that_holds_a_reservation_is_named() -> None:
    """Kapua's users were told that there is one, not which (kapua#1112)."""
    taken = Candidate(kind="person", generated_for=None, reserved_for="gw-2")
    [problem] = check_connection_change("gw-1", ConnectionChanges(reserved_user="ann"), taken, None)
    assert "'gw-2'" in problem.text


def test_every_problem_is_said_at_once() -> None:
    assert problems({"coupling": "TIGHT", "reserved_user": "x"}, None, "RUNNING") == {
        "state running",
        "coupling coupling",
        "reserved_user not_found",
    }


def test_only_what_is_given_changes() -> None:
    assert ConnectionChanges().given() == {}
    given = ConnectionChanges(reserved_user=None, allow_user_change=False).given()
    assert given == {"reserved_user": None, "allow_user_change": False}


@pytest.mark.parametrize(
    ("changes", "own_user", "warned"),
    [
        ({"reserved_user": "ann"}, "d-1", True),
        ({"reserved_user": "d-1"}, "d-1", False),
        ({"reserved_user": "ann"}, None, False),
        ({"reserved_user": None}, "d-1", False),
        ({"coupling": "STRICT"}, "d-1", False),
    ],
)
def test_whose_device_is_locked_out_is_warned(changes: dict[str, Any], own_user: str | None, warned: bool) -> None:
    notices = list(warn_connection_change(ConnectionChanges(**changes), own_user))
    assert bool(notices) is warned
    assert all("d-1" in notice for notice in notices)


@pytest.mark.parametrize(
    ("state", "device", "rule"),
    [
        (None, True, None),
        ("OPEN", True, None),
        ("ABANDONED", True, None),
        ("PROVISIONED", True, "provisioned"),
        ("RUNNING", True, "running"),
        (None, False, None),
        ("OPEN", False, None),
        ("ABANDONED", False, None),
        ("PROVISIONED", False, None),
        ("RUNNING", False, "running"),
    ],
)
def test_when_a_device_or_a_connection_may_go(state: str | None, device: bool, rule: str | None) -> None:
    refused = refuse_deletion(RequestState(state) if state else None, device=device)
    assert (refused.problems[0].rule if refused is not None else None) == rule


def test_what_is_said_of_a_reservation_that_cannot_be() -> None:
    def told(candidate: Candidate | None) -> list[str]:
        found = check_connection_change("gw-1", ConnectionChanges(reserved_user="ann"), candidate, None)
        return [f"{problem.field}: {problem.rule}: {problem.text}" for problem in found]

    assert told(None) == ["reserved_user: not_found: there is no user 'ann' in this account"]
    assert told(Candidate(kind="service", generated_for="gw-2", reserved_for="gw-3")) == [
        "reserved_user: kind: is a service user, which never logs in at an account broker",
        "reserved_user: generated_for_another_client_id: is the generated user of 'gw-2'",
        "reserved_user: reserved_already: is reserved for the connection of 'gw-3'",
    ]


def test_what_is_said_while_a_run_has_the_connection() -> None:
    (problem,) = check_connection_change("gw-1", ConnectionChanges(), None, RequestState.RUNNING)
    assert str(problem) == (
        "state: the connection belongs to the run while its provision request is RUNNING; stop it first"
    )


@pytest.mark.parametrize(
    ("state", "rule", "text"),
    [
        (RequestState.RUNNING, "running", "its provision request is RUNNING; stop it first"),
        (
            RequestState.PROVISIONED,
            "provisioned",
            "its provision request is PROVISIONED; reopen or delete the request first",
        ),
    ],
)
def test_what_is_said_of_a_device_that_cannot_go(state: RequestState, rule: str, text: str) -> None:
    refused = refuse_deletion(state, device=True)
    assert refused is not None
    assert refused.problems == (Problem(field="state", rule=rule, text=text),)
