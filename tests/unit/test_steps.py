"""Steps of a run on Kura's wire, against tests/vectors/steps.json."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import steps
from service.core.states import LIVE_ORDER, RunState, may_move_run
from service.core.steps import (
    Advance,
    Alive,
    Decision,
    Fail,
    Hear,
    Message,
    Notice,
    Reply,
    Retry,
    Rules,
    Send,
    Step,
    StepKind,
    StepState,
    decide_step,
)
from service.core.verdicts import Denied
from tests.unit import vectors

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
NAMES = {"send": Send, "hear": Hear, "advance": Advance, "retry": Retry, "fail": Fail, "denied": Denied}


def make_steps(row: dict[str, Any]) -> list[Step]:
    silent = datetime.timedelta(seconds=row.get("silent_for", 0))
    made = []
    for position, (kind, state) in enumerate(row["steps"], 1):
        under_way = state not in ("WAITING",)
        made.append(
            Step(
                position=position,
                kind=StepKind(kind),
                state=StepState(state),
                request_id=f"r{position}",
                job_id=position if kind == "application" else None,
                retries=row.get("retries", 0),
                sent_at=NOON - silent if under_way else None,
                answered_at=NOON - silent if state in ("ACCEPTED", "DONE") else None,
            )
        )
    return made


def make_message(row: dict[str, Any]) -> Message:
    said = row["message"]
    if "reply" in said:
        return Reply(request_id=f"r{said['reply']}", code=said["code"])
    if "notice" in said:
        return Notice(job_id=said["notice"], resource=said["resource"], status=said["status"])
    return Alive()


def decide(row: dict[str, Any]) -> Decision:
    return decide_step(
        RunState(row["run"]),
        make_steps(row),
        make_message(row),
        now=NOON,
        past_deadline=row.get("past_deadline", False),
        rules=Rules(),
    )


@pytest.mark.parametrize("row", vectors.rows("steps", "decisions"), ids=lambda row: vectors.shown(row["name"]))
def test_a_message_means_what_the_table_says(row: dict[str, Any]) -> None:
    decision = decide(row)
    assert type(decision) is NAMES[row["decision"]]
    if isinstance(decision, Denied):
        assert decision.reason == row["reason"]
        assert not decision
        return
    assert decision.step.position == row["step"]
    if isinstance(decision, (Send, Advance)):
        assert list(decision.moves) == row["moves"]
    if isinstance(decision, Hear):
        assert decision.state == row["state"]
    if "step_retries" in row:
        assert decision.step.retries == row["step_retries"]
    if isinstance(decision, Advance):
        assert decision.left_out == row.get("left_out", False)
        then = decision.then
        assert (then.step.position if then else None) == row["then"]
        assert then is None or list(then.moves) == row["then_moves"]


kinds = st.builds(
    lambda applications, cas: ["application"] * applications + ["ca"] * cas + ["configuration"],
    st.integers(0, 3),
    st.integers(0, 2),
)
messages = st.one_of(
    st.just({"alive": True}),
    st.builds(lambda step, code: {"reply": step, "code": code}, st.integers(1, 7), st.sampled_from([200, 404, 500])),
    st.builds(
        lambda step, resource, status: {"notice": step, "resource": resource, "status": status},
        st.integers(1, 7),
        st.sampled_from(["download", "install"]),
        st.sampled_from([*steps.COMPLETED, *steps.FAILED, *steps.UNDER_WAY, "?"]),
    ),
)


@given(kinds, st.data(), st.sampled_from(LIVE_ORDER[2:]), messages, st.integers(0, 100), st.integers(0, 4))
def test_whatever_comes_the_run_goes_forward_and_no_step_is_left_out(
    chosen: list[str], data: st.DataObject, run: RunState, message: dict[str, Any], silent: int, retries: int
) -> None:
    """Any state of steps, any message: moves are allowed ones, and what is sent is the first that is not done."""
    states = data.draw(st.lists(st.sampled_from(list(StepState)), min_size=len(chosen), max_size=len(chosen)))
    row = {
        "run": run, "steps": list(zip(chosen, states, strict=True)), "message": message, "silent_for": silent,
        "retries": retries,
    }  # fmt: skip
    decision = decide(row)
    current = steps.current_step(make_steps(row))
    if isinstance(decision, Denied):
        return
    assert dataclasses.replace(decision.step, retries=retries) == current
    moves = decision.moves if isinstance(decision, (Send, Advance)) else ()
    if isinstance(decision, Advance) and decision.then is not None:
        moves += decision.then.moves
        assert decision.then.step.position == current.position + 1
    for move in moves:
        assert may_move_run(run, move)
        run = move
    if isinstance(decision, Fail):
        assert retries >= 3


CA_SENT = Step(position=1, kind=StepKind.CA, state=StepState.SENT, request_id="r1")
CONFIGURATION = Step(position=2, kind=StepKind.CONFIGURATION, state=StepState.WAITING, request_id="r2")


def hear(run: RunState, known: list[Step], message: Message) -> Decision:
    """Long after the last word."""
    return decide_step(run, known, message, now=NOON, past_deadline=False, rules=Rules(retries=0))


@pytest.mark.parametrize("run", [RunState.APPS_INSTALLING, RunState.APPS_INSTALLED, RunState.CONF_UPDATING])
def test_a_ca_that_is_left_out_moves_the_run_as_one_that_was_taken(run: RunState) -> None:
    known = [CA_SENT, CONFIGURATION]
    moves = (RunState.CONF_UPDATING,) if may_move_run(run, RunState.CONF_UPDATING) else ()
    taken = Advance(step=CA_SENT, then=Send(step=CONFIGURATION, moves=moves))
    assert hear(run, known, Reply(request_id="r1", code=200)) == taken
    left_out = dataclasses.replace(taken, left_out=True)
    assert hear(run, known, Reply(request_id="r1", code=404)) == left_out
    assert hear(run, known, Alive()) == left_out


@pytest.mark.parametrize("state", StepState)
def test_a_reply_to_another_step_than_the_current_one_is_late(state: StepState) -> None:
    known = [CA_SENT, dataclasses.replace(CONFIGURATION, state=state)]
    assert hear(RunState.CONF_UPDATING, known, Reply(request_id="r2", code=200)) == Denied(reason="reply_late")


@pytest.mark.parametrize("state", [StepState.WAITING, StepState.DONE])
def test_a_reply_to_what_was_not_sent_or_is_done_is_late(state: StepState) -> None:
    known = [dataclasses.replace(CONFIGURATION, state=state)]
    assert hear(RunState.CONF_UPDATING, known, Reply(request_id="r2", code=200)) == Denied(reason="reply_late")
