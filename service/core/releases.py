"""
Account move: whose a client id is while it is released from one account to another (design D4).

Until the first login in the new account the old device works on. The end date is for beginnings: before it the new
account may make its request and a run may begin; a run once begun may be repeated and confirmed after it (as D7 says
of *expires on*). Past it, with no run under way, the client id is the old account's alone again.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.core.problems import Problem
from service.core.states import RequestState
from service.core.verdicts import Denied

# How long a release is good for where nothing is said.
DEFAULT_DURATION = datetime.timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class OpenRelease:
    """
    A release that is neither used up nor cancelled.

    `to_own`: to the account in question. `request_state`: of the new account's request, None where there is none.
    """

    to_own: bool
    expired: bool
    request_state: RequestState | None

    @property
    def in_force(self) -> bool:
        """Before its end date, and while a run that began before it is under way."""
        return not self.expired or self.request_state is RequestState.RUNNING

    @property
    def shuts_old_out(self) -> bool:
        """
        The new account has its request, so the provision broker is for that one's credential only.

        (A PROVISIONED one is left from when the client id was that account's before: it has to be reopened.)
        """
        return self.in_force and self.request_state not in (None, RequestState.PROVISIONED)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """
    What one account has to do with a client id.

    `held`: it is the account's, or nobody else's. `given_away`: it was, and another account took it over.
    """

    held: bool = True
    given_away: bool = False
    release: OpenRelease | None = None

    @classmethod
    def from_document(cls, row: dict[str, Any]) -> Claim:
        """From what the database's `client_id_claim` returns."""
        release = row["release"]
        return cls(
            held=row["held"],
            given_away=row["given_away"],
            release=OpenRelease(
                to_own=release["to_own"],
                expired=release["expired"],
                request_state=RequestState(release["request_state"]) if release["request_state"] else None,
            )
            if release
            else None,
        )


OWN = Claim()


def refuse_claim(claim: Claim) -> Denied | None:
    """
    Whether a request of this account may be used under the client id, at the provision broker. None: it may.

    At every moment one account's may. (A PROVISIONED one that waits for its client id is not reopened yet.)
    """
    release = claim.release
    if claim.held:
        shut_out = release is not None and not release.to_own and release.shuts_old_out
        return Denied(reason="released_to_another_account") if shut_out else None
    if release is not None and release.to_own and release.request_state is not RequestState.PROVISIONED:
        return None if release.in_force else Denied(reason="release_expired")
    if claim.given_away:
        return Denied(reason="released_to_another_account")
    return Denied(reason="client_id_of_another_account")


def refuse_beginning(claim: Claim) -> Denied | None:
    """Whether a run may begin: past the end date a run under way may be confirmed, but no new one begins."""
    release = claim.release
    if not claim.held and release is not None and release.to_own and release.expired:
        return Denied(reason="release_expired")
    return None


@dataclass(frozen=True, kw_only=True)
class ReleaseSurroundings:
    """What the database knows that a new release must fit."""

    account: str
    account_enabled: bool
    # The account has a request or device for the client id, and nobody took it over.
    held: bool
    # The release that is open already, of this account.
    open_release: OpenRelease | None
    now: datetime.datetime


def check_release(
    *, client_id: str, to: str, until: datetime.datetime | None, around: ReleaseSurroundings
) -> tuple[datetime.datetime, list[Problem]]:
    """The end date, and every problem by field. A void release may be made anew."""
    problems = []
    if not around.account_enabled:
        problems.append(Problem(field="account", rule="account_disabled", text="the account is disabled"))
    if to.lower() == around.account.lower():
        problems.append(Problem(field="to", rule="same_account", text="must be another account"))
    if not around.held:
        problems.append(not_held(client_id))
    elif around.open_release is not None and around.open_release.in_force:
        problems.append(already_released())
    expires_on = around.now + DEFAULT_DURATION if until is None else until
    problems += _check_until(expires_on, around.now)
    return expires_on, problems


def _check_until(until: datetime.datetime, now: datetime.datetime) -> Iterator[Problem]:
    if until.tzinfo is None:
        yield Problem(field="until", rule="no_time_zone", text="must have a time zone, such as 2030-01-31T08:00:00Z")
    elif until <= now:
        yield Problem(field="until", rule="until_past", text="must be in the future")


def not_held(client_id: str) -> Problem:
    """Whether another account has it is not said."""
    return Problem(
        field="client_id",
        rule="not_found",
        text=f"there is no device and no provision request for {client_id!r} in this account",
    )


def already_released() -> Problem:
    """One release at a time."""
    return Problem(field="client_id", rule="already_released", text="is released already; cancel that first")


def check_cancel(client_id: str, release: OpenRelease | None) -> Problem | None:
    """None: it may be cancelled. Not once the new account's run is under way."""
    if release is None:
        return Problem(field="client_id", rule="not_released", text=f"there is no open release of {client_id!r}")
    if release.request_state is RequestState.RUNNING:
        return Problem(
            field="client_id",
            rule="running",
            text="is being provisioned in the other account; its release cannot be cancelled now",
        )
    return None


def shown_release(*, used: bool, cancelled: bool, release: OpenRelease) -> str:
    """The word people see: USED, CANCELLED, RUNNING, EXPIRED, REQUESTED or OPEN."""
    if used:
        return "USED"
    if cancelled:
        return "CANCELLED"
    if release.request_state is RequestState.RUNNING:
        return "RUNNING"
    if release.expired:
        return "EXPIRED"
    return "OPEN" if release.request_state in (None, RequestState.PROVISIONED) else "REQUESTED"
