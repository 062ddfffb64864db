"""
Factory credentials of an account, as an administrator looks after them: rotation, hold, and the watch for leaks.

The one place where the password of a credential changes: the requests that share it share the new one (D12).
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from service import keys, passwords
from service.core import credentials
from service.core.credentials import OVERLAP, WINDOW, Watch
from service.core.names import check_provision_password
from service.core.pages import Page
from service.core.problems import NotFound, raise_problems
from service.db import queries
from service.db.pool import Connection
from service.operations import events, lists
from service.operations.administration import Administration
from service.operations.lists import Filters

_SQL = queries.load("credentials")

WATCHED = ("unknown_client_ids", "wrong_keys", "addresses")


@dataclass(frozen=True, kw_only=True)
class Held:
    """A credential whose rows are locked."""

    id: int
    account_id: int
    name: str
    password_bcrypt: str
    row: asyncpg.Record


async def list_page(
    admin: Administration, account_name: str, filters: Filters, page: Page
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the account's credentials, never a secret; and where the next one begins."""
    rows, following = await lists.fetch_page(admin, "credentials", account_name, filters, page)
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        counted = await connection.fetch(_SQL["uses"], [row["id"] for row in rows], WINDOW)
    uses = {row["user_id"]: row for row in counted}
    return [_as_shown(row, uses.get(row["id"])) for row in rows], following


async def show_credential(admin: Administration, account_name: str, name: str) -> dict[str, Any]:
    """One credential, with who still uses the old password. Raises NotFound."""
    rows, _ = await list_page(admin, account_name, Filters(client_ids=[name]), Page(sort="name", limit=1))
    if not rows:
        raise _not_found(name)
    (shown,) = rows
    if shown["rotation"] is not None:
        account = await admin.account(account_name)
        async with admin.account_transaction(account.id) as connection:
            old = await connection.fetchrow(_SQL["old_password"], account.id, name)
        assert old is not None
        shown["rotation"]["old_password"] = dict(old)
    return shown


def _not_found(name: str) -> NotFound:
    return NotFound("username", f"there is no factory credential {name!r} in this account")


def _as_shown(row: asyncpg.Record, uses: asyncpg.Record | None) -> dict[str, Any]:
    watch = Watch.from_stored(**{name: row[f"most_{name}"] for name in WATCHED})
    plain = ("account", "name", "enabled", "created_at", "requests", "requests_without_key", "version")
    return {
        **{name: row[name] for name in plain},
        "rotated_at": row["rotated_at"],
        "rotation": {"overlap_until": row["overlap_until"]} if row["overlap_open"] else None,
        "held_at": row["held_at"],
        "held_by": row["held_by"],
        "suspected_at": row["suspected_at"],
        "watch": {**{name: getattr(watch, name) for name in WATCHED}, "hold": row["hold_on_leak"]},
        "last_two_hours": {name: uses[name] if uses else 0 for name in WATCHED},
    }


@asynccontextmanager
async def _locked(admin: Administration, account_name: str, name: str) -> AsyncIterator[tuple[Connection, Held]]:
    """The credential, held in a transaction of its account. Raises NotFound and VersionDiffers."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        user = await connection.fetchrow(_SQL["lock"], account.id, name)
        if user is None:
            raise _not_found(name)
        await admin.check_version(connection, "credential", user["id"])
        await connection.execute(_SQL["ensure"], user["id"], account.id)
        row = await connection.fetchrow(_SQL["held"], user["id"])
        assert row is not None
        yield (
            connection,
            Held(id=user["id"], account_id=account.id, name=name, password_bcrypt=user["password_bcrypt"], row=row),
        )


async def _tell(connection: Connection, admin: Administration, held: Held, kind: str, **detail: Any) -> None:
    await events.append(connection, admin.author, kind, account_id=held.account_id, username=held.name, **detail)


def _new_password() -> str:
    """Random, and by the rules for factory passwords."""
    while True:
        password = keys.new_secret()
        if not list(check_provision_password(password)):
            return password


async def rotate(
    admin: Administration,
    account_name: str,
    name: str,
    *,
    password: str | None = None,
    overlap: datetime.timedelta = OVERLAP,
) -> str | None:
    """
    Another password; the one before is good beside it for the overlap (none: it is good no more at once).

    Returns the password where it was generated (None given), this once. Raises InvalidInput and NotFound.
    """
    chosen = _new_password() if password is None else password
    raise_problems([*check_provision_password(chosen), *credentials.check_overlap(overlap)])
    hashed = await asyncio.to_thread(passwords.hash_password, chosen, admin.bcrypt_cost)
    async with _locked(admin, account_name, name) as (connection, held):
        same = await asyncio.to_thread(passwords.verify, chosen, held.password_bcrypt)
        raise_problems(credentials.check_rotation(same_password=same, overlap_open=held.row["overlap_open"]))
        await connection.execute(_SQL["set_password"], held.id, hashed)
        await connection.execute(_SQL["rotate"], held.id, held.password_bcrypt, overlap or None)
        await connection.execute(_SQL["forget_old_password"], held.id)
        await _tell(connection, admin, held, "credential_rotated", overlap_seconds=int(overlap.total_seconds()))
    return chosen if password is None else None


async def finish(admin: Administration, account_name: str, name: str, *, even_so: bool = False) -> None:
    """The old password is good no more; `even_so`: also where devices to be provisioned still come with it."""
    async with _locked(admin, account_name, name) as (connection, held):
        old = await connection.fetchrow(_SQL["old_password"], held.account_id, held.name)
        assert old is not None
        raise_problems(
            credentials.check_finish(overlap_open=held.row["overlap_open"], waiting=old["waiting"], even_so=even_so)
        )
        await end_overlap(connection, held.id)
        await _tell(connection, admin, held, "credential_rotation_finished", old_password_clients=old["clients"])


async def end_overlap(connection: Connection, id_: int) -> None:
    """What the overlap left."""
    await connection.execute(_SQL["finish"], id_)
    await connection.execute(_SQL["forget_old_password"], id_)


async def hold(admin: Administration, account_name: str, name: str) -> None:
    """Its CONNECTs are answered "unavailable" until it is lifted; who is connected stays. Held: no change."""
    async with _locked(admin, account_name, name) as (connection, held):
        if held.row["held_at"] is None:
            await connection.execute(_SQL["hold"], held.id, admin.author.actor)
            await _tell(connection, admin, held, "credential_held")


async def lift(admin: Administration, account_name: str, name: str) -> None:
    """Its CONNECTs are answered again, and what spoke for a leak is counted anew. Not held: no change."""
    async with _locked(admin, account_name, name) as (connection, held):
        if held.row["held_at"] is not None:
            await connection.execute(_SQL["lift"], held.id)
            await connection.execute(_SQL["forget_signs"], held.id)
            await _tell(connection, admin, held, "credential_lifted", held_by=held.row["held_by"])


async def watch(
    admin: Administration, account_name: str, name: str, *, hold: bool | None = None, **most: int | None
) -> None:
    """From how many of `WATCHED` a leak is suspected, and whether that holds the credential. None: as it is."""
    changed = {name: value for name, value in most.items() if value is not None}
    raise_problems(credentials.check_watch(changed))
    async with _locked(admin, account_name, name) as (connection, held):
        await connection.execute(_SQL["watch"], held.id, *(most.get(name) for name in WATCHED), hold)
        detail: dict[str, Any] = dict(changed)
        if hold is not None:
            detail["hold"] = hold
        await _tell(connection, admin, held, "credential_watch_changed", **detail)
