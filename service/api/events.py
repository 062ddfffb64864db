"""Events: what happened in an account, and by whom."""

from __future__ import annotations

import json
from typing import Any

from service.api.accounts import ACCOUNT
from service.api.documents import ListQuery, VerifyQuery
from service.api.listing import list_page
from service.api.routes import Call, Route
from service.core.event_chain import Broken
from service.operations import event_log
from service.operations.administration import Administration


async def _list(admin: Administration, call: Call) -> Any:
    return await list_page(admin, call, "events", lambda row: {**row, "detail": json.loads(row["detail"])}, kinds=None)


# Of the broken chains so many are named, the rest is counted.
MOST_NAMED = 100


async def _verify(admin: Administration, call: Call) -> Any:
    named: list[dict[str, Any]] = []

    def note(broken: Broken) -> None:
        if len(named) < MOST_NAMED:
            named.append({"client_id": broken.client_id, "number": broken.number, "fault": broken.fault})

    query: VerifyQuery = call.query
    report = await event_log.verify(admin, call.path["account"], query.client_id, found=note)
    return {"chains": report.chains, "events": report.events, "broken": report.broken, "named": named}


ROUTES = (
    Route(
        name="list_events",
        method="GET",
        path=f"{ACCOUNT}/events",
        summary="Events, by period, client ids, kinds and text, a page at a time",
        run=_list,
        query=ListQuery,
    ),
    Route(
        name="verify_events",
        method="GET",
        path=f"{ACCOUNT}/events/verify",
        summary="Whether any event was removed, added or edited",
        run=_verify,
        query=VerifyQuery,
    ),
)
