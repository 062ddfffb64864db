"""One event, in the transaction of what it tells about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from service.db import queries
from service.db.pool import Connection

_SQL = queries.load("events")


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who does something, by which way in, and the key under which that is chained."""

    actor: str
    source: str
    event_key: bytes

    def __repr__(self) -> str:
        return f"Author({self.actor}, {self.source})"


async def append(
    connection: Connection,
    author: Author,
    kind: str,
    *,
    account_id: int | None = None,
    request_id: int | None = None,
    client_id: str | None = None,
    correlation_id: str | None = None,
    reason: str | None = None,
    **detail: Any,
) -> None:
    """Append an event; with `request_id` it takes the next place in that request's chain."""
    await connection.execute(
        _SQL["append"],
        author.event_key,
        kind,
        account_id,
        request_id,
        client_id,
        author.actor,
        author.source,
        correlation_id,
        reason,
        json.dumps(detail),
    )
