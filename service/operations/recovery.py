"""After a restore deadlines stand still, until an operator says that this is the database to go on with (D7)."""

from __future__ import annotations

from typing import Any

from service.db import queries
from service.operations import events
from service.operations.administration import Administration

_FEED = queries.load("feed")


async def show(admin: Administration) -> dict[str, Any]:
    """When hooks were seen last, how much time did not count so far, and since when none does."""
    async with admin.platform_transaction() as connection:
        row = await connection.fetchrow(_FEED["held"])
    assert row is not None
    restored = row["cluster"] not in ("", row["cluster_now"])
    return {
        "hooks_seen_at": row["at"],
        "time_not_counted": str(row["outage"]),
        "restored": restored,
        "held_since": row["held_since"] or (row["at"] if restored else None),
    }


async def accept(admin: Administration) -> bool:
    """Time counts again. False: nothing was held."""
    async with admin.platform_transaction() as connection:
        row = await connection.fetchrow(_FEED["accept_restore"])
        if row is not None:
            await events.append(connection, admin.author, "restore_accepted", not_counted=str(row["outage"]))
    return row is not None
