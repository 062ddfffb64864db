"""The slow-hash budget (D5): a token bucket that no clock and no order of questions can cheat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.budget import Budget, full_budget, settle, take

START = 1000.0


def taken(budget: Budget, moments: list[float]) -> list[bool]:
    """One token wanted at each moment: which of them were there."""
    results = []
    for moment in moments:
        budget, enough = take(budget, moment)
        results.append(enough)
    return results


def test_a_burst_is_there_from_the_beginning_and_no_more() -> None:
    assert taken(full_budget(4, 2, START), [START] * 4) == [True, True, False, False]


def test_tokens_come_back_at_the_rate() -> None:
    budget = full_budget(4, 2, START)
    assert taken(budget, [START, START, START + 0.125, START + 0.25, START + 0.375]) == [True, True, False, True, False]


def test_not_more_than_the_burst_is_saved() -> None:
    assert taken(full_budget(4, 2, START), [START + 3600] * 3) == [True, True, False]


def test_where_they_are_not_there_nothing_is_taken() -> None:
    """Asking in vain does not put the next token off."""
    budget = full_budget(4, 2, START)
    impatient = [START, START, *[START + 0.01 * n for n in range(1, 25)], START + 0.25]
    assert taken(budget, impatient)[-1]


def test_several_tokens_are_all_there_or_none_is_taken() -> None:
    budget, enough = take(full_budget(4, 2, START), START, 3)
    assert not enough
    assert budget.tokens == 2
    budget, enough = take(budget, START, 2)
    assert enough
    assert budget.tokens == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    budget, _ = take(full_budget(4, 2, START), START, 2)
    for moment in (START - 100, START, START - 100, START):
        budget, enough = take(budget, moment)
        assert not enough
    assert budget.at == START
    _, enough = take(budget, START + 0.25)
    assert enough


def test_rate_and_burst_never_change() -> None:
    budget = full_budget(4, 2, START)
    for moment in (START, START + 1, START - 1):
        budget, _ = take(budget, moment)
        assert (budget.rate, budget.burst) == (4, 2)


@pytest.mark.parametrize("rate", [0.1, 4, 1000])
def test_who_waits_long_enough_gets_a_token(rate: float) -> None:
    budget, _ = take(full_budget(rate, 1, START), START)
    assert taken(budget, [START + 1.001 / rate]) == [True]


def test_a_hash_that_took_longer_than_its_token_owes_the_rest() -> None:
    budget, _ = take(full_budget(4, 2, START), START)
    assert settle(budget, START, 0.1).tokens == 1
    assert settle(budget, START, 0.0).tokens == 1, "nothing is given back"
    owing = settle(budget, START + 0.5, 0.5)
    assert owing.tokens == pytest.approx(2 - 4), "by then it was full again"
    assert taken(owing, [START + 0.5 + 0.74, START + 0.5 + 0.76]) == [False, True]


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.4, 1.5])
def test_the_broker_waits_for_no_more_than_its_share(seconds: float) -> None:
    """Asked again at once and for ever: rate · 0.1 s of each second, whatever a hash takes."""
    budget, now, waited = full_budget(4, 2, START), START, 0.0
    while now < START + 600:
        budget, enough = take(budget, now)
        if enough:
            now += seconds
            waited += seconds
            budget = settle(budget, now, seconds)
        else:
            now += 0.01
    assert waited <= 4 * 0.1 * 600 + 2 * seconds + 0.2


gaps = st.floats(min_value=-5, max_value=5, allow_nan=False)


@given(
    st.floats(min_value=0.1, max_value=50),
    st.floats(min_value=1, max_value=20),
    st.lists(st.tuples(gaps, st.sampled_from([1, 1, 1, 2])), min_size=1, max_size=60),
)
def test_no_window_gives_more_than_burst_and_rate(rate: float, burst: float, wanted: list[tuple[float, int]]) -> None:
    """Between any two moments at most burst + rate · time, however the clock jumps."""
    budget, now, clock, granted = full_budget(rate, burst, START), START, START, []
    for gap, tokens in wanted:
        now += gap
        clock = max(clock, now)
        budget, enough = take(budget, now, tokens)
        assert 0 <= budget.tokens <= burst
        if enough:
            granted.append((clock, tokens))
    for index, (begin, _) in enumerate(granted):
        total = 0
        for end, tokens in granted[index:]:
            total += tokens
            assert total <= burst + rate * (end - begin) + 1e-6
