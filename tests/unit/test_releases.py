"""Account move: who may use a client id while it is on its way, until when, and what a release must fit."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import pytest

from service.core.asks import Begin, LiveRun, Refused, Repeat
from service.core.connect import Present, decide_presence
from service.core.problems import Problem
from service.core.releases import (
    DEFAULT_DURATION,
    Claim,
    OpenRelease,
    ReleaseSurroundings,
    check_cancel,
    check_release,
    refuse_beginning,
    refuse_claim,
    shown_release,
)
from service.core.states import RequestState
from service.core.verdicts import Denied
from tests.unit.facts import CLIENT_ID, FACTORY, spoilt
from tests.unit.test_asks import OPEN, RIGHT, RUNNING, ask

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
TICK = datetime.timedelta(microseconds=1)
STATES: tuple[RequestState | None, ...] = (None, *RequestState)


def release(state: str | None = None, *, to_own: bool = False, expired: bool = False) -> OpenRelease:
    return OpenRelease(to_own=to_own, expired=expired, request_state=RequestState(state) if state else None)


def reason(claim: Claim) -> str | None:
    denied = refuse_claim(claim)
    return None if denied is None else denied.reason


@pytest.mark.parametrize(
    ("claim", "refused"),
    [
        (Claim(), None),
        (Claim(release=release()), None),
        (Claim(release=release("OPEN")), "released_to_another_account"),
        (Claim(release=release("RUNNING")), "released_to_another_account"),
        (Claim(release=release("ABANDONED")), "released_to_another_account"),
        (Claim(release=release("PROVISIONED")), None),  # left from before, when it was the other account's
        (Claim(release=release("OPEN", expired=True)), None),
        (Claim(release=release("ABANDONED", expired=True)), None),
        (Claim(release=release("RUNNING", expired=True)), "released_to_another_account"),
        (Claim(held=False, release=release("OPEN", to_own=True)), None),
        (Claim(held=False, release=release("RUNNING", to_own=True, expired=True)), None),
        (Claim(held=False, release=release("OPEN", to_own=True, expired=True)), "release_expired"),
        (Claim(held=False, given_away=True, release=release("OPEN", to_own=True)), None),  # it comes back
        # What is left there from before is nothing to come back with until it is reopened.
        (
            Claim(held=False, given_away=True, release=release("PROVISIONED", to_own=True)),
            "released_to_another_account",
        ),
        (Claim(held=False, given_away=True), "released_to_another_account"),
        (Claim(held=False), "client_id_of_another_account"),
        (Claim(held=False, release=release("OPEN")), "client_id_of_another_account"),
        (Claim(release=release("OPEN", to_own=True, expired=True)), None),  # the old account has nothing left
    ],
)
def test_who_may_use_a_client_id(claim: Claim, refused: str | None) -> None:
    assert reason(claim) == refused


@pytest.mark.parametrize(("state", "expired"), list(itertools.product(STATES, (False, True))))
def test_one_of_both_accounts_may_use_it(state: RequestState | None, expired: bool) -> None:
    """Never both, and never neither, where the new account's request is one to be used."""
    old = refuse_claim(Claim(release=OpenRelease(to_own=False, expired=expired, request_state=state)))
    new = refuse_claim(Claim(held=False, release=OpenRelease(to_own=True, expired=expired, request_state=state)))
    if state not in (None, RequestState.PROVISIONED):
        assert (old is None) is not (new is None)
    else:
        assert old is None


@pytest.mark.parametrize(
    ("row", "claim"),
    [
        ({"held": True, "given_away": False, "release": None}, Claim()),
        ({"held": False, "given_away": True, "release": None}, Claim(held=False, given_away=True)),
        (
            {
                "held": True,
                "given_away": False,
                "release": {"to_own": False, "expired": False, "request_state": None},
            },
            Claim(release=OpenRelease(to_own=False, expired=False, request_state=None)),
        ),
        (
            {
                "held": False,
                "given_away": True,
                "release": {"to_own": True, "expired": True, "request_state": "RUNNING"},
            },
            Claim(
                held=False,
                given_away=True,
                release=OpenRelease(to_own=True, expired=True, request_state=RequestState.RUNNING),
            ),
        ),
    ],
)
def test_a_claim_is_read_as_the_database_says_it(row: dict[str, Any], claim: Claim) -> None:
    """With and without a release, and with and without a request of the account that it goes to."""
    assert Claim.from_document(row) == claim


def test_the_factory_credential_at_the_provision_broker() -> None:
    assert isinstance(decide_presence(spoilt(FACTORY, claim=Claim(release=release())), "factory", CLIENT_ID), Present)
    shut_out = spoilt(FACTORY, claim=Claim(release=release("OPEN")))
    assert decide_presence(shut_out, "factory", CLIENT_ID) == Denied(reason="released_to_another_account")


def test_asks_during_a_move() -> None:
    coming = Claim(held=False, release=release("OPEN", to_own=True))
    assert isinstance(ask(OPEN, claim=coming), Begin)
    for claim in (Claim(held=False), Claim(release=release("OPEN")), Claim(held=False, given_away=True)):
        refused = ask(OPEN, claim=claim)
        assert isinstance(refused, Refused)
        assert (refused.code, refused.reason) == ("refused", reason(claim))
        assert refused.retry_after


