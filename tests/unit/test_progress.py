"""What a device's `status` does to its run (design 4.1, section 6): forward only, steps may be left out."""

from __future__ import annotations

import itertools

import pytest

from service.core.messages import STATUS_STATES
from service.core.progress import Moves, decide_status
from service.core.states import RunState
from service.core.verdicts import Denied
from tests.unit import vectors

SAID = list(STATUS_STATES.values())
MOVES = vectors.load("states")["run_moves"]


def test_the_words_of_the_wire_are_the_design_s() -> None:
    assert {word: state.value for word, state in STATUS_STATES.items()} == {
        "installing": "APPS_INSTALLING",
        "installed": "APPS_INSTALLED",
        "configuring": "CONF_UPDATING",
        "applied": "CONF_UPDATED",
        "failed": "FAILED",
    }


@pytest.mark.parametrize(("run", "said"), list(itertools.product(RunState, SAID)))
def test_a_status_moves_the_run_forward_or_not_at_all(run: RunState, said: RunState) -> None:
    expected = Moves() if said.value in MOVES[run.value] else Denied(reason="status_late")
    assert decide_status(run, said, past_deadline=False) == expected


@pytest.mark.parametrize("said", SAID)
def test_a_status_of_another_run_is_ignored(said: RunState) -> None:
    assert decide_status(None, said, past_deadline=False) == Denied(reason="status_of_another_run")


def test_the_same_status_again_is_late() -> None:
    for said in SAID:
        assert decide_status(said, said, past_deadline=False) == Denied(reason="status_late")


def test_steps_may_be_left_out() -> None:
    assert decide_status(RunState.RUNNING, RunState.CONF_UPDATED, past_deadline=False) == Moves()


def test_a_device_may_fail_at_any_step_but_not_after_the_end() -> None:
    assert decide_status(RunState.CONF_UPDATED, RunState.FAILED, past_deadline=False) == Moves()
    for over in (RunState.COMPLETED, RunState.STOPPING, RunState.STOPPED, RunState.FAILED, RunState.ABANDONED):
        assert not decide_status(over, RunState.FAILED, past_deadline=False)


@pytest.mark.parametrize("said", SAID)
def test_past_the_deadline_nothing_moves(said: RunState) -> None:
    assert decide_status(RunState.RUNNING, said, past_deadline=True) == Denied(reason="status_past_deadline")
    assert decide_status(None, said, past_deadline=True) == Denied(reason="status_of_another_run")
