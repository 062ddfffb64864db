"""
What a hooks process remembers of guesses at passwords, by username: judged from here, written to the database beside
it, which adds up what several processes count, and from where it is read at start.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from service.core import guessing
from service.core.guessing import Limit
from service.db.hooks import HookStore

# Nobody's names are counted as somebody's are. Each takes a token of the slow-hash budget to get here, so that there
# are far fewer; beyond this many the one that is forgotten soonest goes, never the one that is guessed at most.
MOST_NAMES = 10_000


class Guesses:
    """Tries of passwords by username, in lower case: in it names are unique."""

    def __init__(self, limit: Limit | None = None, *, most: int = MOST_NAMES) -> None:
        self.limit = limit or Limit()
        self.most = most
        # When all tries are forgotten, monotonic.
        self._full_at: dict[str, float] = {}
        self._unwritten: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._full_at)

    def allows(self, username: str) -> bool:
        """Whether one more password may be tried on this name."""
        return guessing.allows(self.limit, self._full_at.get(username.lower(), 0.0), time.monotonic())

    def spend(self, username: str) -> None:
        """One was tried, or is going to be."""
        name, now = username.lower(), time.monotonic()
        self._put(name, guessing.spend(self.limit, self._full_at.get(name, now), now), now)
        self._unwritten[name] += 1

    async def share(self, store: HookStore) -> None:
        """Write what was counted here, read what was counted everywhere. Raises Unavailable; the count is kept."""
        taken = self.take()
        try:
            told = await store.count_guesses(
                taken, interval=self.limit.interval, longest=self.limit.longest, most=self.most
            )
        except BaseException:
            self.give_back(taken)
            raise
        self.learn(told)

    def take(self) -> list[dict[str, Any]]:
        """What was not written yet: {"username", "count"}."""
        taken, self._unwritten = self._unwritten, Counter()
        return [{"username": name, "count": count} for name, count in taken.items()]

    def give_back(self, taken: list[dict[str, Any]]) -> None:
        """It could not be written."""
        for row in taken:
            self._unwritten[row["username"]] += row["count"]

    def learn(self, told: dict[str, float]) -> None:
        """What all processes counted: seconds until all of a name's tries are forgotten. Never fewer than known."""
        now = time.monotonic()
        for name, left in told.items():
            self._put(name, max(self._full_at.get(name, now), now + left), now)
        self._forget_full(now)

    def _put(self, name: str, full_at: float, now: float) -> None:
        self._full_at[name] = full_at
        if len(self._full_at) > self.most:
            self._forget_full(now)
        while len(self._full_at) > self.most:
            del self._full_at[min(self._full_at, key=self._full_at.__getitem__)]

    def _forget_full(self, now: float) -> None:
        for name in [name for name, full_at in self._full_at.items() if full_at <= now]:
            del self._full_at[name]
            self._unwritten.pop(name, None)  # nobody would learn anything from it any more
