"""Events: what happened in an account, and by whom."""

from __future__ import annotations

import datetime
import json
from typing import Any

from service.api.accounts import ACCOUNT
from service.api.documents import CheckpointLines, CheckpointQuery, Dropped, ListQuery, VerifyQuery
from service.api.listing import list_page
from service.api.routes import Call, Route
from service.core.event_chain import Broken
from service.core.problems import InvalidInput, Problem
from service.operations import event_log
from service.operations.administration import Administration


async def _list(admin: Administration, call: Call) -> Any:
    return await list_page(admin, call, "events", lambda row: {**row, "detail": json.loads(row["detail"])}, kinds=None)


# Of the broken chains so many are named, the rest is counted.
MOST_NAMED = 1000


def _named(broken: Broken) -> dict[str, Any]:
    return {**vars(broken), "text": broken.text}


async def _verify(admin: Administration, call: Call) -> Any:
    named: list[dict[str, Any]] = []

    def note(broken: Broken) -> None:
        if len(named) < MOST_NAMED:
            named.append(_named(broken))

    query: VerifyQuery = call.query
    report = await event_log.verify(
        admin, call.path.get("account"), query.client_id, found=note, progress=_progress(call)
    )
    return {"chains": report.chains, "events": report.events, "broken": report.broken, "named": named}


def _progress(call: Call) -> event_log.Progress:
    return call.watch or (lambda _done, _total, _count: None)


async def _fit(admin: Administration, call: Call) -> Any:
    body: CheckpointLines = call.body
    lines = [
        (line.account_id, line.request_id, line.count, _head(line.head, place)) for place, line in enumerate(body.lines)
    ]
    return {"items": [_named(each) for each in await event_log.fit_lines(admin, lines, body.account, body.client_id)]}


def _head(text: str, place: int) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidInput([Problem(field=f"lines[{place}].head", rule="hex", text="must be hex")]) from error


async def _checkpoint(admin: Administration, call: Call) -> Any:
    return await event_log.checkpoint_chains(admin, progress=_progress(call))


async def _lines(admin: Administration, call: Call) -> Any:
    query: CheckpointQuery = call.query
    rows, digest = await event_log.checkpoint_page(admin, (query.account_id, query.request_id))
    return {"items": rows, "digest": digest}


async def _drop(admin: Administration, call: Call) -> Any:
    body: Dropped = call.body
    try:
        before = datetime.datetime.strptime(body.before, "%Y-%m").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise InvalidInput([Problem(field="before", rule="month", text="must be like 2030-01")]) from error
    return {"before": body.before, "dropped": await event_log.drop(admin, before, progress=_progress(call))}


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
    Route(
        name="list_all_events",
        method="GET",
        path="/events",
        summary="Events of all accounts and of the platform, as list_events",
        run=_list,
        query=ListQuery,
    ),
    Route(
        name="verify_all_events",
        method="GET",
        path="/events/verify",
        summary="Whether any event of any account was removed, added or edited",
        run=_verify,
        query=VerifyQuery,
    ),
    Route(
        name="checkpoint_events",
        method="POST",
        path="/events/checkpoint",
        summary="Verify everything, and note each chain's end: older months may then be dropped",
        run=_checkpoint,
    ),
    Route(
        name="list_checkpoint_lines",
        method="GET",
        path="/events/checkpoint",
        summary="The checkpoint's lines after one, to be kept elsewhere",
        run=_lines,
        query=CheckpointQuery,
    ),
    Route(
        name="fit_checkpoint_lines",
        method="POST",
        path="/events/checkpoint/fit",
        summary="Which of these lines, kept elsewhere, no longer hold",
        run=_fit,
        body=CheckpointLines,
        repeatable=True,
    ),
    Route(
        name="drop_events",
        method="POST",
        path="/events/drop",
        summary="Drop the events of older months, once they are verified and checkpointed",
        run=_drop,
        body=Dropped,
    ),
)
