"""How a run goes on: what a device's `status` message, or a step's reply, does to it."""

from __future__ import annotations

from dataclasses import dataclass

from service.core.states import RunState, may_move_run
from service.core.verdicts import Denied


@dataclass(frozen=True)
class Moves:
    """The run goes to the state that was said."""


def decide_status(run: RunState | None, said: RunState, *, past_deadline: bool) -> Moves | Denied:
    """
    `run` is the state of the live run that the message names; None where it names none, or another.

    Forward only; steps may be left out. Past its deadline a run is over, whether the sweep has closed it yet or not.
    """
    if run is None:
        return Denied(reason="status_of_another_run")
    if past_deadline:
        return Denied(reason="status_past_deadline")
    if not may_move_run(run, said):
        return Denied(reason="status_late")
    return Moves()
