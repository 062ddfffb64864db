"""
The steps of a run on Kura's wire (design 4.2): each application, then the CA to trust at the account broker where there
is one, then the configuration, last, because it cuts the connection. What a message of the device means for them, and
what is sent next.

An unanswered step is sent again, with the same ids, when the device gives a sign of life: silence uses up nothing. An
error uses up one of the step's retries, and the next try has ids of its own, so that late words about the old one have
no effect.

A gateway that knows no keystore requests (Kura before 5.0) answers 404 to the CA, or nothing at all: then it is left
out, for such a gateway has its CAs from elsewhere, and the login will tell.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from service.core.states import RunState, may_move_run
from service.core.verdicts import Denied

RETRIES = 3
TIMEOUT = datetime.timedelta(seconds=60)

NOT_FOUND = 404

# Kura's DownloadStatus and InstallStatus.
COMPLETED = frozenset({"COMPLETED", "ALREADY DONE", "ALREADY_DONE"})
FAILED = frozenset({"FAILED", "CANCELLED"})
UNDER_WAY = frozenset({"IN_PROGRESS", "IDLE"})


class StepKind(enum.StrEnum):
    """What a step brings to the device."""

    APPLICATION = "application"
    CA = "ca"
    CONFIGURATION = "configuration"


class StepState(enum.StrEnum):
    """How far a step is. ACCEPTED: the device said 200 and works on it."""

    WAITING = "WAITING"
    SENT = "SENT"
    ACCEPTED = "ACCEPTED"
    DONE = "DONE"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step; `position` counts from 1, and an application's is its place in the request."""

    position: int
    kind: StepKind
    state: StepState
    request_id: str
    job_id: int | None = None
    retries: int = 0
    sent_at: datetime.datetime | None = None
    answered_at: datetime.datetime | None = None

    @property
    def heard_of_at(self) -> datetime.datetime | None:
        """When it was last sent, or told about."""
        times = [moment for moment in (self.sent_at, self.answered_at) if moment is not None]
        return max(times, default=None)


@dataclass(frozen=True)
class Alive:
    """A sign of life: the device asked, or said that it was born."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A REPLY to a request of ours."""

    request_id: str
    code: int
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A NOTIFY about a job of ours."""

    job_id: int
    resource: str  # download or install
    status: str
    text: str | None = None


Message = Alive | Reply | Notice


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings: how long a step may be silent before it is sent again, how many errors it survives."""

    timeout: datetime.timedelta = TIMEOUT
    retries: int = RETRIES


