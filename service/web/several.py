"""
Several hooks processes behind one port (decision 0010).

The parent takes connections and hands each to the process that its broker's questions go to, so that what a process
remembers, and the slow-hash budget, are a broker's as they are with one process. Health and metrics are the parent's,
and speak for all. Processes are forked before there is an event loop.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import math
import os
import re
import signal
import socket
import time
import zlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import prometheus_client
from aiohttp import web

from service import log
from service.db.pool import open_pool, wait_for_schema
from service.settings import HooksSettings
from service.web.hooks_process import HooksProcess
from service.web.metrics import merge
from service.web.process import CannotRun, build_observability, port_busy, running, serve

# A connection whose first request's head is not there by then (seconds) is closed.
HEAD_PATIENCE = 5.0
HEAD_BYTES = 16 * 1024
# How often a process tells how it is, and from when on its silence counts as trouble (seconds).
TELL_EVERY, TELL_PATIENCE = 0.5, 5.0
# Processes have this long (seconds) to write what they counted, and end.
END_PATIENCE = 8.0
# Names that have a place of their own; strangers may send any.
MOST_NAMES = 1000

_BASIC = re.compile(rb"\r\nauthorization:[ \t]*basic[ \t]+([a-z0-9+/=]+)[ \t]*\r\n", re.IGNORECASE)

_log = log.get("hooks")


class ProcessEnded(CannotRun):
    """One of the processes ended by itself."""


def broker_name(head: bytes) -> str | None:
    """Whose request begins like this, by its Basic; empty: nobody's; None: there must come more."""
    whole, separator, _ = head.partition(b"\r\n\r\n")
    found = _BASIC.search(whole + b"\r\n" if separator else whole)
    if found is None:
        return "" if separator or len(head) >= HEAD_BYTES else None
    try:
        return base64.b64decode(found[1], validate=True).decode("utf-8").partition(":")[0]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


@dataclass
class Places:
    """Which process a broker's connections go to: always the same one, new names to the one with the fewest."""

    processes: int
    _known: dict[str, int] = field(default_factory=dict)

    def of(self, name: str) -> int:
        """Counted from 0."""
        place = self._known.get(name)
        if place is None:
            if len(self._known) >= MOST_NAMES:
                return zlib.crc32(name.encode("utf-8", "surrogatepass")) % self.processes
            taken = list(self._known.values())
            place = self._known[name] = min(range(self.processes), key=taken.count)
        return place


@dataclass(frozen=True, kw_only=True)
class ParentLink:
    """A process's end: connections come through one socket, how it is goes through the other."""

    connections: socket.socket
    told: socket.socket

    async def follow(self, server: web.Server, is_ready: Callable[[], str | None]) -> None:
        """Serve what is handed over, and tell how it is, until the parent is gone."""
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[Any]] = set()

        async def adopt(connection: socket.socket) -> None:
            with contextlib.suppress(OSError):  # it is closed already
                await loop.connect_accepted_socket(server, connection)

        def take() -> None:
            _, found, _, _ = socket.recv_fds(self.connections, 1, 1)
            if not found:
                loop.remove_reader(self.connections.fileno())
            for number in found:
                connection = socket.socket(fileno=number)
                connection.setblocking(False)
                task = loop.create_task(adopt(connection))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        self.connections.setblocking(False)
        loop.add_reader(self.connections.fileno(), take)
        reader, writer = await asyncio.open_unix_connection(sock=self.told)
        ended = asyncio.ensure_future(reader.read())
        try:
            while not ended.done():
                state = {"missing": is_ready(), "metrics": prometheus_client.generate_latest().decode()}
                writer.write(json.dumps(state).encode() + b"\n")
                await writer.drain()
                await asyncio.wait([ended], timeout=TELL_EVERY)
        finally:
            ended.cancel()
            loop.remove_reader(self.connections.fileno())
            writer.close()


