"""What time and use do to credentials: overlaps end, and a leak is told of; one transaction a credential."""

from __future__ import annotations

from typing import Any

from service import log
from service.core.credentials import WINDOW, Leak, Uses, Watch, decide_leak
from service.db import queries
from service.db.pool import Pool, transaction
from service.operations import events
from service.operations.credentials import WATCHED, end_overlap
from service.operations.events import Author

_SQL = queries.load("credentials")
_log = log.get("leak_watch")


async def end_overlaps(pool: Pool, event_key: bytes) -> list[str]:
    """Overlaps whose time is over: their old passwords, refused since then, are forgotten. Returns the usernames."""
    author = Author(actor="responder", source="sweep", event_key=event_key)
    async with transaction(pool) as connection:
        over = await connection.fetch(_SQL["overlaps_over"])
        for row in over:
            await end_overlap(connection, row["id"])
        for row in over:
            await events.append(
                connection,
                author,
                "credential_rotation_finished",
                account_id=row["account_id"],
                reason="overlap_over",
                username=row["name"],
            )
    return [row["name"] for row in over]


async def watch(pool: Pool, event_key: bytes) -> dict[str, Leak]:
    """Judge every credential that was used of late; returns the leaks that were told of, by username."""
    async with pool.acquire(timeout=5) as connection:
        rows = await connection.fetch(_SQL["used_of_late"], WINDOW)
    found = {}
    for row in rows:
        leak = decide_leak(
            Uses(**{name: row[name] for name in WATCHED}),
            Watch.from_stored(**{name: row[f"most_{name}"] for name in WATCHED}),
            hold_on_leak=row["hold_on_leak"],
            held=row["held"],
            suspected_at=row["suspected_at"],
            now=row["now"],
        )
        if leak is not None:
            await _tell(pool, Author(actor="responder", source="sweep", event_key=event_key), dict(row), leak)
            found[row["name"]] = leak
    return found


async def _tell(pool: Pool, author: Author, row: dict[str, Any], leak: Leak) -> None:
    async with transaction(pool) as connection:
        await connection.execute(_SQL["ensure"], row["id"], row["account_id"])
        await connection.execute(_SQL["suspect"], row["id"], leak.hold)
        await events.append(
            connection,
            author,
            "credential_leak_suspected",
            account_id=row["account_id"],
            username=row["name"],
            signs=list(leak.signs),
            hold=leak.hold,
            **{name: row[name] for name in WATCHED},
        )
    _log.warning("credential_leak_suspected", username=row["name"], signs=leak.signs, hold=leak.hold)
