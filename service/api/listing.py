"""A page of a long list as a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.api.documents import ListQuery, RequestsQuery
from service.api.routes import Call
from service.core.pages import Page, read_page
from service.core.problems import InvalidInput, Problem
from service.operations import lists
from service.operations.administration import Administration
from service.operations.lists import Filters

# Rows of a page where each may have a configuration of tens of kilobytes.
SHORT = 50


async def list_page(
    admin: Administration,
    call: Call,
    what: str,
    show: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    statuses: Sequence[str] = (),
    kinds: Sequence[str] | None = (),
) -> Mapping[str, Any]:
    """
    {"items", "next"}; `next` is null on the last page. `show` makes a document of a row. Else as `read_list`.

    Of the path's account, or of all where it names none.
    """
    filters, page = read_list(call, what, statuses=statuses, kinds=kinds)
    rows, following = await lists.fetch_page(admin, what, call.path.get("account"), filters, page)
    hidden = "" if what == "events" else "id"
    return {
        "items": [show({name: value for name, value in row.items() if name != hidden}) for row in rows],
        "next": following,
    }


def read_list(
    call: Call, what: str, *, statuses: Sequence[str] = (), kinds: Sequence[str] | None = ()
) -> tuple[Filters, Page]:
    """
    What a list was asked for. Raises InvalidInput.

    `statuses` and `kinds` are the words that this list may be filtered by; `kinds` None: any word.
    """
    query: ListQuery = call.query
    problems = [
        *_check(query.status, statuses, "status"),
        *(_check(query.kind, kinds, "kind") if kinds is not None else ()),
    ]
    if problems:
        raise InvalidInput(problems)
    limit = min(query.limit, SHORT) if isinstance(query, RequestsQuery) and query.whole else query.limit
    page = read_page(sort=query.sort, limit=limit, after=query.after, columns=tuple(lists.COLUMNS[what]))
    filters = Filters(
        client_ids=query.client_id,
        statuses=query.status,
        kinds=query.kind,
        text=query.text,
        since=query.since,
        until=query.until,
    )
    return filters, page


def _check(given: Sequence[str], allowed: Sequence[str], field: str) -> list[Problem]:
    text = f"must be one of {', '.join(allowed)}" if allowed else "is nothing that this list can be filtered by"
    return [Problem(field=field, rule=field, text=text)] if set(given) - set(allowed) else []
