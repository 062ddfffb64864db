"""
Wrong tokens from one address: so many are told that they are wrong, then only that there were too many.

Whoever has a right token is never held back, also not behind the same address: it is looked at first.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable

from cachetools import LRUCache

from service.core import budget
from service.core.budget import Budget

RATE, BURST = 0.2, 20.0
# Addresses that are remembered; the one that was quiet for the longest goes first.
MOST_ADDRESSES = 10_000


class WrongTokens:
    """A budget for each address: `rate` wrong tokens a second, `burst` saved up."""

    def __init__(
        self, rate: float = RATE, burst: float = BURST, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._budgets: LRUCache[str, Budget] = LRUCache(maxsize=MOST_ADDRESSES)

    def note(self, address: str) -> int | None:
        """One more from there; the seconds to wait where it was one too many."""
        now = self._clock()
        before = self._budgets.get(address) or budget.full_budget(self._rate, self._burst, now)
        left, enough = budget.take(before, now)
        self._budgets[address] = left
        return None if enough else max(1, math.ceil((1 - left.tokens) / self._rate))


def address_of(peer: str | None, forwarded_for: str | None) -> str:
    """
    Whom a call is from: the peer, or whom a proxy on this machine says it is from, which is the last it wrote.

    Of IPv6 the network (/64): one host has all of its addresses.
    """
    address = _read(peer)
    if address is None:
        return ""
    if address.is_loopback and forwarded_for is not None:
        address = _read(forwarded_for.rpartition(",")[2].strip()) or address
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def _read(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
