"""Pages of long lists: where one ends and the next begins, told by the last row and not by counting (keyset)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from service.core.derivation import base64url, from_base64url
from service.core.problems import InvalidInput, Problem

MOST_ROWS = 500
ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Page:
    """So many rows, in this order, after this row. `sort`: a column, `-` before it: the last ones first."""

    sort: str
    limit: int = ROWS
    after: tuple[Any, int] | None = None

    @property
    def column(self) -> str:
        """What is sorted by."""
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Whether the last ones come first."""
        return self.sort.startswith("-")


def read_page(*, sort: str | None, limit: int, after: str | None, columns: tuple[str, ...]) -> Page:
    """A page as it was asked for; `columns` may be sorted by, the first one unless said. Raises InvalidInput."""
    problems = []
    chosen = sort if sort is not None else columns[0]
    if chosen.removeprefix("-") not in columns:
        words = ", ".join(f"{name}, -{name}" for name in columns)
        problems.append(Problem(field="sort", rule="sort", text=f"must be one of {words}"))
    if not 1 <= limit <= MOST_ROWS:
        problems.append(Problem(field="limit", rule="limit", text=f"must be 1 to {MOST_ROWS}"))
    position = _read_cursor(after, chosen) if after is not None else None
    if after is not None and position is None:
        problems.append(Problem(field="after", rule="after", text="must be `next` of a list in the same order"))
    if problems:
        raise InvalidInput(problems)
    return Page(sort=chosen, limit=limit, after=position)


def next_cursor(page: Page, value: str, id_: int) -> str:
    """Where the next page begins: after the row with this value and id."""
    return base64url(json.dumps([page.sort, value, id_]).encode())


def _read_cursor(text: str, sort: str) -> tuple[str, int] | None:
    try:
        found = json.loads(from_base64url(text))
    except (ValueError, RecursionError):
        return None
    match found:
        case [str(order), str(value), int(id_)] if order == sort and 0 <= id_ < 2**63 and "\0" not in value:
            return value, id_
    return None
