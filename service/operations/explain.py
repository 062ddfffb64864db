"""
Why a device is where it is: one timeline of a client id, also of one that no request knows.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.core import timeline
from service.core.problems import InvalidInput, Problem
from service.core.timeline import Row, Source
from service.db import queries
from service.db.pool import Connection
from service.operations import releases
from service.operations.administration import Administration
from service.operations.cases import COUNTED_AS

_EVENTS = queries.load("events")

MOST_ROWS = 1000
HIGHEST_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class Period:
    """Which part of a timeline: `since` is included, `until` is not; the newest `limit` rows of it."""

    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    limit: int = MOST_ROWS


EVERYTHING = Period()


async def explain(
    admin: Administration,
    client_id: str,
    account_name: str | None = None,
    period: Period = EVERYTHING,
    *,
    reduced: bool = False,
) -> list[Row]:
    """
    What happened to a client id, oldest first: refused and allowed connects, refused topics, asks, replies, runs with
    their steps, confirmation, presence, administrators' changes, releases; each with the true reason and a sentence.

    Rows as core/timeline.py has them, with "text". With an account, only what its own credentials and objects were
    part of. `reduced`: without credentials, keys and configuration. Raises NotFound, InvalidInput.
    """
    _check(period)
    account_id = None if account_name is None else (await admin.account(account_name)).id

    async def read(connection: Connection) -> list[Source]:
        found = []
        for query, made in _SOURCES:
            arguments = (client_id, account_id, period.since, period.until, period.limit + 1)
            rows = await connection.fetch(_EVENTS[query], *arguments)
            found.append(_source([made(row) for row in rows], period.limit))
        return found

    sources = await _in_transaction(admin, account_id, read)
    released = [_release(row) for row in await releases.list_releases(admin, account_name, client_id)]
    sources.append(Source(rows=sorted((row for row in released if _within(row, period)), key=lambda row: row["at"])))
    return _shown(sources, period, reduced=reduced)


async def explain_correlation_id(
    admin: Administration,
    correlation_id: str,
    account_name: str | None = None,
    period: Period = EVERYTHING,
    *,
    reduced: bool = False,
) -> list[Row]:
    """The events that a device, or a log, has this correlation id of; as `explain`, with "client_id" in detail."""
    _check(period)
    account_id = None if account_name is None else (await admin.account(account_name)).id

    async def read(connection: Connection) -> list[Source]:
        arguments = (correlation_id, account_id, period.since, period.until, period.limit + 1)
        rows = await connection.fetch(_EVENTS["of_correlation_id"], *arguments)
        made = [_event(row) for row in rows]
        for row, shown in zip(rows, made, strict=True):
            shown["detail"] = {"client_id": row["client_id"], **shown["detail"]}
        return [_source(made, period.limit)]

    return _shown(await _in_transaction(admin, account_id, read), period, reduced=reduced)


def _check(period: Period) -> None:
    problems = []
    if not 1 <= period.limit <= HIGHEST_LIMIT:
        problems.append(Problem(field="limit", rule="limit", text=f"must be from 1 to {HIGHEST_LIMIT}"))
    if period.since is not None and period.until is not None and period.since >= period.until:
        problems.append(Problem(field="until", rule="until", text="must be later than since"))
    if problems:
        raise InvalidInput(problems)


async def _in_transaction(admin: Administration, account_id: int | None, read: Any) -> list[Source]:
    """An account's rows by the role that sees no other account's."""
    opened = admin.platform_transaction() if account_id is None else admin.account_transaction(account_id)
    async with opened as connection:
        found: list[Source] = await read(connection)
    return found


def _source(newest_first: list[Row], limit: int) -> Source:
    return Source(rows=newest_first[:limit][::-1], has_more=len(newest_first) > limit)


def _shown(sources: list[Source], period: Period, *, reduced: bool) -> list[Row]:
    rows = timeline.merge(sources, period.limit)
    return [timeline.reduce(row) for row in rows] if reduced else rows


def _within(row: Row, period: Period) -> bool:
    return (period.since is None or row["at"] >= period.since) and (period.until is None or row["at"] < period.until)


def _row(row: Any, what: str, by: str, **more: Any) -> Row:
    return {
        "at": row["at"],
        "until": row["at"],
        "times": 1,
        "what": what,
        "by": by,
        "reason": None,
        "account": row["account"],
        "correlation_id": None,
        "detail": {},
        **more,
    }


def _event(row: Any) -> Row:
    return _row(
        row,
        row["kind"],
        row["actor"],
        reason=row["reason"],
        correlation_id=row["correlation_id"],
        detail=json.loads(row["detail"]),
    )


def _refusal(row: Any) -> Row:
    if row["broker"] == COUNTED_AS:
        return _counted(row, "asks_refused", "responder")
    return _counted(row, "topic_refused" if row["last_topic"] is not None else "connect_refused", "hooks")


def _counted(row: Any, what: str, by: str) -> Row:
    detail = {"broker": row["broker"], "username": row["username"]}
    if row["last_topic"] is not None:
        detail |= {"topic": row["last_topic"], "access": row["last_access"]}
    return _row(row, what, by, reason=row["reason"], until=row["until"], times=row["count"], detail=detail)


def _others(row: Any) -> Row:
    return _counted(row, "others_refused", "hooks")


def _logins(row: Any) -> Row:
    detail = {"broker": row["broker"], "username": row["username"]}
    return _row(row, "connect_allowed", "hooks", until=row["until"], times=row["count"], detail=detail)


def _step(row: Any) -> Row:
    detail = {"run": row["run"], "step": row["kind"], "position": row["position"], "state": row["state"]}
    return _row(row, "step_answered", "device", detail=detail)


def _login(row: Any) -> Row:
    return _row(row, "last_login", "hooks", detail={"broker": row["broker"], "username": row["username"]})


def _release(row: dict[str, Any]) -> Row:
    """Both accounts see it, also where neither has an event yet."""
    ends = {name: row[name] for name in ("used_at", "cancelled_at") if row[name] is not None}
    detail = {"to": row["to_account"], "until": row["expires_on"], "status": row["status"], **ends}
    return _row({"at": row["created_at"], "account": row["account"]}, "release", row["created_by"], detail=detail)


# What is at the same time is told in this order: who came in, what it asked, what came of it.
_SOURCES: tuple[tuple[str, Callable[[Any], Row]], ...] = (
    ("logins_of_client", _logins),
    ("refusals_of_client", _refusal),
    ("others_refused", _others),
    ("of_client", _event),
    ("steps_of_client", _step),
    ("connection_of_client", _login),
)
