"""
Account move: an account lets a client id go to another one, or calls that off (core/releases.py has the rules).

The rest of a move happens elsewhere: the new account makes its request, and its device's first login (`hook_login`)
uses the release up.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

from service.core import releases
from service.core.problems import NotFound, NotPossible, raise_problems
from service.core.releases import Claim, OpenRelease, ReleaseSurroundings
from service.core.states import RequestState
from service.db import queries
from service.db.pool import Connection
from service.db.records import Account
from service.operations import events
from service.operations.administration import Administration

_RELEASES = queries.load("releases")
_REQUESTS = queries.load("provision_requests")


async def release_device(
    admin: Administration, account_name: str, client_id: str, *, to: str, until: datetime.datetime | None = None
) -> datetime.datetime:
    """
    Let a client id go to another account, until a moment (by default for 30 days), which is returned.

    Until its first login there the old device works on. Raises InvalidInput with every problem, by field.
    """
    account = await admin.account(account_name)
    target = await _find_target(admin, to)
    async with admin.account_transaction(account.id) as connection:
        await admin.begin_once(connection)
        held = await connection.fetchval(_RELEASES["lock"], account.id, client_id)
        before = json.loads(held) if held else None
        around = await _look_around(connection, account, client_id, before)
        expires_on, problems = releases.check_release(client_id=client_id, to=target.name, until=until, around=around)
        raise_problems(problems)
        if before is not None:
            await connection.execute(_RELEASES["cancel"], before["id"])
        await connection.execute(_RELEASES["insert"], client_id, account.id, target.id, expires_on, admin.author.actor)
        await _append(
            connection, admin, account, client_id, "device_released", to=target.name, until=expires_on.isoformat()
        )
    return expires_on


async def _find_target(admin: Administration, name: str) -> Account:
    try:
        return await admin.account(name)
    except NotFound as error:
        raise NotFound("to", f"there is no account {name!r}") from error


async def _look_around(
    connection: Connection, account: Account, client_id: str, before: dict[str, Any] | None
) -> ReleaseSurroundings:
    claim = Claim.from_document(json.loads(await connection.fetchval(_RELEASES["claim"], account.id, client_id)))
    exists = await connection.fetchval(_RELEASES["has_client_id"], account.id, client_id)
    return ReleaseSurroundings(
        account=account.name,
        account_enabled=account.enabled,
        held=claim.held and bool(exists),
        open_release=_open(before),
        now=await connection.fetchval(_REQUESTS["now"]),
    )


def _open(document: dict[str, Any] | None) -> OpenRelease | None:
    """As the old account looks at it: it leads elsewhere."""
    if document is None:
        return None
    state = document["request_state"]
    return OpenRelease(to_own=False, expired=document["expired"], request_state=RequestState(state) if state else None)


async def cancel_release(admin: Administration, account_name: str, client_id: str) -> None:
    """
    Call a release off: the client id is the old account's alone again, whether the new one has its request or not.

    Raises NotPossible without an open release, and once the new account's run is under way.
    """
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        held = await connection.fetchval(_RELEASES["lock"], account.id, client_id)
        document = json.loads(held) if held else None
        problem = releases.check_cancel(client_id, _open(document))
        if problem is not None:
            raise NotPossible(problem.field, problem.rule, problem.text)
        assert document is not None
        await connection.execute(_RELEASES["cancel"], document["id"])
        await _append(connection, admin, account, client_id, "release_cancelled")


async def _append(
    connection: Connection, admin: Administration, account: Account, client_id: str, kind: str, **detail: Any
) -> None:
    """In the old account, chained where it has a request for the client id."""
    request_id = await connection.fetchval(_RELEASES["own_request"], account.id, client_id)
    await events.append(
        connection,
        admin.author,
        kind,
        account_id=account.id,
        request_id=request_id,
        client_id=client_id,
        **detail,
    )


async def list_releases(
    admin: Administration, account_name: str | None, client_id: str | None = None
) -> list[dict[str, Any]]:
    """
    Releases from or to an account, or all of them, with the word for each in `status`.

    The account released to sees everything but who released.
    """
    if account_name is None:
        async with admin.platform_transaction() as connection:
            rows = await connection.fetch(_RELEASES["list"], client_id)
    else:
        account = await admin.account(account_name)
        async with admin.account_transaction(account.id) as connection:
            rows = await connection.fetch(_RELEASES["of_account"], client_id)
    return [_as_shown(dict(row)) for row in rows]


def _as_shown(row: dict[str, Any]) -> dict[str, Any]:
    release = _open({"expired": row.pop("expired"), "request_state": row.pop("request_state")})
    assert release is not None
    row["status"] = releases.shown_release(
        used=row["used_at"] is not None, cancelled=row["cancelled_at"] is not None, release=release
    )
    return row


async def find_holder(admin: Administration, client_id: str) -> str:
    """The account whose client id it is, for operators who work on all of them. Raises NotFound."""
    async with admin.platform_transaction() as connection:
        name: str | None = await connection.fetchval(_RELEASES["holder"], client_id)
    if name is None:
        raise NotFound("client_id", f"there is no device and no provision request for {client_id!r}")
    return name
