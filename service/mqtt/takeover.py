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
# Of so many clients is looked up in one statement.
FACTS_AT_ONCE = 500
# So many changes are looked at, and so many sessions ended, at a time.
CHANGES_AT_ONCE = 4
ENDS_AT_ONCE = 8
# A broker that is away for longer has lost its sessions' connections anyway.
TRIES = 10
AGAIN_AFTER = 1.0
# A broker that refuses knows better who is connected, or has not heard of the change yet.
REFUSALS = 30
REFUSED_AGAIN_AFTER = 0.2

Change = tuple[str, str]


class Takeovers:
    """What changed, and the end of those sessions of one broker that have lost their right to be there."""

    def __init__(self, pool: Pool, login: Login, *, broker: str, provision: bool, provision_account: str) -> None:
        self._pool = pool
        self._login = login
        self._broker = broker
        self._provision = provision
        self._provision_account = provision_account
        # How often each was tried.
        self._waiting: dict[Change, int] = {}
        self._wake = asyncio.Event()
        self._ends = asyncio.Semaphore(ENDS_AT_ONCE)
        self._followed = False

    def note_changes(self, changes: list[Change], lost: bool, _as_of: int) -> None:
        """From the feed, which begins with what is kept of before: who led then may have died before it acted on it."""
        if lost and self._followed:
            _log.warning("changes_lost", broker=self._broker)
        self._followed = True
        for kind, key in changes:
            if kind in ("client", "user", "account"):
                self._put((kind, key), 0)

    def _put(self, change: Change, tries: int) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting[change] = tries
            self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CHANGES_AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            change, tries = self._waiting.popitem()  # the newest first: what is left of before may wait
            try:
                await self._end_refused(change, tries)
            except (Unreachable, *TRANSIENT) as error:
                why = str(error) or type(error).__name__
                _log.warning("takeover_failed", broker=self._broker, change=change, error=why)
                if tries < TRIES:
                    self._put_later(change, tries + 1, AGAIN_AFTER)

    def _put_later(self, change: Change, tries: int, seconds: float) -> None:
        """Unless it changes again before that."""
        asyncio.get_running_loop().call_later(
            seconds, lambda: None if change in self._waiting else self._put(change, tries)
        )

    async def _end_refused(self, change: Change, tries: int) -> None:
        """Of the change's sessions, those that are to end. Raises Unreachable and what passes of a database."""
        async with self._pool.acquire(timeout=5) as connection:
            refused = await self._find_refused(connection, change)
        outcomes = await asyncio.gather(*(self._end(*client, tries) for client in refused), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _find_refused(self, connection: Connection, change: Change) -> list[tuple[str, str | None]]:
        """
        (Client id, username) that the change is about and whose last login at this broker would be refused now; None
        for a username: nobody may be there under that client id.
        """
        kind, key = change
        logins = await connection.fetch(_FEED["last_logins"], self._broker, kind, key, MOST_CLIENTS)
        refused: list[tuple[str, str | None]] = []
        for start in range(0, len(logins), FACTS_AT_ONCE):
            some = logins[start : start + FACTS_AT_ONCE]
            usernames, client_ids = [login["username"] for login in some], [login["client_id"] for login in some]
            documents = await connection.fetch(_HOOKS["facts_of"], self._broker, usernames, client_ids)
            refused += [
                (client_id, username)
                for client_id, username, found in documents
                if self._refuses(found, username, client_id)
            ]
        # A login of just now may not be written yet; but without a request nobody has the client id on this broker.
        if self._provision and kind == "client" and not logins:
            return [] if await connection.fetchval(_REQUESTS["may_connect"], key) else [(key, None)]
        return refused

    def _refuses(self, document: str, username: str, client_id: str) -> bool:
        facts = Facts.from_document(msgspec.json.decode(document))
        return isinstance(decide_presence(facts, username, client_id, self._provision_account), Denied)

    async def _end(self, client_id: str, username: str | None, tries: int) -> None:
        """
        One-time password, login, leave. It is the broker's and the hooks' to refuse where that would end the connection
        of who may be there; then it is decided anew a moment later.
        """
        if client_id.startswith("~"):
            return
        async with self._ends:
            try:
                await self._take_over(client_id, username)
            except Refused as error:
                if tries < REFUSALS:
                    self._put_later(("client", client_id), tries + 1, REFUSED_AGAIN_AFTER)
                else:
                    _log.warning("takeover_refused", broker=self._broker, client_id=client_id, error=str(error))
                return
        _log.info("session_ended", broker=self._broker, client_id=client_id)

    async def _take_over(self, client_id: str, username: str | None) -> None:
        password = keys.new_secret()
        hashed = keys.secret_hash(keys.TAKEOVER, password)
        async with self._pool.acquire(timeout=5) as connection:
            await connection.execute(_FEED["mint_one_time_password"], hashed, client_id, self._broker, username)
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
