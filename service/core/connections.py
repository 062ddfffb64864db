"""
Device connections as administrators change them: coupling, reserved user, *allow user change*. All problems at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.core.problems import NotPossible, Problem
from service.core.requests import UNSET, check_coupling
from service.core.states import RequestState


@dataclass(frozen=True, kw_only=True)
class ConnectionChanges:
    """What is to be different; UNSET leaves a field as it is. `reserved_user` is a username, None for nobody."""

    coupling: str = UNSET
    reserved_user: str | None = UNSET
    allow_user_change: bool = UNSET

    def given(self) -> dict[str, Any]:
        """The fields that are to be different."""
        return {name: value for name, value in vars(self).items() if value is not UNSET}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The user that a connection is to be reserved for."""

    kind: str
    # The client id of the request that it was generated for.
    generated_for: str | None
    # Another client id whose connection is reserved for it.
    reserved_for: str | None


def check_connection_change(
    client_id: str, changes: ConnectionChanges, candidate: Candidate | None, request_state: RequestState | None
) -> Iterator[Problem]:
    """Every problem of a change; `candidate` is None where the account has no such user, or none is named."""
    if request_state is RequestState.RUNNING:
        yield Problem(
            field="state",
            rule="running",
            text="the connection belongs to the run while its provision request is RUNNING; stop it first",
        )
    if changes.coupling is not UNSET:
        yield from check_coupling(changes.coupling, "coupling")
    if changes.reserved_user not in (UNSET, None):
        yield from _check_candidate(client_id, str(changes.reserved_user), candidate)


def _check_candidate(client_id: str, name: str, candidate: Candidate | None) -> Iterator[Problem]:
    def problem(rule: str, text: str) -> Problem:
        return Problem(field="reserved_user", rule=rule, text=text)

    if candidate is None:
        yield problem("not_found", f"there is no user {name!r} in this account")
        return
    if candidate.kind not in ("device", "person"):
        yield problem("kind", f"is a {candidate.kind} user, which never logs in at an account broker")
    if candidate.generated_for not in (None, client_id):
        yield problem("generated_for_another_client_id", f"is the generated user of {candidate.generated_for!r}")
    if candidate.reserved_for is not None:
        yield problem("reserved_already", f"is reserved for the connection of {candidate.reserved_for!r}")


def warn_connection_change(changes: ConnectionChanges, own_user: str | None) -> Iterator[str]:
    """What is allowed but will surprise: `own_user` is the generated user of the client id's provision request."""
    if own_user is not None and changes.reserved_user not in (UNSET, None, own_user):
        yield f"reserved_user: the device's own user {own_user} cannot log in any more"


def refuse_deletion(request_state: RequestState | None, *, device: bool) -> NotPossible | None:
    """
    A device goes after its request: a run would lose what it made, and a generated user lives as long as its request
    (I1, I2). A connection alone may go at any time but in a run, which expects it.
    """
    if request_state is RequestState.RUNNING:
        return NotPossible("state", "running", "its provision request is RUNNING; stop it first")
    if device and request_state is RequestState.PROVISIONED:
        return NotPossible(
            "state", "provisioned", "its provision request is PROVISIONED; reopen or delete the request first"
        )
    return None
