"""Users that administrators look after: persons, and what may be done to the others. And our own service users."""

from __future__ import annotations

from collections.abc import Sequence

from service import keys
from service.core import names
from service.core.problems import NotFound, NotPossible, Problem, raise_problems
from service.db import queries
from service.db.pool import Connection
from service.db.records import Account, User
from service.operations import events
from service.operations.administration import Administration

_USERS = queries.load("users")

PERMISSIONS = ("broker:connect", "device:manage", "data:manage", "data:view")


def check_permissions(permissions: Sequence[str]) -> list[Problem]:
    """Each must be one of Kapua's four that brokers know."""
    return [
        Problem(field="permissions", rule="permission", text=f"{name!r} is none of {', '.join(PERMISSIONS)}")
        for name in permissions
        if name not in PERMISSIONS
    ]


async def create_person(admin: Administration, account_name: str, name: str, permissions: Sequence[str]) -> str:
    """
    A user for a person, who logs in at account brokers; returns the generated password, which is shown this once.

    Generated, and not chosen: 256 random bits cost the broker no slow hash (D5). Raises InvalidInput.
    """
    account = await admin.account(account_name)
    raise_problems([*names.check_username(name, "username"), *check_permissions(permissions)])
    password = keys.new_secret()
    async with admin.account_transaction(account.id) as connection:
        await admin.begin_once(connection)
        hashed = keys.secret_hash(keys.USER, password)
        user_id = await connection.fetchval(_USERS["insert_person"], account.id, name, hashed)
        for permission in dict.fromkeys(permissions):
            await connection.execute(_USERS["grant"], account.id, user_id, permission)
        await events.append(
            connection,
            admin.author,
            "user_created",
            account_id=account.id,
            username=name,
            permissions=list(permissions),
        )
    return password


async def _find(connection: Connection, admin: Administration, account: Account, name: str) -> User:
    row = await connection.fetchrow(_USERS["find"], name, account.id)
    if row is None:
        raise NotFound("username", f"there is no user {name!r} in this account")
    await admin.check_version(connection, "user", row["id"])
    return User.from_row(row)


async def set_permissions(admin: Administration, account_name: str, name: str, permissions: Sequence[str]) -> None:
    """A person has these permissions, and no others. Connected clients have them at once."""
    account = await admin.account(account_name)
    raise_problems(check_permissions(permissions))
    async with admin.account_transaction(account.id) as connection:
        user = await _find(connection, admin, account, name)
        if user.kind != "person":
            raise NotPossible("username", "not_a_person", f"is a {user.kind} user, whose permissions are fixed")
        for permission in dict.fromkeys(permissions):
            await connection.execute(_USERS["grant"], account.id, user.id, permission)
        await connection.execute(_USERS["revoke_all_but"], user.id, list(permissions))
        await events.append(
            connection,
            admin.author,
            "user_permissions_set",
            account_id=account.id,
            username=user.name,
            permissions=list(permissions),
        )


async def set_user_enabled(admin: Administration, account_name: str, name: str, *, enabled: bool) -> None:
    """Let a user in, or keep it out: at once, also where it is connected."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        user = await _find(connection, admin, account, name)
        if user.enabled == enabled:
            return
        await connection.execute(_USERS["set_enabled"], user.id, enabled)
        kind = "user_enabled" if enabled else "user_disabled"
        await events.append(connection, admin.author, kind, account_id=account.id, username=user.name)


async def delete_user(admin: Administration, account_name: str, name: str) -> None:
    """Delete a person's user. A factory or generated one belongs to its request: reopen or delete that."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        user = await _find(connection, admin, account, name)
        if user.kind != "person":
            await _refuse_deletion(connection, user)
        await connection.execute(_USERS["delete"], user.id)
        await events.append(
            connection, admin.author, "user_deleted", account_id=account.id, username=user.name, kind_of_user=user.kind
        )


async def _refuse_deletion(connection: Connection, user: User) -> None:
    """A generated user whose request was deleted belongs to nobody else, and may go."""
    if user.kind == "device" and not await connection.fetchval(_USERS["has_request"], user.id):
        return
    advice = "reopen or delete the request" if user.kind == "device" else "delete the requests that refer to it"
    raise NotPossible("username", "belongs_to_request", f"is a {user.kind} user of a provision request: {advice}")


async def put_responder_password(admin: Administration) -> str:
    """A new password for `~responder`, shown this once; the one before is good no more."""
    password = keys.new_secret()
    async with admin.platform_transaction() as connection:
        await connection.execute(_USERS["put_service"], names.RESPONDER, keys.secret_hash(keys.USER, password))
        await events.append(connection, admin.author, "service_password_set", username=names.RESPONDER)
    return password
