"""
Device connections: look at one, change it, delete it with its device or alone.

Users are locked before device and connection, as everywhere. The request is read and not locked, after them: a run that
begins meanwhile waits for these rows and then makes or sets them anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.core.connections import (
    Candidate,
    ConnectionChanges,
    check_connection_change,
    refuse_deletion,
    warn_connection_change,
)
from service.core.problems import NotFound, NotPossible, raise_problems
from service.core.requests import UNSET
from service.core.states import RequestState
from service.db import queries
from service.db.pool import Connection
from service.db.records import Account
from service.operations import events
from service.operations.administration import Administration

_CONNECTIONS = queries.load("device_connections")
_USERS = queries.load("users")


def _no_connection(client_id: str) -> NotFound:
    return NotFound("client_id", f"there is no device connection of {client_id!r}")


async def show_connection(admin: Administration, account_name: str, client_id: str) -> dict[str, Any]:
    """A connection as people see it, also one that has no device. Raises NotFound."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        row = await connection.fetchrow(_CONNECTIONS["show"], account.id, client_id)
    if row is None:
        raise _no_connection(client_id)
    return dict(row)


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What was done; `notices` are for the person who did it."""

    changed: dict[str, Any]
    notices: tuple[str, ...]


async def change_connection(
    admin: Administration, account_name: str, client_id: str, changes: ConnectionChanges
) -> Changed:
    """
    Change a connection, or nothing. Whoever is connected and may not be any more loses every right at once.

    Raises InvalidInput with every problem, by field.
    """
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        user_id, candidate = await _hold_candidate(connection, account, client_id, changes)
        row = await connection.fetchrow(_CONNECTIONS["lock"], account.id, client_id)
        if row is None:
            raise _no_connection(client_id)
        await admin.check_version(connection, "connection", row["id"])
        state = await _request_state(connection, account, client_id)
        raise_problems(check_connection_change(client_id, changes, candidate, state))
        new = changes.given()
        if "reserved_user" in new:
            new["reserved_user_id"] = user_id
        columns = ("coupling", "reserved_user_id", "allow_user_change")
        if all(new.get(name, row[name]) == row[name] for name in columns):
            return Changed(changed={}, notices=())
        await connection.execute(_CONNECTIONS["update"], row["id"], *(new.get(name, row[name]) for name in columns))
        await events.append(
            connection,
            admin.author,
            "connection_changed",
            account_id=account.id,
            client_id=client_id,
            **changes.given(),
        )
        own_user = await connection.fetchval(_CONNECTIONS["own_user"], account.id, client_id)
    return Changed(changed=changes.given(), notices=tuple(warn_connection_change(changes, own_user)))


async def _hold_candidate(
    connection: Connection, account: Account, client_id: str, changes: ConnectionChanges
) -> tuple[int | None, Candidate | None]:
    """The user that the connection is to be reserved for, held; nothing where none is named or found."""
    if changes.reserved_user in (UNSET, None):
        return None, None
    found = await connection.fetchrow(_USERS["find"], changes.reserved_user, account.id)
    if found is None or await connection.fetchval(_USERS["lock"], found["id"]) is None:
        return None, None
    row = await connection.fetchrow(_CONNECTIONS["candidate"], found["id"], client_id)
    return found["id"], Candidate(**dict(row)) if row is not None else None


async def _request_state(connection: Connection, account: Account, client_id: str) -> RequestState | None:
    state = await connection.fetchval(_CONNECTIONS["request_state"], account.id, client_id)
    return RequestState(state) if state is not None else None


async def delete_connection(admin: Administration, account_name: str, client_id: str) -> None:
    """Forget a connection: coupling and reservation with it. The next login makes a new one, as INHERITED says."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        row = await connection.fetchrow(_CONNECTIONS["lock"], account.id, client_id)
        if row is None:
            raise _no_connection(client_id)
        await admin.check_version(connection, "connection", row["id"])
        refused = refuse_deletion(await _request_state(connection, account, client_id), device=False)
        if refused is not None:
            raise refused
        await connection.execute(_CONNECTIONS["delete"], row["id"])
        await events.append(connection, admin.author, "connection_deleted", account_id=account.id, client_id=client_id)


async def delete_device(admin: Administration, account_name: str, client_id: str) -> list[str]:
    """
    Delete a device with its connection, and the generated users that its deleted requests left behind.

    Returns the names of the users that went. Raises NotPossible while its request is RUNNING or PROVISIONED.
    """
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        left = await connection.fetch(_CONNECTIONS["kept_users"], account.id, client_id)
        for user in left:
            await connection.execute(_USERS["lock"], user["id"])
        device_id = await connection.fetchval(_CONNECTIONS["lock_device"], account.id, client_id)
        row = await connection.fetchrow(_CONNECTIONS["lock"], account.id, client_id)
        if device_id is None and row is None:
            raise NotFound("client_id", f"there is neither a device nor a device connection {client_id!r}")
        if device_id is not None:
            await admin.check_version(connection, "device", device_id)
        refused = refuse_deletion(await _request_state(connection, account, client_id), device=True)
        if refused is not None:
            raise refused
        for user in left:
            await connection.execute(_USERS["delete"], user["id"])
        if row is not None:
            await connection.execute(_CONNECTIONS["delete"], row["id"])
        await connection.execute(_CONNECTIONS["delete_device"], device_id)
        deleted = [user["name"] for user in left]
        await events.append(
            connection,
            admin.author,
            "device_deleted",
            account_id=account.id,
            client_id=client_id,
            deleted_users=deleted,
        )
    return deleted


async def find_account_of_client(admin: Administration, client_id: str) -> str:
    """The account of a device or a connection, for operators who work on all of them. Raises InvalidInput."""
    async with admin.platform_transaction() as connection:
        found = [row["name"] for row in await connection.fetch(_CONNECTIONS["accounts_of"], client_id)]
    if not found:
        raise NotFound("client_id", f"there is neither a device nor a device connection {client_id!r}")
    if len(found) > 1:
        raise NotPossible("account", "ambiguous", f"name one of the accounts {', '.join(found)}")
    return str(found[0])
