"""What becomes of an ask (design D6, D7, D10 and section 6): which device learns what, and where the window ends."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from service.core import asks
from service.core.asks import AskedRequest, Begin, LiveRun, Refused, Repeat, decide_ask
from service.core.releases import Claim, OpenRelease
from service.core.states import RequestState

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
TICK = datetime.timedelta(microseconds=1)
SECOND = datetime.timedelta(seconds=1)
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)

OPEN = AskedRequest(
    state=RequestState.OPEN,
    enabled=True,
    account_enabled=True,
    device_enabled=True,
    endpoint_served=True,
    has_key=True,
    activates_on=NOON - HOUR,
    expires_on=NOON + HOUR,
    live_run=None,
    now=NOON,
)
LIVE = LiveRun(wire="json", past_deadline=False)
LATE = LiveRun(wire="json", past_deadline=True)
RUNNING = dataclasses.replace(OPEN, state=RequestState.RUNNING, live_run=LIVE)
OVERDUE = dataclasses.replace(RUNNING, live_run=LATE)
PROVISIONED = dataclasses.replace(OPEN, state=RequestState.PROVISIONED)
ABANDONED = dataclasses.replace(OPEN, state=RequestState.ABANDONED)
NOT_YET: dict[str, Any] = {"activates_on": NOON + HOUR, "expires_on": None}
OVER: dict[str, Any] = {"expires_on": NOON}

RIGHT = {"key_given": True, "key_matches": True}
WRONG = {"key_given": True, "key_matches": False}
MISSING = {"key_given": False, "key_matches": False}


def ask(
    request: AskedRequest | None,
    key: dict[str, bool] = RIGHT,
    *,
    wire: str = "json",
    wants_seal: bool = False,
    **changes: Any,
) -> Begin | Repeat | Refused:
    if request is not None:
        request = dataclasses.replace(request, **changes)
    return decide_ask(request, wire=wire, wants_seal=wants_seal, **key)


def code(decision: Begin | Repeat | Refused) -> str:
    """What the device reads; `reason` where it reads no more than `refused`."""
    if isinstance(decision, Refused):
        return decision.code if decision.code != "refused" else f"refused: {decision.reason}"
    return "again" if isinstance(decision, Repeat) else "begins"


# What a device learns that proved its key, or whose request has none.
OUTCOMES: list[tuple[str, AskedRequest, dict[str, Any], str]] = [
    ("open", OPEN, {}, "begins"),
    ("open, never expires", OPEN, {"expires_on": None}, "begins"),
    ("open, not yet active", OPEN, NOT_YET, "not_yet_active"),
    ("open, expired", OPEN, OVER, "expired"),
    ("open, disabled", OPEN, {"enabled": False}, "refused: request_disabled"),
    ("open, account disabled", OPEN, {"account_enabled": False}, "refused: account_disabled"),
    ("open, device disabled", OPEN, {"device_enabled": False}, "refused: device_disabled"),
    ("open, endpoint not served", OPEN, {"endpoint_served": False}, "refused: endpoint_not_served"),
    ("running", RUNNING, {}, "again"),
    ("running, expired meanwhile", RUNNING, OVER, "again"),
    ("running, activation moved meanwhile", RUNNING, NOT_YET, "again"),
    ("running, disabled", RUNNING, {"enabled": False}, "refused: request_disabled"),
    ("running, account disabled", RUNNING, {"account_enabled": False}, "refused: account_disabled"),
    ("running, device disabled", RUNNING, {"device_enabled": False}, "refused: device_disabled"),
    ("overdue", OVERDUE, {}, "begins"),
    ("overdue, expired", OVERDUE, OVER, "expired"),
    ("overdue, not yet active", OVERDUE, NOT_YET, "not_yet_active"),
    ("overdue, disabled", OVERDUE, {"enabled": False}, "refused: request_disabled"),
    ("provisioned", PROVISIONED, {}, "already_provisioned"),
    ("provisioned, expired", PROVISIONED, OVER, "already_provisioned"),
    ("provisioned, device disabled", PROVISIONED, {"device_enabled": False}, "already_provisioned"),
    ("provisioned, disabled", PROVISIONED, {"enabled": False}, "refused: request_disabled"),
    ("provisioned, account disabled", PROVISIONED, {"account_enabled": False}, "refused: account_disabled"),
    ("abandoned", ABANDONED, {}, "refused: abandoned"),
    ("abandoned, expired", ABANDONED, OVER, "refused: abandoned"),
    ("abandoned, not yet active", ABANDONED, NOT_YET, "refused: abandoned"),
    ("abandoned, disabled", ABANDONED, {"enabled": False}, "refused: request_disabled"),
]
CASES = [pytest.param(request, changes, expected, id=name) for name, request, changes, expected in OUTCOMES]


@pytest.mark.parametrize(("request_", "changes", "expected"), CASES)
def test_the_right_key_learns_what_the_request_says(
    request_: AskedRequest, changes: dict[str, Any], expected: str
) -> None:
    assert code(ask(request_, RIGHT, **changes)) == expected


@pytest.mark.parametrize(("request_", "changes", "expected"), CASES)
@pytest.mark.parametrize("key", [MISSING, WRONG], ids=["no key", "a key nobody asked for"])
def test_where_the_request_has_no_key_any_device_of_it_learns_the_same(
    request_: AskedRequest, changes: dict[str, Any], expected: str, key: dict[str, bool]
) -> None:
    assert code(ask(request_, key, has_key=False, **changes)) == expected


@pytest.mark.parametrize(("request_", "changes", "_expected"), CASES)
@pytest.mark.parametrize(
    ("key", "reason"), [(WRONG, "wrong_activation_key"), (MISSING, "missing_activation_key")], ids=["wrong", "missing"]
)
@pytest.mark.parametrize("wants_seal", [False, True])
def test_without_the_right_key_a_device_learns_nothing(
    request_: AskedRequest, changes: dict[str, Any], _expected: str, key: dict[str, bool], reason: str, wants_seal: bool
) -> None:
    """One answer, to the letter, in every state: a stranger cannot even tell a request from none (D10)."""
    assert ask(request_, key, wants_seal=wants_seal, **changes) == Refused(
        code="refused", reason=reason, retry_after=600, key_failure=True
    )


@pytest.mark.parametrize("key", [RIGHT, WRONG, MISSING], ids=["right", "wrong", "missing"])
def test_an_unknown_client_id_reads_like_a_wrong_key(key: dict[str, bool]) -> None:
    """What reaches the wire (code, retry_after, not_before) is the same; only our log knows."""
    unknown, wrong = ask(None, key), ask(OPEN, WRONG)
    assert isinstance(unknown, Refused)
    assert isinstance(wrong, Refused)
    assert unknown.reason == "unknown_client_id"
    assert not unknown.key_failure
    assert (unknown.code, unknown.retry_after, unknown.not_before) == (wrong.code, wrong.retry_after, wrong.not_before)


@pytest.mark.parametrize(
    ("request_", "changes"),
    [
        (OPEN, {"account_enabled": False}),
        (OPEN, {"enabled": False}),
        (OPEN, {"device_enabled": False}),
        (OPEN, {"endpoint_served": False}),
        (ABANDONED, {}),
        (RUNNING, {"live_run": LiveRun(wire="kura", past_deadline=False)}),
    ],
)
def test_every_plain_refusal_reads_alike_on_the_wire(request_: AskedRequest, changes: dict[str, Any]) -> None:
    decision = ask(request_, **changes)
    assert isinstance(decision, Refused)
    assert (decision.code, decision.retry_after, decision.not_before) == ("refused", 600, None)
    assert not decision.key_failure
    assert not decision.contested


def test_sealing_needs_a_key_to_seal_with() -> None:
    assert ask(OPEN, has_key=False, wants_seal=True) == Refused(code="bad_message", reason="seal_without_key")
    assert ask(OPEN, wants_seal=True) == Begin()
    assert ask(RUNNING, wants_seal=True) == Repeat()


def test_a_good_ask_begins_a_run() -> None:
    assert ask(OPEN) == Begin(after_deadline=False)


def test_an_ask_in_a_run_gets_the_same_answer() -> None:
    assert ask(RUNNING) == Repeat()


def test_an_ask_on_the_other_wire_is_refused_while_a_run_lives() -> None:
    for live, asked in (("json", "kura"), ("kura", "json")):
        decision = ask(RUNNING, wire=asked, live_run=LiveRun(wire=live, past_deadline=False))
        assert code(decision) == "refused: run_on_another_wire"
    assert ask(RUNNING, wire="kura", live_run=LiveRun(wire="kura", past_deadline=False)) == Repeat()


def test_past_its_deadline_a_run_is_closed_and_a_new_one_begins_on_either_wire() -> None:
    assert ask(OVERDUE) == Begin(after_deadline=True)
    assert ask(OVERDUE, wire="kura") == Begin(after_deadline=True)


def test_no_run_begins_towards_an_endpoint_that_is_not_served() -> None:
    """No login could ever be seen there (D1)."""
    for request in (OPEN, OVERDUE):
        assert code(ask(request, endpoint_served=False)) == "refused: endpoint_not_served"


def test_the_right_key_after_success_is_contested() -> None:
    contested = ask(PROVISIONED)
    assert contested == Refused(code="already_provisioned", reason="already_provisioned", contested=True)
    unkeyed = ask(PROVISIONED, MISSING, has_key=False)
    assert unkeyed == Refused(code="already_provisioned", reason="already_provisioned", contested=False)


@pytest.mark.parametrize("request_", [OPEN, OVERDUE], ids=["first run", "run after a deadline"])
@pytest.mark.parametrize(
    ("activates_on", "expires_on", "expected"),
    [
        (NOON, None, "begins"),
        (NOON - TICK, None, "begins"),
        (NOON + TICK, None, "not_yet_active"),
        (NOON - HOUR, NOON + TICK, "begins"),
        (NOON - HOUR, NOON, "expired"),
        (NOON - HOUR, NOON - TICK, "expired"),
        (NOON, NOON + TICK, "begins"),
    ],
)
def test_the_window_is_half_open_to_the_microsecond(
    request_: AskedRequest, activates_on: datetime.datetime, expires_on: datetime.datetime | None, expected: str
) -> None:
    """*Activates on* is the first moment inside, *expires on* the first one outside."""
    assert code(ask(request_, activates_on=activates_on, expires_on=expires_on)) == expected


@pytest.mark.parametrize(
    ("wait", "retry_after"),
    [
        (TICK, 1),
        (SECOND - TICK, 1),
        (SECOND, 2),
        (10 * SECOND, 11),
        (10 * SECOND + TICK, 11),
        (DAY - 2 * SECOND, 86_399),
        (DAY, 86_400),
        (DAY + SECOND, 86_400),
        (3650 * DAY, 86_400),
    ],
)
def test_an_early_device_is_told_when_to_come_back(wait: datetime.timedelta, retry_after: int) -> None:
    """Never too early, in whole seconds, at least once a day."""
    decision = ask(OPEN, activates_on=NOON + wait, expires_on=None)
    assert decision == Refused(
        code="not_yet_active", reason="not_yet_active", retry_after=retry_after, not_before=NOON + wait
    )
    assert SECOND * retry_after > wait or retry_after == 86_400


def test_what_a_device_may_learn_is_also_what_operators_read() -> None:
    for decision in (ask(OPEN, **OVER), ask(OPEN, **NOT_YET), ask(PROVISIONED)):
        assert isinstance(decision, Refused)
        assert decision.reason == decision.code


def test_the_figures_are_the_design_s() -> None:
    """D7: an hour to log in, thirty days from the first status on. A busy device waits for a window of failures."""
    assert (asks.CONFIRM_WITHIN, asks.CONFIRM_WITHIN_AFTER_STATUS) == (HOUR, 30 * DAY)
    assert asks.RETRY_AFTER_BUSY == 900
    assert datetime.timedelta(seconds=900) == asks.KEY_FAILURES_WINDOW


def test_what_time_cannot_heal_has_no_time_to_come_back() -> None:
    for decision in (ask(OPEN, **OVER), ask(PROVISIONED), ask(OPEN, has_key=False, wants_seal=True)):
        assert isinstance(decision, Refused)
        assert (decision.retry_after, decision.not_before) == (None, None)


def test_stopped_issuing_begins_nothing() -> None:
    """Neither a first run nor one after a deadline; the device is told to wait, and not why."""
    for request in (OPEN, OVERDUE):
        refused = ask(request, issuing_stopped=True)
        assert isinstance(refused, Refused)
        assert (refused.code, refused.reason, refused.retry_after) == ("busy", "issuing_stopped", 300)
        assert not refused.key_failure


def test_stopped_issuing_lets_a_run_under_way_go_on() -> None:
    assert ask(RUNNING, issuing_stopped=True) == Repeat()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, "busy"), (NOT_YET, "not_yet_active"), (OVER, "expired"), ({"enabled": False}, "refused: request_disabled")],
)
def test_a_stop_is_told_last(changes: dict[str, Any], expected: str) -> None:
    assert code(ask(OPEN, issuing_stopped=True, **changes)) == expected
    assert code(ask(OPEN, WRONG, issuing_stopped=True, **changes)) == "refused: wrong_activation_key"


def test_past_the_end_of_a_release_no_run_begins_for_a_while() -> None:
    """The one under way may be confirmed; it may be released again."""
    late = Claim(held=False, release=OpenRelease(to_own=True, expired=True, request_state=RequestState.RUNNING))
    assert code(ask(RUNNING, claim=late)) == "again"
    assert ask(OVERDUE, claim=late) == Refused(code="refused", reason="release_expired", retry_after=600)