@dataclass(frozen=True, kw_only=True)
class Send:
    """Send this step, for the first time or again; the run moves first."""

    step: Step
    moves: tuple[RunState, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Hear:
    """The device works on this step, which is then in this state."""

    step: Step
    state: StepState


@dataclass(frozen=True, kw_only=True)
class Advance:
    """This step is done, or left out: the run moves, and the next step is sent. None: the login is awaited."""

    step: Step
    moves: tuple[RunState, ...] = ()
    then: Send | None = None
    left_out: bool = False


@dataclass(frozen=True, kw_only=True)
class Retry:
    """An error: the step is sent once more, under new ids."""

    step: Step


@dataclass(frozen=True, kw_only=True)
class Fail:
    """The step is out of retries, and the run has failed."""

    step: Step


Effect = Send | Hear | Advance | Retry | Fail
Decision = Effect | Denied


def decide_step(
    run: RunState, steps: Sequence[Step], message: Message, *, now: datetime.datetime, past_deadline: bool, rules: Rules
) -> Decision:
    """What a message means for the live run of the device that sent it. Denied: it has no effect."""
    if past_deadline:
        return Denied(reason="reply_past_deadline")
    current = current_step(steps)
    if isinstance(message, Alive):
        heard = current.heard_of_at
        if current.state is not StepState.WAITING and heard is not None and now - heard < rules.timeout:
            return Denied(reason="step_under_way")
        return _decide_again(run, steps, current, rules)
    named = _named(steps, message)
    if named is None:
        return Denied(reason="reply_to_nothing")
    if named is not current or named.state in (StepState.WAITING, StepState.DONE):
        return Denied(reason="reply_late")
    if isinstance(message, Reply):
        return _decide_reply(run, steps, named, message, rules)
    return _decide_notice(run, steps, named, message, rules)


def _decide_again(run: RunState, steps: Sequence[Step], step: Step, rules: Rules) -> Send | Advance:
    """The step goes out, for the first time or again. Of the CA silence is counted: it may be all that ever comes."""
    if step.kind is StepKind.CA and step.state is StepState.SENT:
        if step.retries >= rules.retries:
            return dataclasses.replace(_advance(run, steps, step), left_out=True)
        step = dataclasses.replace(step, retries=step.retries + 1)
    return Send(step=step, moves=_moves(run, _BEFORE[step.kind]))


def current_step(steps: Sequence[Step]) -> Step:
    """The first that is not done; the last one where all are: a device that is still here did not keep it."""
    return next((step for step in steps if step.state is not StepState.DONE), steps[-1])


_BEFORE = {
    StepKind.APPLICATION: (RunState.APPS_INSTALLING,),
    StepKind.CA: (RunState.CONF_UPDATING,),
    StepKind.CONFIGURATION: (RunState.CONF_UPDATING,),
}


def _named(steps: Sequence[Step], message: Reply | Notice) -> Step | None:
    if isinstance(message, Reply):
        return next((step for step in steps if step.request_id == message.request_id), None)
    return next((step for step in steps if step.job_id is not None and step.job_id == message.job_id), None)


def _decide_reply(run: RunState, steps: Sequence[Step], step: Step, reply: Reply, rules: Rules) -> Decision:
    if step.state is not StepState.SENT:
        return Denied(reason="reply_late")
    if reply.code == NOT_FOUND and step.kind is StepKind.CA:
        return dataclasses.replace(_advance(run, steps, step), left_out=True)
    if reply.code != 200:
        return _decide_error(step, rules)
    # Of an application 200 means that it is fetched, of the configuration that it will be applied.
    if step.kind is StepKind.APPLICATION:
        return Hear(step=step, state=StepState.ACCEPTED)
    return _advance(run, steps, step)


def _decide_notice(run: RunState, steps: Sequence[Step], step: Step, notice: Notice, rules: Rules) -> Decision:
    if notice.status in FAILED:
        return _decide_error(step, rules)
    if notice.status in COMPLETED and notice.resource == "install":
        return _advance(run, steps, step)
    if notice.status in COMPLETED | UNDER_WAY:
        return Hear(step=step, state=step.state)  # its REPLY may still be on its way
    return Denied(reason="unknown_status")


def _decide_error(step: Step, rules: Rules) -> Retry | Fail:
    return Retry(step=step) if step.retries < rules.retries else Fail(step=step)


def _advance(run: RunState, steps: Sequence[Step], step: Step) -> Advance:
    """Moves before the next step's sending belong to the step that is done: APPS_INSTALLED; the others to the next."""
    after = [later for later in steps if later.position > step.position]
    if not after:
        return Advance(step=step, moves=_moves(run, (RunState.CONF_UPDATED,)))
    if after[0].kind is StepKind.APPLICATION:
        return Advance(step=step, then=Send(step=after[0]))
    installed = (RunState.APPS_INSTALLED,) if step.kind is StepKind.APPLICATION else ()
    sent = Send(step=after[0], moves=_moves(run, (RunState.CONF_UPDATING,)))
    return Advance(step=step, moves=_moves(run, installed), then=sent)


def _moves(run: RunState, states: Sequence[RunState]) -> tuple[RunState, ...]:
    """Those that lead forward: a step that is sent again moves nothing."""
    return tuple(state for state in states if may_move_run(run, state))
