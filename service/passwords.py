"""
Factory passwords: bcrypt off the event loop, every refusal at the same price, and the memory of verified ones (D5).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import bcrypt
from cachetools import LRUCache

from service.core.names import is_password

TAG_BYTES = 16
DEFAULT_COST = 10
LOWEST_COST = 4
# Seconds. Looking somebody up takes a third of a millisecond longer than finding nobody; hashes begin at multiples of
# this from the question on, so that the time of a refusal does not say which it was.
STEP = 0.002


def cost_of(stored: str) -> int:
    """The cost in a stored bcrypt hash; the lowest where it is malformed."""
    try:
        return int(stored[4:6])
    except ValueError:
        return LOWEST_COST


def hash_password(password: str, cost: int) -> str:
    """A bcrypt hash of a password that `check_provision_password` accepted."""
    return bcrypt.hashpw(password.encode("ascii"), bcrypt.gensalt(cost)).decode("ascii")


def verify(password: str, stored: str) -> bool:
    """
    Whether the password is the stored one; a malformed hash is never.

    bcrypt 5 raises beyond 72 bytes and on malformed hashes: both mean no, at once and everywhere.
    """
    return bool(_verify(password, stored))


def _verify(password: str, stored: str) -> bool | None:
    """`verify`, or None where nothing was hashed."""
    if not is_password(password):
        return None
    try:
        return bcrypt.checkpw(password.encode("ascii"), stored.encode("ascii"))
    except ValueError:
        return None


def spend(password: str, cost: int) -> None:
    """Hash to no purpose, at this cost: what an unknown name or an early refusal pays."""
    bcrypt.hashpw(password.encode("ascii", "replace")[:72], bcrypt.gensalt(max(cost, LOWEST_COST)))


def spend_difference(password: str, paid: int, highest: int) -> None:
    """
    Bring what was paid (one hash of cost `paid`) up to one hash of cost `highest`.

    A hash of cost c takes 2^c, and 2^c + 2^c + 2^(c+1) + ... + 2^(h-1) = 2^h.
    """
    for cost in range(paid, highest):
        spend(password, cost)


def next_step(asked: float, now: float) -> float:
    """The first moment from `now` on that is a whole number of steps after the question was asked."""
    return asked + math.ceil((now - asked) / STEP) * STEP


class Hasher:
    """bcrypt in threads of its own: it releases the GIL, so they scale with the cores and the event loop stays free."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="bcrypt")
        self.hashes = 0

    async def verify(self, password: str, stored: str | None, highest: int, *, asked: float, pad: bool = False) -> bool:
        """
        Verify, or refuse at the price of one hash of the highest stored cost.

        `stored` None (unknown user) hashes to no purpose. `asked`: when the question came, monotonic. `pad`: the full
        price also where the password is right, because the client will be refused for another reason.
        """
        self.hashes += 1
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _verify_on_time, password, stored, highest, pad, asked)

    def close(self) -> None:
        """Stop the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _verify_on_time(password: str, stored: str | None, highest: int, pad: bool, asked: float) -> bool:
    now = time.monotonic()
    time.sleep(next_step(asked, now) - now)  # here, because the event loop's sleep is to the millisecond
    return _verify_at_price(password, stored, highest, pad)


def _verify_at_price(password: str, stored: str | None, highest: int, pad: bool) -> bool:
    verified = _verify(password, stored) if stored is not None else None
    if verified is None:
        spend(password, highest)
    elif stored is not None and (pad or not verified):
        spend_difference(password, cost_of(stored), highest)
    return bool(verified)


class Verified(NamedTuple):
    """The version of the user's row that a password was right for; `previous`: as the one before the rotation."""

    version: int
    previous: bool


# What one takes: its tag, what it was verified against, and its places in the cache.
VERIFIED_BYTES = 350


class VerifiedPasswords:
    """
    Passwords that were verified once, so that a shared credential pays bcrypt once.

    Kept as keyed BLAKE2 under a key of this process, with the name's length: no two different pairs look alike, and
    nothing of it helps anybody who reads the memory later. A changed row has another version and is not remembered.
    """

    def __init__(self, size: int, most_bytes: int = 2**62) -> None:
        self._key = secrets.token_bytes(32)
        self._verified: LRUCache[bytes, Verified] = LRUCache(maxsize=max(1, min(size, most_bytes // VERIFIED_BYTES)))

    def __len__(self) -> int:
        return len(self._verified)

    def tag(self, username: str, password: str) -> bytes:
        """What stands for the two in this process, and says nothing of them."""
        name = username.encode("utf-8", "surrogatepass")
        message = len(name).to_bytes(4, "big") + name + password.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(message, digest_size=TAG_BYTES, key=self._key).digest()

    def recall(self, username: str, password: str) -> Verified | None:
        """What this password was verified against, or None."""
        return self._verified.get(self.tag(username, password))

    def remember(self, username: str, password: str, verified: Verified) -> None:
        """The password was right."""
        self._verified[self.tag(username, password)] = verified

    def forget(self, username: str, password: str) -> None:
        """It is right no more."""
        self._verified.pop(self.tag(username, password), None)
