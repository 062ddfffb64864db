"""
The life of a provision request and of its runs: two tables of moves; an unlisted move is an error (design section 6).

The database holds the same moves as named constraints; a test compares them pair by pair. Diagram: docs/states.md.
"""

from __future__ import annotations

import datetime
import enum


class RequestState(enum.StrEnum):
    """The stored states. `enabled` is a column of its own."""

    OPEN = "OPEN"
    RUNNING = "RUNNING"
    PROVISIONED = "PROVISIONED"
    ABANDONED = "ABANDONED"


class RunState(enum.StrEnum):
    """The product's list, in its words. SKIPPED is never written."""

    CREATED = "CREATED"
    STARTED = "STARTED"
    RUNNING = "RUNNING"
    APPS_INSTALLING = "APPS_INSTALLING"
    APPS_INSTALLED = "APPS_INSTALLED"
    CONF_UPDATING = "CONF_UPDATING"
    CONF_UPDATED = "CONF_UPDATED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    SKIPPED = "SKIPPED"
    ABANDONED = "ABANDONED"


REQUEST_MOVES: frozenset[tuple[RequestState, RequestState]] = frozenset(
    {
        (RequestState.OPEN, RequestState.RUNNING),  # good ask
        (RequestState.RUNNING, RequestState.PROVISIONED),  # first allowed login
        (RequestState.RUNNING, RequestState.OPEN),  # failed, deadline, stop
        (RequestState.RUNNING, RequestState.ABANDONED),  # failed at the maximum of attempts
        (RequestState.PROVISIONED, RequestState.OPEN),  # reopen
        (RequestState.ABANDONED, RequestState.OPEN),  # reopen
    }
)

# A live run goes forward in this order, and may leave steps out.
LIVE_ORDER: tuple[RunState, ...] = (
    RunState.CREATED,
    RunState.STARTED,
    RunState.RUNNING,
    RunState.APPS_INSTALLING,
    RunState.APPS_INSTALLED,
    RunState.CONF_UPDATING,
    RunState.CONF_UPDATED,
)
ENDED: frozenset[RunState] = frozenset(
    {RunState.COMPLETED, RunState.FAILED, RunState.STOPPED, RunState.SKIPPED, RunState.ABANDONED}
)


def may_move_run(was: RunState, becomes: RunState) -> bool:
    """Whether a run may go from one state to another."""
    if was is RunState.STOPPING:
        return becomes is RunState.STOPPED
    if was not in LIVE_ORDER:
        return False
    if becomes in LIVE_ORDER:
        return LIVE_ORDER.index(becomes) > LIVE_ORDER.index(was)
    if becomes is RunState.COMPLETED:
        return LIVE_ORDER.index(was) >= LIVE_ORDER.index(RunState.RUNNING)
    return becomes in (RunState.FAILED, RunState.ABANDONED, RunState.STOPPING, RunState.STOPPED)


def shown_status(
    *,
    state: RequestState,
    enabled: bool,
    activates_on: datetime.datetime,
    expires_on: datetime.datetime | None,
    now: datetime.datetime,
) -> str:
    """The word people see: the first of PROVISIONED RUNNING ABANDONED DISABLED EXPIRED SCHEDULED OPEN that holds."""
    if state is not RequestState.OPEN:
        return state.value
    if not enabled:
        return "DISABLED"
    if expires_on is not None and now >= expires_on:
        return "EXPIRED"
    if now < activates_on:
        return "SCHEDULED"
    return "OPEN"
