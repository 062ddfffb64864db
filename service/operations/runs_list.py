"""The runs of a provision request as people see them: states with their times, steps, never what was answered."""

from __future__ import annotations

import json
from typing import Any

from service.core.problems import NotFound
from service.db import queries
from service.operations.administration import Administration

_LISTS = queries.load("lists")
_REQUESTS = queries.load("provision_requests")


async def list_runs(admin: Administration, account_name: str, client_id: str) -> list[dict[str, Any]]:
    """The last one first. Raises NotFound where the account has no such request."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        if await connection.fetchrow(_REQUESTS["list"], account.id, [client_id]) is None:
            raise NotFound("client_id", "there is no such provision request")
        rows = await connection.fetch(_LISTS["runs"], account.id, client_id)
    return [{**dict(row), "states": json.loads(row["states"]), "steps": json.loads(row["steps"])} for row in rows]
