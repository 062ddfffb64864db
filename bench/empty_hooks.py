"""
`python -m bench.empty_hooks PORT`: the hooks' peer, an aiohttp handler that reads a question and lets everybody in.

What our plugin needs to be content is there too: nobody is a superuser, and the feed tells every second that nothing
changed. So the plugin under the peer does the same as under the hooks.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

WAIT = 1.0


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


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
