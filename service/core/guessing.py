"""
How often a password is tried on one username (docs/decisions/0014).

What was tried is one number a name: when all of it is forgotten. It moves on by an interval with each try, and time
catches it up; so it can be kept anywhere, and added to by several processes.
"""

from __future__ import annotations

from dataclasses import dataclass

# One try a second, thirty at once.
RATE = 1.0
BURST = 30.0


@dataclass(frozen=True, kw_only=True)
class Limit:
    """`rate` tries a second, at most `burst` of them saved."""

    rate: float = RATE
    burst: float = BURST

    @property
    def interval(self) -> float:
        """Seconds until one try is forgotten."""
        return 1 / self.rate

    @property
    def longest(self) -> float:
        """
        Seconds that no tries count for longer: processes that do not know of each other's yet may each spend a burst,
        but nothing locks a name out for more.
        """
        return 2 * self.burst / self.rate


def allows(limit: Limit, full_at: float, now: float) -> bool:
    """Whether one more may be tried; `full_at`: when all earlier ones are forgotten (or a time that has passed)."""
    return full_at - now <= (limit.burst - 1) * limit.interval


def spend(limit: Limit, full_at: float, now: float) -> float:
    """When all is forgotten after one more."""
    return min(max(full_at, now) + limit.interval, now + limit.longest)
