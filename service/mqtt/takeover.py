"""
Ending a device's session on the provision broker: log in under its client id as `~takeover` and leave again.

A disabled or deleted request loses its rights at once, as every topic check is refused; the takeover ends the session
as well, with its will refused, and wipes what was stored of it (plugin.md).
"""

from __future__ import annotations

import asyncio
import dataclasses

from service import keys, log
from service.core import names
from service.db import queries
from service.db.pool import TRANSIENT, Pool
from service.mqtt.client import Connection, Login, Refused, Unreachable

_FEED = queries.load("feed")
_REQUESTS = queries.load("provision_requests")
_log = log.get("takeover")

MOST_WAITING = 10_000


class Takeovers:
    """Client ids whose request changed, and the end of those sessions that have lost their right to be there."""

    def __init__(self, pool: Pool, login: Login) -> None:
        self._pool = pool
        self._login = login
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._followed = False

    def note_changes(self, changes: list[tuple[str, str]], lost: bool) -> None:
        """From the feed. What changed before this process began was somebody else's to end."""
        if not self._followed:
            self._followed = True
            return
        if lost:
            _log.warning("changes_lost")
        for kind, key in changes:
            if kind == "client" and len(self._waiting) < MOST_WAITING:
                self._waiting[key] = None
                self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                client_id = next(iter(self._waiting))
                del self._waiting[client_id]
                try:
                    await self._end_if_refused(client_id)
                except (Unreachable, Refused, *TRANSIENT) as error:
                    _log.warning("takeover_failed", client_id=client_id, error=str(error) or type(error).__name__)

    async def _end_if_refused(self, client_id: str) -> None:
        """One-time password, login, leave."""
        async with self._pool.acquire(timeout=5) as connection:
            if await connection.fetchval(_REQUESTS["may_connect"], client_id):
                return
            password = keys.new_secret()
            hashed = keys.secret_hash(keys.TAKEOVER, password)
            await connection.execute(_FEED["mint_one_time_password"], hashed, client_id)
        login = dataclasses.replace(
            self._login,
            client_id=client_id,
            username=names.TAKEOVER,
            password=password,
            clean=True,
            session_expiry=0,
        )
        session = await Connection.open(login, timeout=4.0)
        await session.close()
        _log.info("session_ended", client_id=client_id)
