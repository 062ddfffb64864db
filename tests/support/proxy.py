"""TCP proxies: one that swallows chosen MQTT packets on their way to the device, one that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PUBLISH = 3


@dataclass
class Dropping:
    """`drops(kind, packet)` says which packets from the broker never arrive; `dropped` counts them."""

    target: int
    drops: Callable[[int, bytes], bool]
    dropped: int = 0
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        for task in (
            asyncio.create_task(self._upwards(reader, up_writer)),
            asyncio.create_task(self._downwards(up_reader, writer)),
        ):
            self._tasks.add(task)

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _downwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                packet = await _packet(reader)
                if self.drops(packet[0] >> 4, packet):
                    self.dropped += 1
                else:
                    writer.write(packet)
                    await writer.drain()
        writer.close()


async def _packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        digit = await reader.readexactly(1)
        head += digit
        length |= (digit[0] & 0x7F) << shift
        shift += 7
        if not digit[0] & 0x80:
            return head + await reader.readexactly(length)


@asynccontextmanager
async def dropping(target: int, drops: Callable[[int, bytes], bool]) -> AsyncIterator[Dropping]:
    """Run the proxy on a port of its own."""
    proxy = Dropping(target, drops)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in proxy._tasks:
            task.cancel()
        await asyncio.gather(*proxy._tasks, return_exceptions=True)


@dataclass
class Cable:
    """
    Passes everything on, but for while it is `cut`: then what there is ends, and what comes is closed at once.

    `times` counts a word that is `watched` for.
    """

    target: int
    watched: bytes = b"\0"
    cut: bool = False
    times: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def pull(self) -> None:
        """Cut it."""
        self.cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            if self.cut:
                raise ConnectionError
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                self.times += data.count(self.watched)
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        sink.close()


@asynccontextmanager
async def cable(target: int, port: int, watched: bytes) -> AsyncIterator[Cable]:
    """From a port to another one."""
    made = Cable(target, watched)
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    try:
        yield made
    finally:
        server.close()
        made.pull()
