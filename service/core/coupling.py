"""
Device connection coupling and reserved users, as one pure function.

The outcomes are Kapua's (eclipse-kapua/kapua: AuthenticationLogic.java, issue #663; everyware.md section 3.2), with
the reservation honoured in LOOSE too (kapua PR #4195). `tests/vectors/coupling.json` is the table of outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.core.verdicts import Denied


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A device connection as it is stored: whose it was last, and who may have it."""

    id: int
    version: int
    coupling: str  # INHERITED, LOOSE or STRICT
    user_id: int | None
    reserved_user_id: int | None
    allow_user_change: bool


@dataclass(frozen=True)
class Coupled:
    """The user may have the connection. `changes`: the login binds it anew, so a row must be written."""

    changes: bool


def decide_coupling(
    *, user_id: int, connection: Connection | None, account_coupling: str, reserved_elsewhere: bool
) -> Coupled | Denied:
    """
    Whether a user may log in under a client id.

    `reserved_elsewhere`: the user is reserved for a connection of another client id.
    `account_coupling`: what INHERITED means in this account (LOOSE or STRICT).
    A connection whose last user was deleted is bound to nobody.
    """
    mode = account_coupling if connection is None or connection.coupling == "INHERITED" else connection.coupling
    reserved_user_id = None if connection is None else connection.reserved_user_id
    if mode not in ("STRICT", "LOOSE"):
        return Denied(reason="unknown_coupling")
    if reserved_user_id not in (None, user_id):
        return Denied(reason="connection_reserved_for_another_user")
    if reserved_elsewhere:
        return Denied(reason="user_reserved_for_another_connection")
    if connection is None:
        return Coupled(changes=True)
    bound_to_another = reserved_user_id is None and connection.user_id not in (None, user_id)
    if mode == "STRICT" and bound_to_another and not connection.allow_user_change:
        return Denied(reason="connection_bound_to_another_user")
    return Coupled(changes=connection.user_id != user_id or connection.allow_user_change)
