"""
What a hooks process remembers of clients between questions, bounded by entries and by bytes (D8).

Clients of one account with the same permissions have the same grants but for their own client id. So what is kept once
is a pattern with a mark at the client id's places; what is kept a client is names, a reference, and a tag.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from service.core.connect import Present
from service.core.grants import Grant
from service.core.verdicts import Denied

# With the feed silent for this long memory is not used, and Postgres is asked.
FEED_PATIENCE = 2.0
# With Postgres away as well, admitted clients keep their grants for this long from the last contact.
GRACE = 60.0

Client = tuple[str, str, str]  # broker, username, client id

# No filter holds a NUL; in JSON text it is written like this.
_MARK, _MARK_TEXT = "\0", b"\\u0000"
# An entry less its two names: itself, its key, its tag, and its places in three indexes while they grow.
_ENTRY_BYTES = 450
# A pattern less its filters.
_PATTERN_BYTES = 1000


@dataclass(slots=True, eq=False)
class Pattern:
    """Grants with a mark where a client's own id stands, and how many clients have them."""

    grants: tuple[Grant, ...]
    account_id: int | None
    text: bytes
    clients: int = 0

    @property
    def size(self) -> int:
        """Bytes, about."""
        filters = sum(sys.getsizeof(grant.filter) + 100 for grant in self.grants)
        return _PATTERN_BYTES + 2 * filters + len(self.text)

    def grants_of(self, client_id: str) -> Iterator[Grant]:
        """One client's."""
        for grant in self.grants:
            yield Grant(grant.filter.replace(_MARK, client_id), grant.accesses)


@dataclass(slots=True, eq=False)
class Entry:
    """
    What was decided about a client: present with grants, or denied, which stays as a tombstone.

    `stale`: something about it changed, so it decides nothing until it was loaded anew. `login`: the tag of the
    password with which a login is decided the same; None: none is.
    """

    client_id: str
    decided: Pattern | Denied
    stale: bool = False
    login: bytes | None = None

    def decision(self) -> Present | Denied:
        """As it was kept; a login's changes have been made."""
        if isinstance(self.decided, Denied):
            return self.decided
        return Present(grants=tuple(self.decided.grants_of(self.client_id)), account_id=self.decided.account_id)

    def grants_text(self) -> bytes:
        """The grants as our plugin reads them: JSON, pairs of a filter and the sum of its accesses."""
        assert isinstance(self.decided, Pattern)
        return self.decided.text.replace(_MARK_TEXT, self.client_id.encode("ascii"))


def grants_text(grants: Iterable[Grant]) -> bytes:
    """Grants as our plugin reads them: JSON, pairs of a filter and the sum of its accesses."""
    return msgspec.json.encode([(grant.filter, sum(grant.accesses)) for grant in grants])


@dataclass(slots=True, eq=False)
class Load:
    """A decision on its way from the database. It is not kept if its key changed meanwhile."""

    client: Client
    changed: bool = False


