"""
Ending a device's session: log in under its client id as `~takeover` and leave again.

Whoever loses the right to be at a broker loses every right there at once, as every topic check is refused (and our
plugin cuts the connection); the takeover ends the session as well, with its will refused, and wipes what was stored of
it (plugin.md).
"""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec

from service import keys, log
from service.core import names
from service.core.connect import Facts, decide_presence
from service.core.verdicts import Denied
from service.db import queries
from service.db.pool import TRANSIENT, Connection, Pool
from service.mqtt.client import Connection as Session
from service.mqtt.client import Login, Refused, Unreachable

_FEED = queries.load("feed")
_HOOKS = queries.load("hooks")
_REQUESTS = queries.load("provision_requests")
_log = log.get("takeover")

MOST_WAITING = 10_000
# So many clients of one change; those of a whole account lose their rights all the same.
MOST_CLIENTS = 10_000
# A broker that is away for longer has lost its sessions' connections anyway.
TRIES = 10
AGAIN_AFTER = 1.0

Change = tuple[str, str]


class Takeovers:
    """What changed, and the end of those sessions of one broker that have lost their right to be there."""

    def __init__(self, pool: Pool, login: Login, *, broker: str, provision: bool, provision_account: str) -> None:
        self._pool = pool
        self._login = login
        self._broker = broker
        self._provision = provision
        self._provision_account = provision_account
        self._waiting: dict[Change, int] = {}
        self._wake = asyncio.Event()
        self._followed = False

    def note_changes(self, changes: list[Change], lost: bool) -> None:
        """From the feed. What changed before this process began was somebody else's to end."""
        if not self._followed:
            self._followed = True
            return
        if lost:
            _log.warning("changes_lost", broker=self._broker)
        for kind, key in changes:
            if kind in ("client", "user", "account") and len(self._waiting) < MOST_WAITING:
                self._waiting[kind, key] = 0
                self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                change = next(iter(self._waiting))
                tries = self._waiting.pop(change)
                try:
                    await self._end_refused(change)
                except (Unreachable, Refused, *TRANSIENT) as error:
                    why = str(error) or type(error).__name__
                    _log.warning("takeover_failed", broker=self._broker, change=change, error=why)
                    await self._try_again(change, tries + 1)

    async def _try_again(self, change: Change, tries: int) -> None:
        if tries < TRIES:
            self._waiting.setdefault(change, tries)
            await asyncio.sleep(AGAIN_AFTER)

    async def _end_refused(self, change: Change) -> None:
        async with self._pool.acquire(timeout=5) as connection:
            refused = await self._find_refused(connection, change)
        for client_id in refused:
            await self._end(client_id)

    async def _find_refused(self, connection: Connection, change: Change) -> list[str]:
        """Client ids that the change is about and whose last login at this broker would be refused now."""
        kind, key = change
        logins = await connection.fetch(_FEED["last_logins"], self._broker, kind, key, MOST_CLIENTS)
        refused = []
        for username, client_id in logins:
            found = await connection.fetchval(_HOOKS["facts"], self._broker, username, client_id)
            facts = Facts.from_document(msgspec.json.decode(found))
            decision = decide_presence(facts, username, client_id, self._provision_account)
            if isinstance(decision, Denied):
                refused.append(client_id)
        # A login of just now may not be written yet; but without a request nobody has the client id on this broker.
        if self._provision and kind == "client" and not logins:
            return [] if await connection.fetchval(_REQUESTS["may_connect"], key) else [key]
        return refused

    async def _end(self, client_id: str) -> None:
        """One-time password, login, leave."""
        if client_id.startswith("~"):
            return
        password = keys.new_secret()
        hashed = keys.secret_hash(keys.TAKEOVER, password)
        async with self._pool.acquire(timeout=5) as connection:
            await connection.execute(_FEED["mint_one_time_password"], hashed, client_id)
        login = dataclasses.replace(
            self._login,
            client_id=client_id,
            username=names.TAKEOVER,
            password=password,
            clean=True,
            session_expiry=0,
        )
        session = await Session.open(login, timeout=4.0)
        await session.close()
        _log.info("session_ended", broker=self._broker, client_id=client_id)
