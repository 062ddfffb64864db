"""Rotations of factory credentials, and when one is taken for leaked."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from service.core import credentials
from service.core.credentials import Leak, Uses, Watch
from service.core.problems import Problem

NOW = datetime.datetime(2026, 5, 4, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
SECOND = datetime.timedelta(seconds=1)
QUIET = Uses(unknown_client_ids=0, wrong_keys=0, addresses=0)
LOUD = Uses(unknown_client_ids=20, wrong_keys=20, addresses=20)


def decide(uses: Uses = LOUD, watch: Watch | None = None, **facts: Any) -> Leak | None:
    """A credential that is watched as it is unless said otherwise, not held, of which nothing was told before."""
    known = {"hold_on_leak": False, "held": False, "suspected_at": None, **facts}
    return credentials.decide_leak(uses, watch or Watch(), now=NOW, **known)


@pytest.mark.parametrize(
    ("uses", "signs"),
    [
        (QUIET, None),
        (Uses(unknown_client_ids=19, wrong_keys=19, addresses=999), None),
        (Uses(unknown_client_ids=20, wrong_keys=19, addresses=999), ("unknown_client_ids",)),
        (Uses(unknown_client_ids=19, wrong_keys=20, addresses=999), ("wrong_keys",)),
        (Uses(unknown_client_ids=21, wrong_keys=21, addresses=0), ("unknown_client_ids", "wrong_keys")),
    ],
)
def test_twenty_of_a_kind_are_a_leak(uses: Uses, signs: tuple[str, ...] | None) -> None:
    """Addresses tell of one only where a number was set."""
    found = decide(uses)
    assert found == (Leak(signs=signs, hold=False) if signs else None)


def test_what_is_watched_for_is_set_by_the_account() -> None:
    watch = Watch(unknown_client_ids=0, wrong_keys=0, addresses=1)
    assert decide(LOUD, watch) == Leak(signs=("addresses",), hold=False)
    assert decide(QUIET, watch) is None
    assert decide(LOUD, Watch(unknown_client_ids=0, wrong_keys=0, addresses=0)) is None


def test_what_was_not_set_is_as_it_is_for_everybody() -> None:
    assert Watch.from_stored(unknown_client_ids=None, wrong_keys=None, addresses=None) == Watch()
    assert Watch.from_stored(unknown_client_ids=0, wrong_keys=None, addresses=7) == Watch(
        unknown_client_ids=0, wrong_keys=20, addresses=7
    )


@pytest.mark.parametrize(
    ("ago", "hold", "told"),
    [
        (credentials.WINDOW - SECOND, False, False),
        (credentials.WINDOW, False, True),
        (credentials.WINDOW - SECOND, True, True),
        (credentials.WINDOW, True, True),
    ],
)
def test_a_leak_is_told_once_a_window_unless_it_is_to_be_held(ago: datetime.timedelta, hold: bool, told: bool) -> None:
    found = decide(hold_on_leak=hold, suspected_at=NOW - ago)
    assert found == (Leak(signs=("unknown_client_ids", "wrong_keys"), hold=hold) if told else None)


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("before", [None, NOW - 2 * credentials.WINDOW])
def test_of_a_held_credential_everything_is_said(hold: bool, before: datetime.datetime | None) -> None:
    assert decide(held=True, hold_on_leak=hold, suspected_at=before) is None


@pytest.mark.parametrize(("value", "good"), [(-1, False), (0, True), (1, True), (1000, True), (1001, False)])
def test_what_is_watched_for_is_at_most_what_is_counted(value: int, good: bool) -> None:
    problem = Problem(field="wrong_keys", rule="wrong_keys", text="must be 0 (not watched) to 1000")
    assert list(credentials.check_watch({"addresses": 5, "wrong_keys": value})) == ([] if good else [problem])


@pytest.mark.parametrize(
    ("overlap", "good"), [(-SECOND, False), (0 * DAY, True), (366 * DAY, True), (366 * DAY + SECOND, False)]
)
def test_an_overlap_is_a_year_at_most(overlap: datetime.timedelta, good: bool) -> None:
    problem = Problem(field="overlap", rule="overlap", text="must be 0 to 366 days")
    assert list(credentials.check_overlap(overlap)) == ([] if good else [problem])


SAME = Problem(field="provision_password", rule="same_password", text="must be another one than now")
OPEN = Problem(
    field="username", rule="rotation_open", text="is being rotated already: finish that, or wait for its end"
)


@pytest.mark.parametrize(
    ("same_password", "overlap_open", "problems"),
    [(False, False, []), (True, False, [SAME]), (False, True, [OPEN]), (True, True, [SAME, OPEN])],
)
def test_a_rotation_is_to_another_password_and_one_at_a_time(
    same_password: bool, overlap_open: bool, problems: list[Problem]
) -> None:
    assert list(credentials.check_rotation(same_password=same_password, overlap_open=overlap_open)) == problems


NONE = Problem(field="username", rule="no_rotation", text="is not being rotated")
IN_USE = Problem(
    field="username",
    rule="old_password_in_use",
    text="1 clients that are still to be provisioned came with the old password last: "
    "they will be refused; say so, or wait",
)


@pytest.mark.parametrize(
    ("overlap_open", "waiting", "even_so", "problems"),
    [
        (False, 0, False, [NONE]),
        (False, 1, True, [NONE]),
        (True, 0, False, []),
        (True, 1, False, [IN_USE]),
        (True, 1, True, []),
    ],
)
def test_a_rotation_is_finished_when_nobody_needs_the_old_password(
    overlap_open: bool, waiting: int, even_so: bool, problems: list[Problem]
) -> None:
    found = credentials.check_finish(overlap_open=overlap_open, waiting=waiting, even_so=even_so)
    assert list(found) == problems
