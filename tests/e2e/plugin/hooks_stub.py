"""Hooks that say whatever a test wants: also what the real ones never say.

It speaks HTTP by hand, because the tests need answers that no server library would send.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Question:
    """One request of the broker, as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def route(self) -> str:
        """`user`, `acl` or `superuser`."""
        return self.line.split()[1].removeprefix("/hooks/")

    @property
    def json(self) -> dict[str, Any]:
        """The body."""
        content = json.loads(self.body)
        assert isinstance(content, dict)
        return content

    @property
    def credentials(self) -> str:
        """`name:secret` out of HTTP Basic."""
        return base64.b64decode(self.headers["authorization"].removeprefix("Basic ")).decode()


@dataclass(frozen=True)
class Reply:
    """Bytes to send, and what to do then: `keep` the connection, `close` it, `reset` it, or `hang`: keep silent."""

    raw: bytes = b""
    then: str = "keep"
    delay: float = 0.0
    """Seconds of silence before that."""


def answer(status: int = 200, body: bytes = b'{"ok":true}', *headers: str, then: str = "keep") -> Reply:
    """A well-formed HTTP answer."""
    head = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return Reply("\r\n".join(head).encode() + b"\r\n\r\n" + body, then)


ALLOW = answer()
DENY = answer(403, b'{"ok":false,"error":"not authorised"}')
TROUBLE = answer(503, b'{"ok":false}')
HANG = Reply(then="hang")

Judge = Callable[[Question], Reply]


def by_default(question: Question) -> Reply:
    """Everybody may do everything; nobody is a superuser."""
    return DENY if question.route == "superuser" else ALLOW


@dataclass
class Hooks:
    """The stub. `judge` may be replaced at any time; `questions` holds all that was asked, the probe included."""

    judge: Judge = by_default
    questions: list[Question] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        """Listens on a free port, the second time on the same one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses new connections and resets those that there are."""
        if self._server is None:
            return
        self._server.close()
        self.drop_connections()
        await self._server.wait_closed()
        self._server = None

    def drop_connections(self) -> None:
        """Resets every connection, idle or not."""
        for writer in list(self._writers):
            writer.transport.abort()

    def close_connections(self) -> None:
        """Closes every connection in order, as a server does with one that was idle for too long."""
        for writer in list(self._writers):
            writer.close()

    @property
    def url(self) -> str:
        """What `plugin_opt_url` is to be."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def asked(self, route: str) -> list[dict[str, Any]]:
        """The bodies of all questions on a route."""
        return [question.json for question in self.questions if question.route == route]

    def deciding(self, route: str, reply: Reply, **facts: object) -> None:
        """Answers `reply` to the questions on a route whose body has these facts, and the default to all others."""

        def judge(question: Question) -> Reply:
            fits = question.route == route and facts.items() <= question.json.items()
            return reply if fits else by_default(question)

        self.judge = judge

    async def asking(self) -> None:
        """Returns when there has been a question."""
        async with asyncio.timeout(20):
            while not self.questions:  # noqa: ASYNC110  an event would have to be set wherever `questions` is used
                await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        self._writers.add(writer)
        try:
            while await self._serve_one(reader, writer, connection):
                pass
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        question = Question(head[0], headers, body, connection)
        self.questions.append(question)
        reply = self.judge(question)
        await asyncio.sleep(reply.delay)
        writer.write(reply.raw)
        await writer.drain()
        if reply.then == "reset":
            writer.transport.abort()
        elif reply.then == "hang":
            await reader.read()  # until the broker gives up
        return reply.then == "keep"
