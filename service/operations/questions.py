"""What brokers ask and what they are told."""

from __future__ import annotations

import enum

from msgspec import Struct, field

from service.core.connect import Facts, Present
from service.core.verdicts import Denied
from service.grants_memory import Entry


class Outcome(enum.Enum):
    """What a broker is told (D3)."""

    ALLOWED = 200
    DENIED = 403
    UNAVAILABLE = 503


class Verdict(Struct, frozen=True):
    """An outcome with its true reason, which only our log and counters see."""

    outcome: Outcome
    reason: str = ""
    # For a plugin that decides about topics itself: what the client may do, and the feed's position it was read at.
    granted: Present | Entry | None = None
    as_of: int = 0

    def __bool__(self) -> bool:
        return self.outcome is Outcome.ALLOWED


ALLOWED = Verdict(Outcome.ALLOWED)
OVER_BUDGET = Verdict(Outcome.UNAVAILABLE, "over_budget")
GUESSED_TOO_OFTEN = Verdict(Outcome.UNAVAILABLE, "guessed_too_often")


def allowed(present: Present, facts: Facts) -> Verdict:
    """With what the client may do."""
    return Verdict(Outcome.ALLOWED, granted=present, as_of=facts.as_of)


def denied(refused: Denied) -> Verdict:
    """A refusal of the core."""
    return Verdict(Outcome.DENIED, refused.reason)


def not_this_secret(facts: Facts, stored: object) -> Verdict:
    """A user without the kind of secret that this broker's users have belongs to the other kind of broker."""
    if facts.user is None:
        return Verdict(Outcome.DENIED, "unknown_user")
    return Verdict(Outcome.DENIED, "wrong_broker" if stored is None else "wrong_password")


class ConnectQuestion(Struct, frozen=True, kw_only=True):
    """A CONNECT. `clean` is None where the plugin does not tell."""

    username: str
    password: str
    client_id: str = field(name="clientid")
    clean: bool | None = None
    # Where it comes from, as the plugin tells.
    address: str | None = None
    # What came behind the password (core/connect.py, split_password).
    activation_key: str | None = None

    def __repr__(self) -> str:
        return f"ConnectQuestion(username={self.username!r}, client_id={self.client_id!r})"


class AclQuestion(Struct, frozen=True, kw_only=True):
    """A topic check; `acc` as the broker sends it."""

    username: str
    client_id: str = field(name="clientid")
    topic: str
    acc: int
