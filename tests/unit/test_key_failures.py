"""Wrong and missing keys: ten in fifteen minutes are answered as such, the eleventh is `busy`."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from service.core.asks import KEY_FAILURES_ALLOWED, KEY_FAILURES_WINDOW, throttle_key_failures

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
TICK = datetime.timedelta(microseconds=1)
WINDOW = datetime.timedelta(minutes=15)


def busy_at(moments: Iterable[datetime.datetime]) -> list[bool]:
    """A failure at each of the moments: which of them are answered `busy`."""
    failures, since, answers = 0, None, []
    for moment in moments:
        failures, since, busy = throttle_key_failures(failures, since, moment)
        answers.append(busy)
    return answers


def test_the_figures_are_the_design_s() -> None:
    assert (KEY_FAILURES_ALLOWED, KEY_FAILURES_WINDOW) == (10, WINDOW)


def test_the_first_failure_opens_a_window() -> None:
    assert throttle_key_failures(0, None, NOON) == (1, NOON, False)


def test_a_later_failure_is_counted_in_the_same_window() -> None:
    assert throttle_key_failures(1, NOON, NOON + WINDOW / 2) == (2, NOON, False)


def test_ten_are_allowed_and_the_eleventh_is_busy() -> None:
    assert busy_at([NOON] * 12) == [False] * 10 + [True] * 2
    assert throttle_key_failures(9, NOON, NOON) == (10, NOON, False)
    assert throttle_key_failures(10, NOON, NOON) == (11, NOON, True)


def test_busy_lasts_to_the_end_of_the_window_to_the_microsecond() -> None:
    assert throttle_key_failures(10, NOON, NOON + WINDOW - TICK) == (11, NOON, True)
    assert throttle_key_failures(10, NOON, NOON + WINDOW) == (1, NOON + WINDOW, False)
    assert throttle_key_failures(500, NOON, NOON + WINDOW + TICK) == (1, NOON + WINDOW + TICK, False)


def test_a_clock_that_went_back_keeps_counting() -> None:
    assert throttle_key_failures(10, NOON, NOON - WINDOW) == (11, NOON, True)


def test_a_device_that_keeps_to_retry_after_is_never_busy() -> None:
    """600 seconds between two asks is far below ten in fifteen minutes."""
    assert not any(busy_at(NOON + datetime.timedelta(seconds=600) * n for n in range(100)))


@given(st.lists(st.integers(0, 200), min_size=1, max_size=80))
def test_a_window_holds_ten_and_two_neighbours_twenty(gaps: list[int]) -> None:
    """
    Windows follow each other, so ten late in one and ten early in the next may lie within fifteen minutes: never more.
    """
    moments, now = [], NOON
    for gap in gaps:
        now += datetime.timedelta(seconds=gap)
        moments.append(now)
    let_through = [moment for moment, busy in zip(moments, busy_at(moments), strict=True) if not busy]
    for begin in let_through:
        assert sum(begin <= moment < begin + WINDOW for moment in let_through) <= 20
