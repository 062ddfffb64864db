"""Tries of passwords by username: the limit, and the memory of it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import guesses
from service.core.guessing import Limit, allows, spend
from service.guesses import Guesses


def granted(limit: Limit, moments: list[float]) -> list[float]:
    """Those of the moments at which a password was tried."""
    full_at, tried = 0.0, []
    for now in moments:
        if allows(limit, full_at, now):
            full_at = spend(limit, full_at, now)
            tried.append(now)
    return tried


def test_the_figures_are_the_order_s() -> None:
    assert (Limit().rate, Limit().burst) == (1.0, 30.0)


def test_thirty_at_once_and_then_one_a_second() -> None:
    assert len(granted(Limit(), [100.0] * 1000)) == 30
    flood = [100.0 + n / 100 for n in range(6000)]  # a hundred a second, for a minute
    assert len(granted(Limit(), flood)) == 30 + 59


def test_after_thirty_seconds_of_quiet_all_is_forgotten() -> None:
    assert len(granted(Limit(), [100.0] * 40 + [130.0] * 40)) == 60


@given(
    st.lists(st.floats(0, 30), min_size=1, max_size=200),
    st.floats(0.01, 10),
    st.integers(1, 50),
)
def test_no_order_of_tries_gets_more(gaps: list[float], rate: float, burst: int) -> None:
    """In any stretch of time: the burst, and the rate times its length."""
    limit = Limit(rate=rate, burst=burst)
    tried = granted(limit, list(itertools.accumulate(gaps, initial=1000.0)))
    assert tried, "the first one always"
    for first in range(len(tried)):
        for last in range(first, len(tried)):
            assert last - first + 1 <= burst + rate * (tried[last] - tried[first]) + 1e-6


def test_debts_of_several_processes_end() -> None:
    """What counts for longer than two bursts would lock a name out."""
    limit, full_at = Limit(), 0.0
    for _ in range(1000):
        full_at = spend(limit, full_at, 50.0)
    assert full_at == 50.0 + limit.longest == 50.0 + 60.0


class Clock:
    """In place of the monotonic one."""

    now = 1000.0

    def monotonic(self) -> float:
        """What time it is."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(guesses, "time", clock)
    return clock


def use_up(memory: Guesses, username: str) -> int:
    """Try until no more is allowed; returns how many were."""
    count = 0
    while memory.allows(username):
        memory.spend(username)
        count += 1
    return count


def test_ten_thousand_spellings_are_one_name(clock: Clock) -> None:
    """What is counted is what is looked up: names are unique in lower case."""
    assert clock.now
    memory = Guesses()
    letters = "factoryplant-07"
    spellings = {
        "".join(c.upper() if bits >> n & 1 else c for n, c in enumerate(letters)) for bits in range(0, 20_000, 2)
    }
    assert len(spellings) > 2_000
    tried = 0
    for spelling in spellings:
        if memory.allows(spelling):
            memory.spend(spelling)
            tried += 1
    assert tried == 30
    assert memory.take() == [{"username": letters, "count": 30}]
    assert memory.allows("factoryplant-08")


def test_a_flood_of_names_frees_none_that_is_guessed_at(clock: Clock) -> None:
    """What goes for want of room is what is forgotten soonest."""
    memory = Guesses(most=50)
    assert use_up(memory, "fleet") == 30
    for number in range(5000):
        memory.spend(f"nobody-{number}")
        clock.now += 0.0001
    assert len(memory) == 50
    assert not memory.allows("fleet")
    clock.now += 1.0
    assert use_up(memory, "fleet") == 1


def test_what_is_forgotten_takes_no_room(clock: Clock) -> None:
    memory = Guesses()
    for number in range(1000):
        memory.spend(f"nobody-{number}")
    assert len(memory) == 1000
    clock.now += 31.0
    memory.learn({})
    assert (len(memory), memory.take()) == (0, [])


def test_what_others_counted_counts(clock: Clock) -> None:
    memory = Guesses()
    memory.spend("fleet")
    memory.learn({"fleet": 28.5, "other": 60.0})
    assert use_up(memory, "fleet") == 1
    assert not memory.allows("other")
    memory.learn({"fleet": 0.1})  # never fewer than are known
    assert not memory.allows("fleet")
    clock.now += 30.5
    assert use_up(memory, "fleet") == 30
    assert use_up(memory, "other") == 0


def test_what_could_not_be_written_is_kept(clock: Clock) -> None:
    assert clock.now
    memory = Guesses()
    memory.spend("fleet")
    taken = memory.take()
    memory.spend("fleet")
    memory.give_back(taken)
    assert memory.take() == [{"username": "fleet", "count": 2}]
    assert memory.take() == []


@pytest.mark.parametrize(
    ("rate", "burst", "debt", "allowed"),
    [
        (1.0, 30.0, 29.0, True),
        (1.0, 30.0, 29.1, False),
        (2.0, 3.0, 1.0, True),
        (2.0, 3.0, 1.1, False),
        (0.5, 1.0, 0.0, True),
        (0.5, 1.0, 0.1, False),
    ],
)
def test_a_try_is_allowed_while_a_burst_is_not_used_up(rate: float, burst: float, debt: float, allowed: bool) -> None:
    """`debt`: seconds until all earlier tries are forgotten."""
    assert allows(Limit(rate=rate, burst=burst), 100.0 + debt, 100.0) is allowed
