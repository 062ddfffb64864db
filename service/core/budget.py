"""The slow-hash budget (D5): a token bucket, as a value. The broker waits while we hash, so hashes are rationed."""

from __future__ import annotations

from dataclasses import dataclass, replace

# What a token pays for, in seconds of the broker's waiting: a bcrypt hash of cost 10 takes about 70 ms of a core.
TOKEN_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Budget:
    """
    `rate` tokens a second, at most `burst` of them saved; below 0 they are owed. `at` is a monotonic time in seconds.
    """

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


def settle(budget: Budget, now: float, seconds: float, per_token: float = TOKEN_SECONDS) -> Budget:
    """
    What is left after a hash that one token was taken for and that took so long: the rest is owed.

    So a slow or busy machine, or a dear hash, holds the broker up for no larger share of its time.
    """
    budget, _ = take(budget, now, 0)
    return replace(budget, tokens=budget.tokens - max(0.0, seconds / per_token - 1))
