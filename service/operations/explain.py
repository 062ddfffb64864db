"""
Why a device is where it is: one timeline of a client id, also of one that no request knows.
"""

from __future__ import annotations

import json
from typing import Any

from service.db import queries
from service.operations import releases
from service.operations.administration import Administration
from service.operations.cases import COUNTED_AS

_EVENTS = queries.load("events")

MOST_ROWS = 1000


async def explain(admin: Administration, client_id: str, account_name: str | None = None) -> list[dict[str, Any]]:
    """
    What happened to a client id, oldest first: refused connects and topics with the true reason, asks, replies, runs,
    confirmation, administrators' changes, releases. Each as {"at", "what", "reason", "account",
    "correlation_id", "detail"}.

    With an account, only what its own credentials and objects were part of.
    """
    account_id = None
    if account_name is not None:
        account_id = (await admin.account(account_name)).id
    async with admin.platform_transaction() as connection:
        arguments = (client_id, account_id, MOST_ROWS)
        rows = [
            *map(_event, await connection.fetch(_EVENTS["of_client"], *arguments)),
            *map(_refusal, await connection.fetch(_EVENTS["refusals_of_client"], *arguments)),
            *map(_login, await connection.fetch(_EVENTS["connection_of_client"], client_id, account_id)),
        ]
    rows += [_release(row) for row in await releases.list_releases(admin, account_name, client_id)]
    return sorted(rows, key=lambda row: row["at"])


def _event(row: Any) -> dict[str, Any]:
    return {
        "at": row["at"],
        "what": row["kind"],
        "by": row["actor"],
        "reason": row["reason"],
        "account": row["account"],
        "correlation_id": row["correlation_id"],
        "detail": json.loads(row["detail"]),
    }


def _refusal(row: Any) -> dict[str, Any]:
    if row["broker"] == COUNTED_AS:
        what = "asks_refused"
    else:
        what = "topic_refused" if row["last_topic"] is not None else "connect_refused"
    detail = {"broker": row["broker"], "username": row["username"], "times": row["count"]}
    if row["last_topic"] is not None:
        detail |= {"topic": row["last_topic"], "access": row["last_access"]}
    return {
        "at": row["at"],
        "what": what,
        "by": "hooks",
        "reason": row["reason"],
        "account": row["account"],
        "correlation_id": None,
        "detail": detail,
    }


def _release(row: dict[str, Any]) -> dict[str, Any]:
    """Both accounts see it, also where neither has an event yet."""
    ends = {name: row[name] for name in ("used_at", "cancelled_at") if row[name] is not None}
    return {
        "at": row["created_at"],
        "what": "release",
        "by": row["created_by"],
        "reason": None,
        "account": row["account"],
        "correlation_id": None,
        "detail": {"to": row["to_account"], "until": row["expires_on"], "status": row["status"], **ends},
    }


def _login(row: Any) -> dict[str, Any]:
    return {
        "at": row["at"],
        "what": "last_login",
        "by": "hooks",
        "reason": None,
        "account": row["account"],
        "correlation_id": None,
        "detail": {"broker": row["broker"], "username": row["username"]},
    }
