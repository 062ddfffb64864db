"""
Which responder is the active one: whoever holds a session advisory lock, which goes with its connection.
"""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg

from service import log
from service.db.pool import TRANSIENT
from service.keys import Secret

_log = log.get("leadership")

TRY_EVERY = 0.5
CHECK_EVERY = 1.0
TIMEOUT = 2.0


class Leadership:
    """The lock of one provision broker. `lost` is set while it is not held."""

    def __init__(self, url: Secret, broker: str) -> None:
        self._url = url
        self._broker = broker
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()
        self.lost = asyncio.Event()
        self.lost.set()
        # Whether Postgres answered the last time it was asked.
        self.reached = False

    @property
    def held(self) -> bool:
        """Whether this process leads, as far as it knows."""
        return not self.lost.is_set()

    async def acquire(self) -> None:
        """Wait until this process leads."""
        await self.release()
        while True:
            if await self._try():
                break
            await asyncio.sleep(TRY_EVERY)
        self.lost.clear()
        self._watch = asyncio.create_task(self._keep())

    async def _try(self) -> bool:
        try:
            if self._connection is None:
                self._connection = await asyncpg.connect(
                    self._url.reveal(),
                    timeout=TIMEOUT,
                    command_timeout=TIMEOUT,
                    # Should this machine vanish, the server notices within these seconds, and frees the lock.
                    server_settings={
                        "application_name": "provisioning-responder-lock",
                        "tcp_keepalives_idle": "5",
                        "tcp_keepalives_interval": "2",
                        "tcp_keepalives_count": "3",
                    },
                )
            held: bool = await self._connection.fetchval(
                "SELECT pg_try_advisory_lock(hashtextextended('responder ' || $1, 0))", self._broker
            )
        except Exception as error:
            self._drop()
            _note(error)
            return False
        self.reached = True
        return held

    async def confirm(self) -> None:
        """Ask Postgres whether the lock's connection lives; where it does not, the lead is lost."""
        async with self._asking:  # a connection answers one question at a time
            try:
                if self._connection is None:
                    raise ConnectionError
                await self._connection.fetchval("SELECT 1")
            except Exception as error:  # whatever it is: who cannot be sure of the lock does not lead
                self._drop()
                _note(error)

    async def _keep(self) -> None:
        while self.held:
            await self.confirm()
            await asyncio.sleep(CHECK_EVERY)

    def _drop(self) -> None:
        if self.held:
            _log.warning("lead_lost", broker=self._broker)
        self.lost.set()
        self.reached = False
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def release(self) -> None:
        """Let another one lead."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        self.lost.set()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _note(error: Exception) -> None:
    """Trouble that passes is no news; the driver has no error of its own for a server that talks nonsense."""
    if not isinstance(error, TRANSIENT):
        _log.error("lead_not_asked", error=type(error).__name__)
