"""
What a hooks process counts between two writes: refusals, logins, uses of factory credentials, all bounded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from service.grants_memory import Client

NAME_LENGTH = 256
TOPIC_LENGTH = 512
# More different ones than this between two flushes are counted under `*`: nobody's names leave the rest of it to those
# that a look-up found, and of these a username leaves the rest of it to the others.
MOST_REFUSALS = 500
MOST_OF_NOBODY = 250
MOST_OF_USERNAME = 100
# Reasons that come before anybody knows whether the username is somebody's: whoever knocks chooses it.
OF_NOBODY = frozenset(
    {
        "unknown_user", "no_username", "no_password", "malformed_username", "malformed_client_id", "malformed_password",
        "session_not_clean", "over_budget", "guessed_too_often", "database_unavailable",
    }
)  # fmt: skip


def printable(text: str, longest: int) -> str:
    """Text of strangers, fit to be stored and shown: control characters, surrogates and the like as escapes."""
    shortened = text[:longest]
    if shortened.isprintable() and shortened.isascii():
        return shortened
    return shortened.encode("unicode_escape").decode("ascii")[:longest]


MOST_USES = 5000


@dataclass
class Uses:
    """
    How factory credentials were used since the last flush (core/credentials.py), counted by username, kind and what.

    `old_password` and `new_password` are of one client id: the last one counts.
    """

    _counts: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def count(self, username: str, kind: str, what: str, times: int = 1) -> None:
        """Once more, or so many times."""
        key = (username, kind, printable(what, NAME_LENGTH))
        if kind in _PASSWORDS:
            for other in _PASSWORDS - {kind}:
                self._counts.pop((username, other, key[2]), None)
        elif key not in self._counts and len(self._counts) >= MOST_USES:
            key = (username, kind, "*")
        self._counts[key] = self._counts.get(key, 0) + times

    def take(self) -> list[dict[str, Any]]:
        """All of them, and begin anew."""
        taken, self._counts = self._counts, {}
        return [
            {"username": username, "kind": kind, "what": what, "count": count}
            for (username, kind, what), count in taken.items()
        ]

    def give_back(self, taken: list[dict[str, Any]]) -> None:
        """They could not be written: add them to what came since, within the bound."""
        newer = self.take()
        for row in (*taken, *newer):
            self.count(row["username"], row["kind"], row["what"], row["count"])


_PASSWORDS = frozenset({"old_password", "new_password"})


@dataclass
class Refusals:
    """Refusals (or allowed logins, all for the same reason) since the last flush, counted by who, what and why."""

    _counts: dict[tuple[str, str, str, str], dict[str, Any]] = field(default_factory=dict)
    # How many different ones each share has: nobody's is one, each (broker, username) is one.
    _shares: Counter[tuple[str, str] | None] = field(default_factory=Counter)

    def count(
        self, client: Client, reason: str, topic: str | None = None, access: str | None = None, times: int = 1
    ) -> None:
        """One more, or so many."""
        broker, username, client_id = client
        known = self._counts.get((broker, username, client_id, reason))
        if known is not None and topic is None:
            known["count"] += times
            return
        key = (broker, printable(username, NAME_LENGTH), printable(client_id, NAME_LENGTH), reason)
        if key not in self._counts:
            key = self._new(key)
        row = self._counts.setdefault(
            key, {"broker": key[0], "username": key[1], "client_id": key[2], "reason": key[3], "count": 0}
        )
        row["count"] += times
        if topic is not None:
            row["topic"], row["access"] = printable(topic, TOPIC_LENGTH), access

    def _new(self, key: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
        """Where one that was not there yet is counted: by itself while there is room, else with others."""
        broker, username, _, reason = key
        share = None if reason in OF_NOBODY else (broker, username)
        if len(self._counts) >= MOST_REFUSALS or (share is None and self._shares[share] >= MOST_OF_NOBODY):
            return broker, "*", "*", reason
        if share is not None and self._shares[share] >= MOST_OF_USERNAME:
            return broker, username, "*", reason
        self._shares[share] += 1
        return key

    def holds(self, broker: str, client_id: str) -> bool:
        """Whether any of this client id, or of those counted together, is among them."""
        return any(row["broker"] == broker and row["client_id"] in (client_id, "*") for row in self._counts.values())

    def take(self) -> list[dict[str, Any]]:
        """All of them, and begin anew."""
        taken, self._counts = list(self._counts.values()), {}
        self._shares.clear()
        return taken

    def give_back(self, taken: list[dict[str, Any]]) -> None:
        """They could not be written: add them to what came since, within the bound."""
        for row in taken:
            key = (row["broker"], row["username"], row["client_id"], row["reason"])
            if key in self._counts:
                self._counts[key]["count"] += row["count"]
            elif len(self._counts) < MOST_REFUSALS:
                self._counts[key] = row
