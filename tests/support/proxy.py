"""
TCP proxies that break what passes by, between a device and its broker, or between any two of our parts: packets that
are lost or come twice, peers that are gone, silent, slow or talk nonsense, connections that end at a chosen byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PUBLISH = 3
GARBAGE = bytes(range(256)) * 4

# What `Link.break_` takes.
FAULTS = ("down", "half_open", "slow", "garbage")


@dataclass
class _Proxy:
    """Accepts on `port`, connects to `target`."""

    target: int
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def _open(self, writer: asyncio.StreamWriter) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The other side; None: it is not there."""
        self._writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return None
        self._writers.add(up_writer)
        return up_reader, up_writer

    def _start(self, *pumps: asyncio.Task[None]) -> None:
        for task in pumps:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def cut(self) -> None:
        """Every connection ends, with a reset."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@dataclass
class Packets(_Proxy):
    """`copies(up, kind, packet)`: how often a packet arrives; `delay()`: seconds that each is held up."""

    copies: Callable[[bool, int, bytes], int] = lambda *_: 1
    delay: Callable[[], float] = lambda: 0.0
    dropped: int = 0
    doubled: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        other = await self._open(writer)
        if other is not None:
            self._start(
                asyncio.create_task(self._pump(True, reader, other[1])),
                asyncio.create_task(self._pump(False, other[0], writer)),
            )

    async def _pump(self, up: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                packet = await _packet(reader)
                if pause := self.delay():
                    await asyncio.sleep(pause)
                copies = self.copies(up, packet[0] >> 4, packet)
                self.dropped += copies == 0
                self.doubled += copies > 1
                writer.write(packet * copies)
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


@dataclass
class Link(_Proxy):
    """
    A path that breaks and heals while what is at its ends runs on. `fault` None: all is well.

    `tamper(up, data)`: what arrives of a part, and whether the connection ends after it. `answers(data)`: what is
    answered to a part on its way up, in the other side's place; None: it goes on.
    """

    fault: str | None = None
    tamper: Callable[[bool, bytes], tuple[bytes, bool]] | None = None
    answers: Callable[[bytes], bytes | None] | None = None

    def break_(self, fault: str) -> None:
        """
        down: connections are reset, new ones as well. half_open: accepted, and nothing is ever answered. slow: a few
        bytes a second. garbage: bytes that are no answer at all.
        """
        assert fault in FAULTS
        self.fault = fault
        if fault == "down":
            self.cut()

    def heal(self) -> None:
        """All is well again; connections that were half open end, as they would by keep-alive."""
        was, self.fault = self.fault, None
        if was in ("half_open", "slow"):
            self.cut()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.fault == "down":
            writer.transport.abort()
            return
        if self.fault == "garbage":
            self._start(asyncio.create_task(_talk_nonsense(reader, writer)))
            return
        other = await self._open(writer)
        if other is not None:
            self._start(
                asyncio.create_task(self._pump(True, reader, other[1], writer)),
                asyncio.create_task(self._pump(False, other[0], writer, other[1])),
            )

    async def _pump(
        self, up: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while (data := await reader.read(65536)) and not writer.is_closing():
                if up and self.answers is not None and (answer := self.answers(data)) is not None:
                    back.write(answer)
                    continue
                await self._pass(up, data, writer, back)
        writer.close()

    async def _pass(self, up: bool, data: bytes, writer: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:
        ends = False
        if self.tamper is not None:
            data, ends = self.tamper(up, data)
        if self.fault == "half_open":
            return
        if self.fault == "garbage" and not up:
            data = GARBAGE
        if self.fault == "slow":
            for start in range(0, len(data), 2):
                if writer.is_closing():
                    return
                writer.write(data[start : start + 2])
                await asyncio.sleep(0.25)
        else:
            writer.write(data)
            await writer.drain()
        if ends:
            # What was written so far arrives, and nothing after it.
            writer.close()
            back.transport.abort()


async def _talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        await reader.read(65536)
        writer.write(GARBAGE)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def _running(proxy: Packets | Link) -> AsyncIterator[None]:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
        proxy.cut()
        for task in list(proxy._tasks):
            task.cancel()
        await asyncio.gather(*proxy._tasks, return_exceptions=True)


@asynccontextmanager
async def dropping(target: int, drops: Callable[[int, bytes], bool]) -> AsyncIterator[Packets]:
    """`drops(kind, packet)` says which MQTT packets from the broker never arrive; `dropped` counts them."""
    async with packets(target, lambda up, kind, packet: 0 if not up and drops(kind, packet) else 1) as proxy:
        yield proxy


@asynccontextmanager
async def packets(
    target: int, copies: Callable[[bool, int, bytes], int], delay: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[Packets]:
    """MQTT packets that are lost, doubled or late."""
    proxy = Packets(target, copies=copies, delay=delay)
    async with _running(proxy):
        yield proxy


@asynccontextmanager
async def linked(target: int) -> AsyncIterator[Link]:
    """A path of any protocol, on a port of its own."""
    link = Link(target)
    async with _running(link):
        yield link


@dataclass
class CutAt:
    """
    For `Link.tamper`: ends a connection once, after `after` bytes of a question (`up`) or of what it is answered.

    It counts from `begins` on, bytes of the question, or from `arm()`. `passed` counts both sides meanwhile.
    """

    up: bool
    after: int
    begins: bytes | None = None
    done: bool = False
    passed: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    _armed: bool = False

    def arm(self) -> None:
        """From here on."""
        self._armed = True

    def __call__(self, up: bool, data: bytes) -> tuple[bytes, bool]:
        """What arrives, and whether that was the end."""
        start = 0
        if not self._armed and up and self.begins is not None and self.begins in data:
            self._armed, start = True, data.index(self.begins)
        if not self._armed or self.done:
            return data, False
        room = self.after - self.passed[up]
        self.passed[up] += len(data) - start
        if up is not self.up or len(data) - start < room or room < 0:
            return data, False
        self.done = True
        return data[: start + room], True


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
