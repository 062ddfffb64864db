"""
What a request's life should be: section 6's table as plain Python, without a database, for the test to compare with.

Nothing here is the product's: it says who may do what, and what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

OPEN, RUNNING, PROVISIONED, ABANDONED = "OPEN", "RUNNING", "PROVISIONED", "ABANDONED"
STEPS = {
    "installing": "APPS_INSTALLING",
    "installed": "APPS_INSTALLED",
    "configuring": "CONF_UPDATING",
    "applied": "CONF_UPDATED",
}
LIVE = ("RUNNING", *STEPS.values())


@dataclass(kw_only=True)
class Credential:
    """A factory user: its password, and the one before while an overlap is open."""

    username: str
    password: str
    previous: str | None = None


@dataclass(kw_only=True)
class Run:
    """A run under way. Kura's hands out its password last, so nobody logs in with it here."""

    number: int
    wire: str
    username: str
    password: str | None
    token: str | None
    digest: str | None
    overdue: bool = False


@dataclass(kw_only=True)
class ClientId:
    """
    What outlives a request: who the connection is bound to (no username: nobody), and users that were kept.

    `kept`: generated users that may still log in, with their passwords; of deleted requests, and of this one.
    """

    name: str
    bound_to: str | None = None
    kept: dict[str, str] = field(default_factory=dict)
    # Users that went, with passwords that must never be good again.
    gone: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Request:
    """A provision request, as it should be."""

    client: ClientId
    credential: Credential
    key: str | None
    maximum: int
    window: str  # before, inside, after
    state: str = OPEN
    enabled: bool = True
    attempts: int = 0
    runs: int = 0
    run_state: str | None = None
    run: Run | None = None
    confirmed: str | None = None

    def judge_ask(self, *, key_right: bool, wire: str) -> str:
        """begin, repeat, or the code of the refusal."""
        if self.key is not None and not key_right:
            return "refused"
        if not self.enabled:
            return "refused"
        if self.state == PROVISIONED:
            return "already_provisioned"
        if self.state == ABANDONED:
            return "refused"
        if self.run is not None and not self.run.overdue:
            return "repeat" if self.run.wire == wire else "refused"
        return {"before": "not_yet_active", "inside": "begin", "after": "expired"}[self.window]

    def begin(self, run: Run) -> None:
        """A good ask of an OPEN request, or of one whose run was not confirmed in time."""
        if self.run is not None:
            self.end("STOPPED")
        self.runs += 1
        # Without applications, a gateway is sent its configuration at once.
        self.run_state = "RUNNING" if run.wire == "json" else "CONF_UPDATING"
        self.state, self.run = RUNNING, run
        self.client.bound_to = run.username

    def end(self, run_state: str) -> None:
        """The run is over without success: its user goes."""
        assert self.run is not None
        self.client.gone[self.run.username] = self.run.password or "unknown"
        if self.client.bound_to == self.run.username:
            self.client.bound_to = None
        self.state, self.run_state, self.run = OPEN, run_state, None

    def say(self, state: str) -> None:
        """A status of the live run: forward only; of an overdue one: ignored."""
        if self.run is None or self.run.overdue:
            return
        if state == "failed":
            self.attempts += 1
            over = self.attempts >= self.maximum
            self.end("ABANDONED" if over else "FAILED")
            self.state = ABANDONED if over else OPEN
        elif LIVE.index(STEPS[state]) > LIVE.index(self.run_state or ""):
            self.run_state = STEPS[state]

    def confirm(self) -> None:
        """The first allowed login."""
        assert self.run is not None
        assert self.run.password is not None
        self.client.kept[self.run.username] = self.run.password
        self.confirmed = self.run.username
        self.state, self.run_state, self.run = PROVISIONED, "COMPLETED", None

    def disable(self) -> None:
        """A run under way ends with it."""
        if self.run is not None:
            self.end("STOPPED")
        self.enabled = False

    def reopen(self) -> None:
        """All attempts are back, and its user goes."""
        if self.confirmed is not None:
            self.client.gone[self.confirmed] = self.client.kept.pop(self.confirmed)
            if self.client.bound_to == self.confirmed:
                self.client.bound_to = None
        self.state, self.attempts, self.confirmed = OPEN, 0, None

    def admits(self, username: str) -> bool:
        """Whether its run's user may log in for the first time."""
        return self.run is not None and not self.run.overdue and self.run.username == username