@dataclass(kw_only=True)
class Child:
    """A process as the parent sees it."""

    pid: int
    connections: socket.socket
    told: socket.socket
    missing: str | None = "a sign of life"
    metrics: str = ""
    told_at: float = -math.inf

    async def follow(self) -> None:
        """Hear how it is. Raises ProcessEnded."""
        reader, writer = await asyncio.open_unix_connection(sock=self.told, limit=2**24)
        try:
            while line := await reader.readline():
                state = json.loads(line)
                self.missing, self.metrics, self.told_at = state["missing"], state["metrics"], time.monotonic()
        except OSError:
            pass
        finally:
            writer.close()
        raise ProcessEnded("one of the hooks' processes ended: the others end as well")

    def is_silent(self) -> bool:
        """Whether it does not tell how it is."""
        return time.monotonic() - self.told_at > TELL_PATIENCE

    def hand(self, connection: socket.socket) -> None:
        """This connection is its own now."""
        with contextlib.suppress(OSError):  # it is ending, or does nothing: the broker asks again
            socket.send_fds(self.connections, [b"\0"], [connection.fileno()])
        connection.close()

    async def end(self) -> None:
        """Let it write what it counted, and end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        ends = time.monotonic() + END_PATIENCE
        while not self._has_ended():
            if time.monotonic() > ends:
                os.kill(self.pid, signal.SIGKILL)
            await asyncio.sleep(0.02)

    def _has_ended(self) -> bool:
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0


class Parent:
    """Takes connections, hands them on, speaks for all."""

    def __init__(self, settings: HooksSettings, children: Sequence[Child], listeners: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._children = children
        self._listeners = listeners
        self._places = Places(len(children))
        self._placing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until SIGTERM. Raises PortBusy and ProcessEnded."""
        settings = self._settings
        try:
            site = build_observability(self._what_is_missing, metrics=self._metrics, is_live=self._is_live)
            runner = await serve(
                site, settings.hooks_metrics_host, settings.hooks_metrics_port, "PROVISION_HOOKS_METRICS_PORT"
            )
            try:
                accepting = (self._accept(listener) for listener in self._listeners)
                async with running(*accepting, *(child.follow() for child in self._children)) as stop:
                    _log.info("hooks_processes", processes=len(self._children))
                    await stop.wait()
            finally:
                await runner.cleanup()
        finally:
            for listener in self._listeners:
                listener.close()
            await asyncio.gather(*(child.end() for child in self._children))

    def _what_is_missing(self) -> str | None:
        if not self._is_live():
            return "a sign of life of every process"
        return next((child.missing for child in self._children if child.missing), None)

    def _is_live(self) -> bool:
        return not any(child.is_silent() for child in self._children)

    def _metrics(self) -> bytes:
        return merge([prometheus_client.generate_latest().decode(), *(child.metrics for child in self._children)])

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # too many open files: those that wait are served once there are fewer
                _log.warning("connection_not_taken", error=type(error).__name__)
                await asyncio.sleep(0.1)
                continue
            task = loop.create_task(self._place(connection))
            self._placing.add(task)
            task.add_done_callback(self._placing.discard)

    async def _place(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(HEAD_PATIENCE):
                name = await self._read_name(connection)
        except (OSError, TimeoutError):
            connection.close()
            return
        self._children[self._places.of(name)].hand(connection)

    async def _read_name(self, connection: socket.socket) -> str:
        """Without taking anything from what the process will read. Raises OSError where the connection ends."""
        connection.setblocking(False)
        while True:
            with contextlib.suppress(BlockingIOError):
                head = connection.recv(HEAD_BYTES, socket.MSG_PEEK)
                if not head:
                    raise ConnectionResetError
                name = broker_name(head)
                if name is not None:
                    return name
            await asyncio.sleep(0.005)


def run(settings: HooksSettings) -> Coroutine[Any, Any, None]:
    """
    Fork, and return what this process (the parent, or one of the others) runs. Raises PortBusy and WrongSchema.

    There must be no event loop and no thread yet.
    """
    asyncio.run(_wait_for_schema(settings))
    listeners = listen(settings.hooks_host, settings.hooks_port, "PROVISION_HOOKS_PORT")
    children: list[Child] = []
    for _ in range(settings.hooks_processes):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM), socket.socketpair()
        pid = os.fork()
        if not pid:
            of_others = (end for child in children for end in (child.connections, child.told))
            for other in (*listeners, *of_others, ours[0], theirs[0]):
                other.close()
            return HooksProcess(settings).run(ParentLink(connections=ours[1], told=theirs[1]))
        ours[1].close()
        theirs[1].close()
        ours[0].setblocking(False)
        children.append(Child(pid=pid, connections=ours[0], told=theirs[0]))
    return Parent(settings, children, listeners).run()


def listen(host: str, port: int, setting: str) -> list[socket.socket]:
    """Sockets that listen there, one for each address of the host. Raises PortBusy, which names the setting."""
    listeners: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)):
            listeners.append(socket.create_server(address[:2], family=family, backlog=128))
            listeners[-1].setblocking(False)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise port_busy(error, host, port, setting) from error
    return listeners


async def _wait_for_schema(settings: HooksSettings) -> None:
    pool = await open_pool(settings.hooks_database_url, name="provisioning-hooks", size=1, timeout=1.0)
    try:
        await wait_for_schema(pool)
    finally:
        pool.terminate()
