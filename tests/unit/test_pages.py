"""Pages of long lists: what may be asked for, and where the next one begins."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from service.core.pages import Page, next_cursor, read_page
from service.core.problems import InvalidInput, Problem

COLUMNS = ("client_id", "created_at")
SORT = Problem(field="sort", rule="sort", text="must be one of client_id, -client_id, created_at, -created_at")
LIMIT = Problem(field="limit", rule="limit", text="must be 1 to 500")
AFTER = Problem(field="after", rule="after", text="must be `next` of a list in the same order")


def read(*, sort: str | None = None, limit: int = 100, after: str | None = None) -> Page:
    """Of a list of requests."""
    return read_page(sort=sort, limit=limit, after=after, columns=COLUMNS)


def problems(**asked: Any) -> tuple[Problem, ...]:
    """What is said of it."""
    with pytest.raises(InvalidInput) as caught:
        read(**asked)
    return caught.value.problems


def cursor(value: Any) -> str:
    """As a list would have made it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_page_is_the_first_hundred_by_the_first_column_unless_said() -> None:
    assert read() == Page(sort="client_id", limit=100, after=None)
    assert Page(sort="client_id") == Page(sort="client_id", limit=100, after=None)


@pytest.mark.parametrize(
    ("sort", "column", "descending"),
    [
        ("client_id", "client_id", False),
        ("-client_id", "client_id", True),
        ("created_at", "created_at", False),
        ("-created_at", "created_at", True),
    ],
)
def test_a_page_is_in_the_order_that_was_asked_for(sort: str, column: str, descending: bool) -> None:
    page = read(sort=sort)
    assert (page.sort, page.column, page.descending) == (sort, column, descending)


@pytest.mark.parametrize("sort", ["", "-", "state", "--client_id", "client_id-", "CLIENT_ID"])
def test_another_order_is_refused_with_those_there_are(sort: str) -> None:
    assert problems(sort=sort) == (SORT,)


@pytest.mark.parametrize(("limit", "good"), [(0, False), (1, True), (500, True), (501, False), (-1, False)])
def test_a_page_has_one_to_five_hundred_rows(limit: int, good: bool) -> None:
    if good:
        assert read(limit=limit).limit == limit
    else:
        assert problems(limit=limit) == (LIMIT,)


@pytest.mark.parametrize("id_", [0, 7, 2**63 - 1])
@pytest.mark.parametrize("value", ["gw-1", "", "gw-ü?>", "2026-05-04T12:00:00+00:00"])
@pytest.mark.parametrize("sort", ["client_id", "-created_at"])
def test_the_next_page_begins_after_the_last_row(sort: str, value: str, id_: int) -> None:
    following = next_cursor(Page(sort=sort), value, id_)
    assert "=" not in following
    assert read(sort=sort, limit=5, after=following) == Page(sort=sort, limit=5, after=(value, id_))


@pytest.mark.parametrize(
    "after",
    [
        "",
        "nonsense",
        "ü",
        cursor(["client_id", "gw-1", 7]) + "!",
        cursor(["client_id", "gw-1", 7]) + "\n",
        " " + cursor(["client_id", "gw-1", 7]),
        cursor(["created_at", "gw-1", 7]),
        cursor(["-client_id", "gw-1", 7]),
        cursor(["client_id", "gw-1", -1]),
        cursor(["client_id", "gw-1", 2**63]),
        cursor(["client_id", "gw-1", "7"]),
        cursor(["client_id", 1, 7]),
        cursor(["client_id", "gw\0", 7]),
        cursor(["client_id", "gw-1"]),
        cursor({"sort": "client_id"}),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_what_no_list_of_this_order_said_is_refused(after: str) -> None:
    assert problems(after=after) == (AFTER,)


def test_all_problems_are_told_at_once() -> None:
    assert problems(sort="state", limit=0, after="nonsense") == (SORT, LIMIT, AFTER)
