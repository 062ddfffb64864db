"""
Everything of a broker's way to the hooks but the feed: a relay that, once cut, keeps each answer to
`GET /hooks/changes` to itself and passes all other questions on; and the hooks' own feed, cut off whenever it comes
again. So nothing but questions tells what changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import asyncpg

from embedded.processes import free_port
from tests.support.database import Database

_FEED = b"GET /hooks/changes"
_END_FEEDS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'provisioning-hooks-feed'"
AGAIN = 0.02


@dataclass
class Relay:
    """Between plugin and hooks. `cut` while it is set; feeds that were cut off stay so until their end."""

    target: int
    port: int = field(default_factory=free_port)
    cut: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. The plugin has one for its feed alone."""
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        is_feed = asyncio.Event()
        pumps = (self._pump(reader, up_writer, is_feed, up=True), self._pump(up_reader, writer, is_feed, up=False))
        for pump in pumps:
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_feed: asyncio.Event, *, up: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if up and data.startswith(_FEED):
                    is_feed.set()
                if self.cut and is_feed.is_set():
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()

    def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def relaying(target: int) -> AsyncIterator[Relay]:
    """On a port of its own."""
    relay = Relay(target)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", relay.port)
    try:
        yield relay
    finally:
        server.close()
        relay.close()


@asynccontextmanager
async def without_feed(database: Database, relay: Relay) -> AsyncIterator[None]:
    """Neither the hooks nor the plugin hear of changes; whatever they ask is answered."""
    connection = await asyncpg.connect(database.url().reveal())

    async def cut_again() -> None:
        while True:
            await connection.execute(_END_FEEDS)
            await asyncio.sleep(AGAIN)

    relay.cut = True
    cutting = asyncio.create_task(cut_again())
    try:
        yield
    finally:
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
        await connection.close()
        relay.cut = False
