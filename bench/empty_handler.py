"""`python -m bench.empty_handler PORT LOOP`: the peer of the hooks, an aiohttp handler that reads and answers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

ANSWER = b'{"ok":true}'


async def answer(request: web.Request) -> web.Response:
    """The same to everybody."""
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


async def serve(port: int) -> None:
    """Until it is killed."""
    app = web.Application()
    app.add_routes([web.post("/hooks/user", answer), web.post("/hooks/acl", answer)])
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=3600)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """On asyncio's own event loop, or on uvloop."""
    if loop == "uvloop":
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)


if __name__ == "__main__":
    run(serve(int(sys.argv[1])), sys.argv[2])
