"""
What happened to a client id as a person reads it: one order, similar counters as one row, a sentence for each.

A row is {"at", "until", "times", "what", "by", "reason", "account", "correlation_id", "detail"}: `at` and `until` are
times with a zone (the same for what happened once), `detail` depends on `what`. docs/explain.md lists every kind.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.core.explanations import sentence

Row = dict[str, Any]

# Counters: rows of these kinds are many alike, and nobody was given a correlation id for them.
COUNTED = frozenset({"connect_allowed", "connect_refused", "topic_refused", "asks_refused", "others_refused"})

# Who follows a deployment sees whether and when, and why not: no name of a credential, no key, no configuration.
REDUCED = ("at", "until", "times", "what", "text", "by", "reason", "correlation_id")
REDUCED_DETAIL = frozenset({"run", "state", "step", "again", "broker", "times", "topic", "access", "response_code"})


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows of one kind of source, and whether it has older ones that were not read."""

    rows: Sequence[Row]
    has_more: bool = False


def merge(sources: Sequence[Source], limit: int) -> list[Row]:
    """
    At most `limit` rows of all sources, the newest of them, oldest first, each with its `text`.

    What is at the same time stays in the order of the sources, and within a source in its own. Where something older
    was not read or not kept, the first row, beyond the limit, is `left_out`, with what is known of how many.
    """
    complete_since = max((_end(source.rows[0]) for source in sources if source.has_more and source.rows), default=None)
    rows = [row for source in sources for row in source.rows if complete_since is None or _end(row) >= complete_since]
    folded = fold(sorted(rows, key=lambda row: row["at"]))
    shown = folded[-limit:]
    for row in shown:
        row["text"] = sentence(row["what"], row["reason"])
    if complete_since is None and len(shown) == len(folded):
        return shown
    return [_left_out(shown, len(folded) - len(shown), more=complete_since is not None), *shown]


def _end(row: Row) -> datetime.datetime:
    end: datetime.datetime = row["until"]
    return end


def _left_out(shown: Sequence[Row], count: int, *, more: bool) -> Row:
    at = shown[0]["at"]
    return {
        "at": at,
        "until": at,
        "times": count,
        "what": "left_out",
        "by": None,
        "reason": None,
        "account": None,
        "correlation_id": None,
        "detail": {"at_least": count, "more": more},
        "text": sentence("left_out", None),
    }


def fold(rows: Iterable[Row]) -> list[Row]:
    """
    Counters that are alike, with nothing but counters between them, as one row from the first to the last of them.

    Takes rows in order and leaves them so; what is no counter stays as it is.
    """
    folded: list[Row] = []
    open_rows: dict[str, Row] = {}
    for row in rows:
        if row["what"] not in COUNTED:
            open_rows.clear()
            folded.append(dict(row))
            continue
        key = json.dumps([row["what"], row["by"], row["reason"], row["account"], row["detail"]], sort_keys=True)
        first = open_rows.get(key)
        if first is None:
            open_rows[key] = first = dict(row)
            folded.append(first)
        else:
            first["times"] += row["times"]
            first["until"] = max(first["until"], row["until"])
    for row in folded:
        if row["what"] in COUNTED:
            row["detail"] = {**row["detail"], "times": row["times"]}
    return folded


def reduce(row: Mapping[str, Any]) -> Row:
    """A row as somebody sees it who may not see credentials, keys and configuration."""
    detail = {name: value for name, value in row["detail"].items() if name in REDUCED_DETAIL}
    return {**{name: row[name] for name in REDUCED}, "detail": detail}


def age(seconds: float) -> str:
    """How long ago, in the largest unit that fits: `3 h ago`."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} ago"
    return f"{whole} s ago"
