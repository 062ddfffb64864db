"""Events: what happened in an account, and by whom."""

from __future__ import annotations

import json
from typing import Any

from service.api.accounts import ACCOUNT
from service.api.documents import ListQuery
from service.api.listing import list_page
from service.api.routes import Call, Route
from service.operations.administration import Administration


async def _list(admin: Administration, call: Call) -> Any:
    return await list_page(admin, call, "events", lambda row: {**row, "detail": json.loads(row["detail"])}, kinds=None)


ROUTES = (
    Route(
        name="list_events",
        method="GET",
        path=f"{ACCOUNT}/events",
        summary="Events, by period, client ids, kinds and text, a page at a time",
        run=_list,
        query=ListQuery,
    ),
)
