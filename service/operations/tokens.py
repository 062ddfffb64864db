"""Tokens of the administrators' API: made, shown once, listed, revoked, recognised."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

from service import keys
from service.core import names
from service.core.access import Role
from service.core.problems import NotFound, Problem, raise_problems
from service.db import queries
from service.db.pool import Connection
from service.operations import events
from service.operations.administration import Administration

_TOKENS = queries.load("tokens")

PREFIX = "pt_"
LONGEST_DAYS = 366
DAYS = 90


@dataclass(frozen=True, kw_only=True)
class CreatedToken:
    """A new token, here this once."""

    token: str = field(repr=False)
    expires_on: datetime.datetime


@dataclass(frozen=True, kw_only=True)
class Bearer:
    """Whose token it is."""

    id: int
    name: str
    role: Role
    account: str | None
    account_id: int | None


def _check(name: str, role: str, days: int, *, platform: bool) -> list[Problem]:
    problems = list(names.check_username(name, "name"))
    roles = [each.value for each in Role if (each is Role.PLATFORM_ADMINISTRATOR) == platform]
    if role not in roles:
        problems.append(Problem(field="role", rule="role", text=f"must be one of {', '.join(roles)}"))
    if not 1 <= days <= LONGEST_DAYS:
        problems.append(Problem(field="days", rule="days", text=f"must be 1 to {LONGEST_DAYS}"))
    return problems


async def create_token(
    admin: Administration, account_name: str | None, name: str, *, role: str, days: int = DAYS
) -> CreatedToken:
    """A token of an account, or of the platform; good for so many days. Raises InvalidInput with every problem."""
    raise_problems(_check(name, role, days, platform=account_name is None))
    token = PREFIX + keys.new_secret()
    hashed, validity = keys.secret_hash(keys.BEARER, token), datetime.timedelta(days=days)

    async def insert(connection: Connection, account_id: int | None) -> datetime.datetime:
        await admin.begin_once(connection)
        until: datetime.datetime = await connection.fetchval(
            _TOKENS["insert"], account_id, name, role, hashed, admin.author.actor, validity
        )
        await events.append(connection, admin.author, "token_created", account_id=account_id, token=name, role=role)
        return until

    if account_name is None:
        async with admin.platform_transaction() as connection:
            return CreatedToken(token=token, expires_on=await insert(connection, None))
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        return CreatedToken(token=token, expires_on=await insert(connection, account.id))


async def list_tokens(admin: Administration, account_name: str | None) -> list[dict[str, Any]]:
    """The tokens of an account, or the platform's own; never their text."""
    if account_name is None:
        async with admin.platform_transaction() as connection:
            return [dict(row) for row in await connection.fetch(_TOKENS["list"], None)]
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        return [dict(row) for row in await connection.fetch(_TOKENS["list"], account.id)]


async def revoke_token(admin: Administration, account_name: str | None, name: str) -> None:
    """It is good no more, from the next call on. Raises NotFound."""
    if account_name is None:
        async with admin.platform_transaction() as connection:
            await _revoke(admin, connection, None, name)
        return
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        await _revoke(admin, connection, account.id, name)


async def _revoke(admin: Administration, connection: Connection, account_id: int | None, name: str) -> None:
    if await connection.fetchval(_TOKENS["revoke"], account_id, name) is None:
        raise NotFound("name", f"there is no token {name!r}")
    await events.append(connection, admin.author, "token_revoked", account_id=account_id, token=name)


async def recognise(admin: Administration, token: str) -> Bearer | None:
    """Whose it is; None: nobody's, or not any more. Its last use is written once a minute."""
    async with admin.platform_transaction() as connection:
        row = await connection.fetchrow(_TOKENS["find"], keys.secret_hash(keys.BEARER, token))
        if row is None:
            return None
        if row["stale"]:
            await connection.execute(_TOKENS["set_used"], row["id"])
    return Bearer(
        id=row["id"], name=row["name"], role=Role(row["role"]), account=row["account"], account_id=row["account_id"]
    )
