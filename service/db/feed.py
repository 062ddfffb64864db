"""
The feed of changes: one connection that listens and polls. NOTIFY wakes it; the poll cannot miss a late commit (D8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec

from service import log
from service.db import queries
from service.db.pool import TRANSIENT
from service.keys import Secret

_SQL = queries.load("hooks")
_log = log.get("feed")

POLL_EVERY = 0.5
RETRY_EVERY = 0.25
TIMEOUT = 2.0

# (what changed as (kind, key), whether changes may be lost, the position up to which nothing else did)
OnChanges = Callable[[list[tuple[str, str]], bool, int], Any]


class Feed:
    """Follows the changes until cancelled, through every break, without forgetting where it was."""

    def __init__(self, url: Secret, on_changes: OnChanges, *, name: str) -> None:
        self._url = url
        self._on_changes = on_changes
        self._name = name
        self._last = "0"
        self._wake = asyncio.Event()
        self._heard = False

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                await self._follow()
            except TRANSIENT as error:
                if self._heard:
                    _log.warning("feed_lost", error=type(error).__name__)
                self._heard = False
            except Exception as error:  # the driver has no error of its own for a server that talks nonsense
                self._heard = False
                _log.error("feed_failed", error=type(error).__name__)
            await asyncio.sleep(RETRY_EVERY)

    async def _follow(self) -> None:
        connection = await asyncpg.connect(
            self._url.reveal(),
            timeout=TIMEOUT,
            command_timeout=TIMEOUT,
            server_settings={"application_name": self._name},
        )
        try:
            await connection.add_listener("changes", lambda *_: self._wake.set())
            connection.add_termination_listener(lambda *_: self._wake.set())
            while True:
                self._wake.clear()
                await self._poll(connection)
                try:
                    await asyncio.wait_for(self._wake.wait(), POLL_EVERY)
                except TimeoutError:
                    continue
        finally:
            connection.terminate()

    async def _poll(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        found = msgspec.json.decode(await connection.fetchval(_SQL["changes"], self._last))
        self._on_changes([(kind, key) for kind, key in found["changes"]], found["lost"], int(found["last"]))
        # Only now: had the call above failed, the same changes would come again.
        self._last = found["last"]
        self._heard = True
