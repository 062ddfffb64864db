"""Lists that may be long: filtered, in an order, a page at a time."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from service.core.pages import Page, next_cursor
from service.core.problems import InvalidInput, Problem
from service.db import queries
from service.operations.administration import Administration

_LISTS = queries.load("lists")

# Columns that a list may be sorted by, with their type; the first one unless said.
COLUMNS: dict[str, dict[str, str]] = {
    "requests": {"client_id": "text", "created_at": "timestamptz", "modified_at": "timestamptz"},
    "devices": {"client_id": "text", "created_at": "timestamptz"},
    "users": {"name": "text", "created_at": "timestamptz"},
    "credentials": {"name": "text", "created_at": "timestamptz"},
    "events": {"at": "timestamptz"},
}


@dataclass(frozen=True, kw_only=True)
class Filters:
    """None, or nothing, leaves one out. `since` and `until` (half-open) are about when the row was made."""

    client_ids: Sequence[str] = ()
    statuses: Sequence[str] = ()
    kinds: Sequence[str] = ()
    text: str | None = None
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None


async def fetch_page(
    admin: Administration, what: str, account_name: str | None, filters: Filters, page: Page
) -> tuple[list[asyncpg.Record], str | None]:
    """
    The rows of a page, of one account or of all, and where the next one begins, if there is one.

    Raises NotFound and InvalidInput.
    """
    account = None if account_name is None else await admin.account(account_name)
    value, id_ = _position(what, page)
    opened = admin.platform_transaction() if account is None else admin.account_transaction(account.id)
    async with opened as connection:
        rows = await connection.fetch(
            _sql(what, page),
            account.id if account is not None else None,
            list(filters.client_ids) or None,
            list(filters.statuses) or None,
            list(filters.kinds) or None,
            filters.text,
            filters.since,
            filters.until,
            value,
            id_,
            page.limit + 1,
        )
    if len(rows) <= page.limit:
        return rows, None
    last = rows[page.limit - 1]
    return rows[: page.limit], next_cursor(page, _as_text(last[page.column]), last["id"])


def _sql(what: str, page: Page) -> str:
    """The list's query in this order. Names come from COLUMNS only; every value is a parameter."""
    assert page.column in COLUMNS[what]
    order, after = ("DESC", "<") if page.descending else ("ASC", ">")
    return (
        f"SELECT * FROM ({_LISTS[what]}) AS listed"  # noqa: S608 (fixed words: see above)
        f" WHERE ($9::bigint IS NULL OR ({page.column}, id) {after} ($8::{COLUMNS[what][page.column]}, $9))"
        f" ORDER BY {page.column} {order}, id {order} LIMIT $10"
    )


def _position(what: str, page: Page) -> tuple[Any, int | None]:
    if page.after is None:
        return None, None
    value, id_ = page.after
    if COLUMNS[what][page.column] == "text":
        return value, id_
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput([Problem(field="after", rule="after", text="must be `next` of a list in the same order")])
    return moment, id_


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.datetime) else str(value)
