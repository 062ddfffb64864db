"""A server that talks nonsense where Postgres should be: whoever follows or waits goes on trying, and nobody leads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.db.feed import Feed
from service.keys import Secret
from service.mqtt.leadership import Leadership
from tests.support.proxy import GARBAGE
from tests.support.scene import until

# Shorter than its kind of message is: the driver trips over it.
SHORT = b"Z\x00\x00\x00\x04"


@asynccontextmanager
async def nonsense(words: bytes) -> AsyncIterator[tuple[Secret, list[int]]]:
    """Its URL, and an entry for each connection that it was asked on."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        asked.append(len(asked))
        writer.write(words)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET)
    try:
        yield Secret(f"postgresql://u:p@127.0.0.1:{server.sockets[0].getsockname()[1]}/x?sslmode=disable"), asked
    finally:
        server.close()


@pytest.mark.parametrize("words", [SHORT, GARBAGE, b"HTTP/1.1 200 OK\r\n\r\n"], ids=["short", "garbage", "http"])
async def test_nobody_gives_up(words: bytes) -> None:
    async with nonsense(words) as (url, asked):
        leadership = Leadership(url, "a-broker")
        for waiting in (Feed(url, lambda *_: None, name="test").run(), leadership.acquire()):
            task = asyncio.ensure_future(waiting)

            async def asked_again(task: asyncio.Future[None] = task) -> bool:
                return len(asked) >= 3 or task.done()

            await until(asked_again)
            assert not task.done(), task
            task.cancel()
            asked.clear()
        assert not leadership.held
