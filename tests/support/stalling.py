"""A TCP proxy that stalls some of its connections: nothing is closed, and nothing comes through any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(eq=False)
class Stalling:
    """Connections in whose first packet `needle` is are cut while `cut`; the others never are."""

    host: str
    target: int
    needle: bytes
    port: int = 0
    seen: int = 0
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """From now on."""
        self._flows.clear()

    def mend(self) -> None:
        """All that was held back goes on."""
        self._flows.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with suppress(OSError):
                first = await reader.read(65536)
                marked = self.needle in first
                self.seen += marked
                up_reader, up_writer = await asyncio.open_connection(self.host, self.target)
                try:
                    await asyncio.gather(
                        self._pump(reader, up_writer, marked, first), self._pump(up_reader, writer, marked)
                    )
                finally:
                    up_writer.close()
        finally:
            writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: bool, first: bytes = b""
    ) -> None:
        with suppress(OSError):
            data = first or await reader.read(65536)
            while data:
                if marked:
                    await self._flows.wait()
                writer.write(data)
                await writer.drain()
                data = await reader.read(65536)
        writer.close()

    async def close(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def stalling(target: int, needle: bytes, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Stalling]:
    """Run the proxy; `port` 0: one of its own choice."""
    proxy = Stalling(host, target, needle)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