class _Index:
    """Clients by one of their names. Most names are one client's, which then stands there itself."""

    def __init__(self) -> None:
        self._found: dict[str, Client | set[Client]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def get(self, name: str) -> Iterable[Client]:
        """All of this name."""
        found = self._found.get(name)
        if found is None:
            return ()
        return found if isinstance(found, set) else (found,)

    def add(self, name: str, client: Client) -> None:
        """One that is not there."""
        found = self._found.setdefault(name, client)
        if isinstance(found, set):
            found.add(client)
        elif found is not client:
            self._found[name] = {found, client}

    def remove(self, name: str, client: Client) -> None:
        """One that is there."""
        found = self._found[name]
        if isinstance(found, set) and len(found) > 1:
            found.discard(client)
        else:
            del self._found[name]


@dataclass(eq=False)
class Grants:
    """Decisions by (broker, username, client id), the least recently used forgotten first."""

    size: int
    most_bytes: int = 2**62
    last_contact: float = -GRACE
    # The feed's position that what is not stale is as new as.
    as_of: int = 0
    # The bytes that all of it takes, about.
    held: int = 0
    _entries: OrderedDict[Client, Entry] = field(default_factory=OrderedDict)
    _by_user: _Index = field(default_factory=_Index)
    _by_client: _Index = field(default_factory=_Index)
    _patterns: dict[tuple[tuple[Grant, ...], int | None], Pattern] = field(default_factory=dict)
    _loads: set[Load] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, client: Client) -> Entry | None:
        """What is remembered, while the feed would tell if it were no longer right."""
        entry = self._entries.get(client)
        if entry is None or entry.stale or not self.follows():
            return None
        self._entries.move_to_end(client)
        return entry

    def current(self, client: Client) -> Present | Denied | None:
        """The decision, while the feed would tell if it were no longer right."""
        entry = self.entry(client)
        return None if entry is None else entry.decision()

    def without_database(self, client: Client) -> Present | Denied | None:
        """The decision to fall back on while Postgres is away: only what was valid at the last contact."""
        entry = self._entries.get(client)
        if entry is None or entry.stale:
            return None
        if isinstance(entry.decided, Denied):
            return entry.decided
        return entry.decision() if time.monotonic() - self.last_contact < GRACE else None

    def follows(self) -> bool:
        """Whether the feed was heard just now."""
        return time.monotonic() - self.last_contact < FEED_PATIENCE

    def begin_load(self, client: Client) -> Load:
        """Note that a decision is being loaded; `end_load` must follow."""
        load = Load(client)
        self._loads.add(load)
        return load

    def end_load(
        self, load: Load, decision: Present | Denied | None, *, keep_denied: bool, login: bytes | None = None
    ) -> None:
        """
        Keep what was loaded, unless it changed meanwhile; None: nothing was learnt.

        A denial stays as the tombstone of a client that was here. `keep_denied`: of any client, for questions that
        only admitted clients can cause. `login`: the tag of a password with which the same login is decided the same.
        """
        self._loads.discard(load)
        if decision is None or load.changed:
            return
        if isinstance(decision, Present) or keep_denied or load.client in self._entries:
            self._put(load.client, decision, login)

    def note_changes(self, changes: Iterable[tuple[str, str]], lost: bool, as_of: int) -> None:
        """The feed was heard: (kind, key) of what changed until a position; `lost` when more may have."""
        self.last_contact = time.monotonic()
        self.as_of = as_of
        if lost:
            self._mark(self._entries)
            self._spoil_loads()
        for kind, key in changes:
            if kind in ("user", "client"):
                self._mark((self._by_user if kind == "user" else self._by_client).get(key))
                for load in self._loads:
                    load.changed |= key == load.client[1 if kind == "user" else 2]
            else:
                self._mark_wide(kind, key)

    def _mark_wide(self, kind: str, key: str) -> None:
        """An account or a broker changed: rare, so everything is looked through."""
        for client, entry in self._entries.items():
            if kind == "broker" and client[0] == key:
                entry.stale = True
            if kind == "account" and (isinstance(entry.decided, Denied) or str(entry.decided.account_id) == key):
                entry.stale = True
        self._spoil_loads()

    def _spoil_loads(self) -> None:
        for load in self._loads:
            load.changed = True

    def _mark(self, clients: Iterable[Client]) -> None:
        for client in clients:
            self._entries[client].stale = True

    def _put(self, client: Client, decision: Present | Denied, login: bytes | None) -> None:
        self._forget(client)
        decided = decision if isinstance(decision, Denied) else self._pattern(decision, client[2])
        self._entries[client] = Entry(client[2], decided, login=login)
        self._by_user.add(client[1], client)
        self._by_client.add(client[2], client)
        self.held += _size(client)
        while len(self._entries) > self.size or self.held > self.most_bytes:
            self._forget(next(iter(self._entries)))

    def _pattern(self, present: Present, client_id: str) -> Pattern:
        """The one that this client shares with others, one client more."""
        grants = tuple(Grant(grant.filter.replace(client_id, _MARK), grant.accesses) for grant in present.grants)
        key = (grants, present.account_id)
        pattern = self._patterns.get(key)
        if pattern is None:
            pattern = self._patterns[key] = Pattern(grants, present.account_id, grants_text(grants))
            self.held += pattern.size
        pattern.clients += 1
        return pattern

    def _forget(self, client: Client) -> None:
        entry = self._entries.pop(client, None)
        if entry is None:
            return
        self._by_user.remove(client[1], client)
        self._by_client.remove(client[2], client)
        self.held -= _size(client)
        pattern = entry.decided
        if isinstance(pattern, Pattern):
            pattern.clients -= 1
            if not pattern.clients:
                del self._patterns[pattern.grants, pattern.account_id]
                self.held -= pattern.size


def _size(client: Client) -> int:
    """Bytes that an entry takes, about; the broker's name is everybody's."""
    return _ENTRY_BYTES + sys.getsizeof(client[1]) + sys.getsizeof(client[2])
