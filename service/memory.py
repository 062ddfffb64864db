"""
What a hooks process remembers between questions: grants of admitted clients, bounded, and counted refusals (D8).
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from service.core.connect import Present
from service.core.verdicts import Denied

# With the feed silent for this long memory is not used, and Postgres is asked.
FEED_PATIENCE = 2.0
# With Postgres away as well, admitted clients keep their grants for this long from the last contact.
GRACE = 60.0

Client = tuple[str, str, str]  # broker, username, client id


@dataclass(slots=True)
class Entry:
    """
    What was decided about a client: present with grants, or denied, which stays as a tombstone.

    `stale`: something about it changed, so it decides nothing until it was loaded anew. `login_version`: a login with a
    password that was right for this version of the user's row is decided the same; None: none is.
    """

    decision: Present | Denied
    stale: bool = False
    login_version: int | None = None


@dataclass(eq=False)
class Load:
    """A decision on its way from the database. It is not kept if its key changed meanwhile."""

    client: Client
    changed: bool = False


@dataclass
class Grants:
    """Decisions by (broker, username, client id), the least recently used forgotten first."""

    size: int
    last_contact: float = -GRACE
    # The feed's position that what is not stale is as new as.
    as_of: int = 0
    _entries: OrderedDict[Client, Entry] = field(default_factory=OrderedDict)
    _by_name: dict[tuple[str, str], set[Client]] = field(default_factory=dict)
    _loads: set[Load] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._entries)

    def current(self, client: Client) -> Present | Denied | None:
        """The decision, while the feed would tell if it were no longer right."""
        entry = self._entries.get(client)
        if entry is None or entry.stale or not self.follows():
            return None
        self._entries.move_to_end(client)
        return entry.decision

    def repeated_login(self, client: Client, version: int) -> Present | None:
        """The decision on a login that was the same before, while the feed would tell if it were no longer right."""
        entry = self._entries.get(client)
        if entry is None or entry.login_version != version or isinstance(entry.decision, Denied):
            return None
        return entry.decision if self.current(client) is not None else None

    def without_database(self, client: Client) -> Present | Denied | None:
        """The decision to fall back on while Postgres is away: only what was valid at the last contact."""
        entry = self._entries.get(client)
        if entry is None or entry.stale:
            return None
        if isinstance(entry.decision, Denied):
            return entry.decision
        return entry.decision if time.monotonic() - self.last_contact < GRACE else None

    def follows(self) -> bool:
        """Whether the feed was heard just now."""
        return time.monotonic() - self.last_contact < FEED_PATIENCE

    def begin_load(self, client: Client) -> Load:
        """Note that a decision is being loaded; `end_load` must follow."""
        load = Load(client)
        self._loads.add(load)
        return load

    def end_load(
        self, load: Load, decision: Present | Denied | None, *, keep_denied: bool, login_version: int | None = None
    ) -> None:
        """
        Keep what was loaded, unless it changed meanwhile; None: nothing was learnt.

        A denial stays as the tombstone of a client that was here. `keep_denied`: of any client, for questions that
        only admitted clients can cause.
        """
        self._loads.discard(load)
        if decision is None or load.changed:
            return
        if isinstance(decision, Present) or keep_denied or load.client in self._entries:
            self._put(load.client, Entry(decision, login_version=login_version))

    def note_changes(self, changes: Iterable[tuple[str, str]], lost: bool, as_of: int) -> None:
        """The feed was heard: (kind, key) of what changed until a position; `lost` when more may have."""
        self.last_contact = time.monotonic()
        self.as_of = as_of
        if lost:
            self._mark(self._entries)
            self._spoil_loads()
        for kind, key in changes:
            if kind in ("user", "client"):
                self._mark(self._by_name.get((kind, key), ()))
                for load in self._loads:
                    load.changed |= key == load.client[1 if kind == "user" else 2]
            else:
                self._mark_wide(kind, key)

    def _mark_wide(self, kind: str, key: str) -> None:
        """An account or a broker changed: rare, so everything is looked through."""
        for client, entry in self._entries.items():
            if kind == "broker" and client[0] == key:
                entry.stale = True
            if kind == "account" and (isinstance(entry.decision, Denied) or str(entry.decision.account_id) == key):
                entry.stale = True
        self._spoil_loads()

    def _spoil_loads(self) -> None:
        for load in self._loads:
            load.changed = True

    def _mark(self, clients: Iterable[Client]) -> None:
        for client in clients:
            self._entries[client].stale = True

    def _put(self, client: Client, entry: Entry) -> None:
        self._entries[client] = entry
        self._entries.move_to_end(client)
        for name in (("user", client[1]), ("client", client[2])):
            self._by_name.setdefault(name, set()).add(client)
        while len(self._entries) > self.size:
            self._forget(next(iter(self._entries)))

    def _forget(self, client: Client) -> None:
        if self._entries.pop(client, None) is None:
            return
        for name in (("user", client[1]), ("client", client[2])):
            self._by_name[name].discard(client)
            if not self._by_name[name]:
                del self._by_name[name]


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
        "session_not_clean", "over_budget", "database_unavailable",
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
