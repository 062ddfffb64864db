"""
`python -m bench.empty_hooks PORT asyncio|uvloop`: the hooks' peer, an aiohttp handler that reads a question and lets
everybody in.

What our plugin needs to be content is there too: nobody is a superuser, and the feed tells every second that nothing
changed. So the plugin under the peer does the same as under the hooks.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

WAIT = 1.0
# Our services take the last of them.
LOOPS = ("asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else []))


async def let_in(request: web.Request) -> web.Response:
    """The same to everybody."""
    await request.read()
    return web.Response(body=b'{"ok":true}', content_type="application/json")


async def refuse(request: web.Request) -> web.Response:
    """For superusers."""
    await request.read()
    return web.Response(status=403, body=b'{"ok":false}', content_type="application/json")


async def no_changes(_request: web.Request) -> web.Response:
    """As long as the hooks keep this question."""
    await asyncio.sleep(WAIT)
    return web.json_response({"position": "1", "as_of": "1", "lost": False, "changes": []})


async def serve(port: int) -> None:
    """Until it is ended."""
    app = web.Application()
    app.add_routes(
        [
            web.post("/hooks/user", let_in),
            web.post("/hooks/acl", let_in),
            web.post("/hooks/reports", let_in),
            web.post("/hooks/superuser", refuse),
            web.get("/hooks/changes", no_changes),
        ]
    )
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
