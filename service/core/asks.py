"""
What becomes of a device's ask (design D6, D7, D10 and section 6).

The order of the checks is the rule of D10: only a device that proved its key, or whose request has none, learns more
than `refused`.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from service.core.releases import OWN, Claim, refuse_beginning, refuse_claim
from service.core.states import RequestState
from service.core.verdicts import Denied

# D7: each good ask leaves at least this long to log in; the first status message far longer.
CONFIRM_WITHIN = datetime.timedelta(hours=1)
CONFIRM_WITHIN_AFTER_STATUS = datetime.timedelta(days=30)

# Above this many wrong or missing keys a request in this time, they are answered `busy` (a good ask never is).
KEY_FAILURES_ALLOWED = 10
KEY_FAILURES_WINDOW = datetime.timedelta(minutes=15)

# `retry_after` of refusals that time may heal, in seconds.
RETRY_AFTER_REFUSED = 600
RETRY_AFTER_BUSY = 900
RETRY_AFTER_STOPPED = 300
RETRY_AFTER_LONGEST = 86_400


@dataclass(frozen=True, kw_only=True)
class LiveRun:
    """The run that is under way."""

    wire: str
    past_deadline: bool


@dataclass(frozen=True, kw_only=True)
class AskedRequest:
    """The request that an ask concerns, as locked; `now` is the database's clock after the lock (D6)."""

    state: RequestState
    enabled: bool
    account_enabled: bool
    device_enabled: bool
    endpoint_served: bool
    has_key: bool
    activates_on: datetime.datetime
    expires_on: datetime.datetime | None
    live_run: LiveRun | None
    now: datetime.datetime
    # What its account has to do with the client id, which may be on its way from or to another account.
    claim: Claim = OWN
    # An operator stopped issuing: no run begins on the whole platform.
    issuing_stopped: bool = False


@dataclass(frozen=True)
class Begin:
    """A new run begins. `after_deadline`: the one before is closed first, as the sweep would."""

    after_deadline: bool = False


@dataclass(frozen=True)
class Repeat:
    """The same answer again."""


@dataclass(frozen=True, kw_only=True)
class Refused(Denied):
    """
    No. `code` is what the device reads, `reason` what operators read.

    `key_failure`: counts as a wrong or missing key. `contested`: somebody asked again with the right key.
    """

    code: str
    retry_after: int | None = None
    not_before: datetime.datetime | None = None
    key_failure: bool = False
    contested: bool = False

    def __bool__(self) -> bool:
        return False


def decide_ask(
    request: AskedRequest | None, *, wire: str, key_given: bool, key_matches: bool, wants_seal: bool
) -> Begin | Repeat | Refused:
    """
    `key_given`: the ask carries a key; `key_matches`: and it is the request's (compared in constant time, elsewhere).
    """
    if request is None:
        return Refused(code="refused", reason="unknown_client_id", retry_after=RETRY_AFTER_REFUSED)
    if request.has_key and not key_matches:
        reason = "wrong_activation_key" if key_given else "missing_activation_key"
        return Refused(code="refused", reason=reason, retry_after=RETRY_AFTER_REFUSED, key_failure=True)
    if wants_seal and not request.has_key:
        return Refused(code="bad_message", reason="seal_without_key")
    refused = _refuse_closed(request)
    if refused is not None:
        return refused
    if request.state is RequestState.RUNNING:
        return _decide_running(request, wire)
    refused = _refuse_beginning(request)
    return Begin() if refused is None else refused


def _refuse_closed(request: AskedRequest) -> Refused | None:
    """What refuses whatever the time is."""
    claimed = refuse_claim(request.claim)
    if claimed is not None:
        return Refused(code="refused", reason=claimed.reason, retry_after=RETRY_AFTER_REFUSED)
    if not request.account_enabled:
        return Refused(code="refused", reason="account_disabled", retry_after=RETRY_AFTER_REFUSED)
    if not request.enabled:
        return Refused(code="refused", reason="request_disabled", retry_after=RETRY_AFTER_REFUSED)
    if request.state is RequestState.PROVISIONED:
        return Refused(code="already_provisioned", reason="already_provisioned", contested=request.has_key)
    if not request.device_enabled:
        return Refused(code="refused", reason="device_disabled", retry_after=RETRY_AFTER_REFUSED)
    if request.state is RequestState.ABANDONED:
        return Refused(code="refused", reason="abandoned", retry_after=RETRY_AFTER_REFUSED)
    if not request.endpoint_served:
        return Refused(code="refused", reason="endpoint_not_served", retry_after=RETRY_AFTER_REFUSED)
    return None


def _decide_running(request: AskedRequest, wire: str) -> Begin | Repeat | Refused:
    """A run once begun may be repeated after *expires on*; a new one after its deadline may not begin outside."""
    assert request.live_run is not None
    if request.live_run.past_deadline:
        refused = _refuse_beginning(request)
        return Begin(after_deadline=True) if refused is None else refused
    if request.live_run.wire != wire:
        return Refused(code="refused", reason="run_on_another_wire", retry_after=RETRY_AFTER_REFUSED)
    return Repeat()


def _refuse_beginning(request: AskedRequest) -> Refused | None:
    """What refuses a new run, and no repeated answer; a stop is told last, to devices that would be let go on."""
    outside = _refuse_outside_window(request)
    if outside is None and request.issuing_stopped:
        return Refused(code="busy", reason="issuing_stopped", retry_after=RETRY_AFTER_STOPPED)
    return outside


def _refuse_outside_window(request: AskedRequest) -> Refused | None:
    """
    The page: before *Activates On* and after *Expires On* a device may connect, but not be provisioned.

    Nor past the end of the release that its account has the client id by; it may be released again.
    """
    late = refuse_beginning(request.claim)
    if late is not None:
        return Refused(code="refused", reason=late.reason, retry_after=RETRY_AFTER_REFUSED)
    if request.now < request.activates_on:
        wait = int((request.activates_on - request.now).total_seconds()) + 1
        return Refused(
            code="not_yet_active",
            reason="not_yet_active",
            retry_after=min(wait, RETRY_AFTER_LONGEST),
            not_before=request.activates_on,
        )
    if request.expires_on is not None and request.now >= request.expires_on:
        return Refused(code="expired", reason="expired")
    return None


def throttle_key_failures(
    failures: int, since: datetime.datetime | None, now: datetime.datetime
) -> tuple[int, datetime.datetime, bool]:
    """Count one more failure: (failures in the window, its begin, whether this one is answered `busy`)."""
    if since is None or now - since >= KEY_FAILURES_WINDOW:
        return 1, now, False
    return failures + 1, since, failures + 1 > KEY_FAILURES_ALLOWED
