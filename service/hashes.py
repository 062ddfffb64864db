"""bcrypt once for each credential, and not for each of many requests that share it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache

from service import passwords

# (username, keyed digest of the password, the stored hash or None for a new one)
Credential = tuple[str, bytes, str | None]
MOST = 10_000


@dataclass(kw_only=True)
class Hashes:
    """
    What was verified, and the hashes that new credentials get; one a process. No password is kept: a digest under a
    key of this process stands for it.
    """

    known: LRUCache[Credential, Any] = field(default_factory=lambda: LRUCache(maxsize=MOST), repr=False)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def _credential(self, name: str, password: str, stored: str | None) -> Credential:
        digest = hashlib.blake2b(password.encode("utf-8", "surrogatepass"), key=self.key, digest_size=32).digest()
        return name, digest, stored

    async def verify(self, wanted: Mapping[tuple[str, str], str | None]) -> dict[tuple[str, str], bool]:
        """Of {(username, password): stored hash}."""
        found = await asyncio.gather(*(self._verify(*pair, stored) for pair, stored in wanted.items()))
        return dict(zip(wanted, found, strict=True))

    async def _verify(self, name: str, password: str, stored: str | None) -> bool:
        if stored is None:
            return False
        credential = self._credential(name, password, stored)
        if credential not in self.known:
            self.known[credential] = await asyncio.to_thread(passwords.verify, password, stored)
        return bool(self.known[credential])

    async def make(self, wanted: Mapping[str, str], cost: int) -> dict[str, str]:
        """Of {username: password}; the same hash until it is verified, so that a repeated write does not pay again."""
        found = await asyncio.gather(*(self._make(name, password, cost) for name, password in wanted.items()))
        return dict(zip(wanted, found, strict=True))

    async def _make(self, name: str, password: str, cost: int) -> str:
        credential = self._credential(name, password, None)
        if credential not in self.known:
            hashed = await asyncio.to_thread(passwords.hash_password, password, cost)
            self.known[credential] = hashed
            self.known[self._credential(name, password, hashed)] = True
        return str(self.known[credential])