def test_a_run_once_begun_goes_on_past_the_end_date_and_no_new_one_begins() -> None:
    late = Claim(held=False, release=release("RUNNING", to_own=True, expired=True))
    assert isinstance(ask(RUNNING, claim=late), Repeat)
    overdue = ask(RUNNING, RIGHT, claim=late, live_run=LiveRun(wire="json", past_deadline=True))
    assert isinstance(overdue, Refused)
    assert (overdue.code, overdue.reason) == ("refused", "release_expired")


@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("to_own", [False, True])
def test_only_the_new_account_s_runs_have_to_begin_in_time(expired: bool, held: bool, to_own: bool) -> None:
    claim = Claim(held=held, release=release("OPEN", to_own=to_own, expired=expired))
    assert (refuse_beginning(claim) is None) is (held or not to_own or not expired)


def check_whole(**changes: Any) -> tuple[datetime.datetime, list[Problem]]:
    asked = {"client_id": "gw-1", "to": "globex", "until": None}
    around = {"account": "acme", "account_enabled": True, "held": True, "open_release": None, "now": NOON}
    asked |= {name: value for name, value in changes.items() if name in asked}
    around |= {name: value for name, value in changes.items() if name in around}
    return check_release(**asked, around=ReleaseSurroundings(**around))  # type: ignore[arg-type]


def check(**changes: Any) -> tuple[datetime.datetime, list[str]]:
    until, problems = check_whole(**changes)
    return until, [f"{problem.field}: {problem.rule}" for problem in problems]


def test_a_release_is_good_for_thirty_days_unless_told_otherwise() -> None:
    assert check() == (NOON + DEFAULT_DURATION, [])
    assert DEFAULT_DURATION.days == 30
    assert check(until=NOON + TICK) == (NOON + TICK, [])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"until": NOON}, "until: until_past"),
        ({"until": NOON - TICK}, "until: until_past"),
        ({"until": NOON.replace(tzinfo=None)}, "until: no_time_zone"),
        ({"to": "acme"}, "to: same_account"),
        ({"to": "ACME"}, "to: same_account"),
        ({"held": False}, "client_id: not_found"),
        ({"held": False, "open_release": release("OPEN")}, "client_id: not_found"),
        ({"account_enabled": False}, "account: account_disabled"),
        ({"open_release": release()}, "client_id: already_released"),
        ({"open_release": release("OPEN")}, "client_id: already_released"),
        ({"open_release": release("RUNNING", expired=True)}, "client_id: already_released"),
    ],
)
def test_what_a_release_must_fit(changes: dict[str, Any], problem: str) -> None:
    assert check(**changes)[1] == [problem]


@pytest.mark.parametrize("state", [None, "OPEN", "ABANDONED", "PROVISIONED"])
def test_a_void_release_is_made_anew(state: str | None) -> None:
    assert check(open_release=release(state, expired=True))[1] == []


def test_every_problem_is_told_at_once() -> None:
    _, problems = check(to="acme", until=NOON, held=False, account_enabled=False)
    assert problems == [
        "account: account_disabled",
        "to: same_account",
        "client_id: not_found",
        "until: until_past",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"to": "acme", "until": NOON, "held": False, "account_enabled": False},
            [
                "account: the account is disabled",
                "to: must be another account",
                "client_id: there is no device and no provision request for 'gw-1' in this account",
                "until: must be in the future",
            ],
        ),
        (
            {"open_release": release("OPEN"), "until": NOON.replace(tzinfo=None)},
            [
                "client_id: is released already; cancel that first",
                "until: must have a time zone, such as 2030-01-31T08:00:00Z",
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_release_is_said_in_words(changes: dict[str, Any], told: list[str]) -> None:
    assert [str(problem) for problem in check_whole(**changes)[1]] == told


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("expired", [False, True])
def test_a_release_is_cancelled_unless_a_run_is_under_way(state: RequestState | None, expired: bool) -> None:
    problem = check_cancel("gw-1", OpenRelease(to_own=False, expired=expired, request_state=state))
    assert (problem.rule if problem else None) == ("running" if state is RequestState.RUNNING else None)


def test_a_release_that_is_not_there_is_said_by_its_client_id() -> None:
    assert check_cancel("gw-1", None) == Problem(
        field="client_id", rule="not_released", text="there is no open release of 'gw-1'"
    )


def test_why_a_release_cannot_be_cancelled_is_said() -> None:
    assert check_cancel("gw-1", release("RUNNING")) == Problem(
        field="client_id",
        rule="running",
        text="is being provisioned in the other account; its release cannot be cancelled now",
    )


@pytest.mark.parametrize(
    ("word", "used", "cancelled", "state", "expired"),
    [
        ("USED", True, False, None, True),
        ("CANCELLED", False, True, "OPEN", True),
        ("RUNNING", False, False, "RUNNING", True),
        ("EXPIRED", False, False, "OPEN", True),
        ("EXPIRED", False, False, None, True),
        ("REQUESTED", False, False, "OPEN", False),
        ("REQUESTED", False, False, "ABANDONED", False),
        ("OPEN", False, False, "PROVISIONED", False),
        ("OPEN", False, False, None, False),
    ],
)
def test_the_word_people_see(word: str, used: bool, cancelled: bool, state: str | None, expired: bool) -> None:
    assert shown_release(used=used, cancelled=cancelled, release=release(state, expired=expired)) == word
