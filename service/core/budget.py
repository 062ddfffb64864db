"""The slow-hash budget (D5): a token bucket, as a value. The broker waits while we hash, so hashes are rationed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Budget:
    """`rate` tokens a second, at most `burst` of them saved. `at` is a monotonic time in seconds."""

    rate: float
    burst: float
    tokens: float
    at: float


def full_budget(rate: float, burst: float, now: float) -> Budget:
    """A budget from which nothing was taken yet."""
    return Budget(rate=rate, burst=burst, tokens=burst, at=now)


def take(budget: Budget, now: float, tokens: float = 1) -> tuple[Budget, bool]:
    """Take that many tokens: what is left, and whether they were there. Nothing is taken where they were not."""
    saved = min(budget.burst, budget.tokens + max(0.0, now - budget.at) * budget.rate)
    enough = saved >= tokens
    left = saved - tokens if enough else saved
    return Budget(rate=budget.rate, burst=budget.burst, tokens=left, at=max(now, budget.at)), enough
