"""
The switch that stops issuing: while it is stopped no run begins on the whole platform.

Runs under way are repeated and confirmed as ever, and whoever was provisioned works on (docs/decisions/0013).
"""

from __future__ import annotations

from typing import Any

from service.db import queries
from service.operations import events
from service.operations.administration import Administration

_SQL = queries.load("issuing")


async def show(admin: Administration) -> dict[str, Any]:
    """{"stopped", "stopped_at", "stopped_by"}."""
    async with admin.platform_transaction() as connection:
        row = await connection.fetchrow(_SQL["show"])
    assert row is not None
    return {"stopped": row["stopped_at"] is not None, **dict(row)}


async def stop(admin: Administration) -> bool:
    """From the commit on no run begins. False: it was stopped already."""
    async with admin.platform_transaction() as connection:
        stopped = await connection.fetchval(_SQL["stop"], admin.author.actor)
        if stopped is not None:
            await events.append(connection, admin.author, "issuing_stopped")
    return stopped is not None


async def start(admin: Administration) -> bool:
    """Runs begin again. False: it was not stopped."""
    async with admin.platform_transaction() as connection:
        since = await connection.fetchval(_SQL["start"])
        if since is not None:
            await events.append(connection, admin.author, "issuing_started", stopped_at=since.isoformat())
    return since is not None
