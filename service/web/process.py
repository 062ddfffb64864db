"""What every long-running process does alike: serve sites, tell its health and metrics, keep its tasks alive, stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import prometheus_client
from aiohttp import web

from service import log

_log = log.get("process")


class PortBusy(Exception):
    """A port that a setting names is in use."""


async def serve(app: web.Application, host: str, port: int, setting: str, *, keepalive: float = 75.0) -> web.AppRunner:
    """
    Serve an application on one address. Raises PortBusy, which names the setting.

    `keepalive`: seconds that an idle connection stays open.
    """
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=keepalive, handle_signals=False, shutdown_timeout=2.0
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise PortBusy(f"{setting}: {host}:{port} cannot be used: {error.strerror or 'in use'}") from error
    return runner


def build_observability(is_ready: Callable[[], str | None]) -> web.Application:
    """`/livez`, `/readyz` and `/metrics`; `is_ready` returns what is missing, or None."""

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def readyz(_request: web.Request) -> web.Response:
        missing = is_ready()
        return web.json_response({"ok": missing is None, "missing": missing}, status=503 if missing else 200)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=prometheus_client.generate_latest(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


async def every(seconds: float, name: str, action: Callable[[], Awaitable[object]]) -> None:
    """Do something again and again; what goes wrong is logged and tried at the next turn."""
    while True:
        began = time.monotonic()
        try:
            await action()
        except Exception:
            _log.warning("task_failed", task=name, exc_info=True)
        await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))


@asynccontextmanager
async def running(*tasks: Awaitable[None]) -> AsyncIterator[asyncio.Event]:
    """
    Run tasks beside the body until it ends. Yields an event that SIGTERM, SIGINT or the end of a task sets.

    A task that ends, or fails, ends the process: its supervisor starts it anew.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running_tasks = [asyncio.ensure_future(task) for task in tasks]
    for task in running_tasks:
        task.add_done_callback(lambda _: stop.set())
    try:
        yield stop
        for task in running_tasks:
            if task.done():
                task.result()
    finally:
        for task in running_tasks:
            task.cancel()
        await asyncio.gather(*running_tasks, return_exceptions=True)
