"""The life of requests and runs (design section 6), pair by pair, and the word that people see."""

from __future__ import annotations

import datetime
import itertools

import pytest

from service.core.states import (
    ENDED,
    LIVE_ORDER,
    REQUEST_MOVES,
    RequestState,
    RunState,
    may_move_run,
    shown_status,
)
from tests.unit import vectors

TABLE = vectors.load("states")
NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
TICK = datetime.timedelta(microseconds=1)
HOUR = datetime.timedelta(hours=1)


def test_the_states_are_the_product_s() -> None:
    assert [state.value for state in RequestState] == TABLE["request_states"]
    assert [state.value for state in RunState] == TABLE["run_states"]


@pytest.mark.parametrize(("was", "becomes"), list(itertools.product(RequestState, RequestState)))
def test_a_request_moves_as_in_the_table(was: RequestState, becomes: RequestState) -> None:
    assert ((was, becomes) in REQUEST_MOVES) is (becomes.value in TABLE["request_moves"][was.value])


@pytest.mark.parametrize(("was", "becomes"), list(itertools.product(RunState, RunState)))
def test_a_run_moves_as_in_the_table(was: RunState, becomes: RunState) -> None:
    assert may_move_run(was, becomes) is (becomes.value in TABLE["run_moves"][was.value])


def test_the_tables_name_every_state_once() -> None:
    assert set(TABLE["request_moves"]) == set(RequestState)
    assert set(TABLE["run_moves"]) == set(RunState)


def test_a_run_is_live_stopping_or_ended() -> None:
    assert {*LIVE_ORDER, RunState.STOPPING} | ENDED == set(RunState)
    assert not {*LIVE_ORDER, RunState.STOPPING} & ENDED


def test_an_ended_run_never_moves_again() -> None:
    assert not any(may_move_run(was, becomes) for was in ENDED for becomes in RunState)


def test_there_is_a_way_back_from_every_end_of_a_request() -> None:
    assert {was for was, becomes in REQUEST_MOVES if becomes is RequestState.OPEN} == {
        RequestState.RUNNING,
        RequestState.PROVISIONED,
        RequestState.ABANDONED,
    }


def shown(
    state: RequestState = RequestState.OPEN,
    *,
    enabled: bool = True,
    activates_on: datetime.datetime = NOON - HOUR,
    expires_on: datetime.datetime | None = NOON + HOUR,
) -> str:
    return shown_status(state=state, enabled=enabled, activates_on=activates_on, expires_on=expires_on, now=NOON)


@pytest.mark.parametrize(
    ("activates_on", "expires_on", "status"),
    [
        (NOON - HOUR, NOON + HOUR, "OPEN"),
        (NOON - HOUR, None, "OPEN"),
        # The window is half-open: its first moment is inside, its last is not.
        (NOON + TICK, None, "SCHEDULED"),
        (NOON, None, "OPEN"),
        (NOON - TICK, None, "OPEN"),
        (NOON - HOUR, NOON + TICK, "OPEN"),
        (NOON - HOUR, NOON, "EXPIRED"),
        (NOON - HOUR, NOON - TICK, "EXPIRED"),
        (NOON, NOON + TICK, "OPEN"),
        (NOON + HOUR, NOON + 2 * HOUR, "SCHEDULED"),
    ],
)
def test_the_window_shows_to_the_microsecond(
    activates_on: datetime.datetime, expires_on: datetime.datetime | None, status: str
) -> None:
    assert shown(activates_on=activates_on, expires_on=expires_on) == status


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("state", [RequestState.PROVISIONED, RequestState.RUNNING, RequestState.ABANDONED])
def test_what_became_of_it_comes_before_everything_else(state: RequestState, enabled: bool) -> None:
    windows = [(NOON - HOUR, NOON + HOUR), (NOON + HOUR, None), (NOON - HOUR, NOON)]
    for activates_on, expires_on in windows:
        assert shown(state, enabled=enabled, activates_on=activates_on, expires_on=expires_on) == state.value


def test_disabled_comes_before_the_window() -> None:
    assert shown(enabled=False) == "DISABLED"
    assert shown(enabled=False, expires_on=NOON) == "DISABLED"
    assert shown(enabled=False, activates_on=NOON + HOUR, expires_on=None) == "DISABLED"


def test_expired_comes_before_scheduled() -> None:
    """A window that ends before it begins cannot be stored; shown it would be over."""
    assert shown(activates_on=NOON + HOUR, expires_on=NOON) == "EXPIRED"


def test_other_time_zones_name_the_same_moments() -> None:
    east = datetime.timezone(datetime.timedelta(hours=9))
    assert shown(activates_on=NOON.astimezone(east), expires_on=(NOON + TICK).astimezone(east)) == "OPEN"
