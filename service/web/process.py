"""What every long-running process does alike: serve sites, tell its health and metrics, keep its tasks alive, stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import prometheus_client
from aiohttp import web

from service import log

_log = log.get("process")

TASKS = prometheus_client.Gauge("asyncio_tasks", "Tasks of the process that gives these metrics")


class CannotRun(Exception):
    """A process ends with status 1; the text says why."""


class PortBusy(CannotRun):
    """A port that a setting names is in use."""


def run(main: Coroutine[Any, Any, None], event_loop: str) -> None:
    """Run a process on `asyncio`, `uvloop`, or `auto`: uvloop where it is installed. Raises CannotRun."""
    if event_loop == "asyncio":
        return asyncio.run(main)
    try:
        import uvloop
    except ImportError:
        if event_loop == "auto":
            return asyncio.run(main)
        main.close()
        raise CannotRun("PROVISION_EVENT_LOOP: uvloop is not installed") from None
    return uvloop.run(main)


async def serve(app: web.Application | web.Server, host: str, port: int, setting: str) -> web.BaseRunner:
    """Serve an application, or a server, on one address. Raises PortBusy, which names the setting."""
    runner: web.BaseRunner
    if isinstance(app, web.Server):
        runner = web.ServerRunner(app, handle_signals=False, shutdown_timeout=2.0)
    else:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise port_busy(error, host, port, setting) from error
    return runner


async def serve_handed(server: web.Server) -> web.BaseRunner:
    """A server whose connections are handed to it: nothing is listened on."""
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    return runner


def port_busy(error: OSError, host: str, port: int, setting: str) -> Exception:
    """What to raise where listening failed: PortBusy, which names the setting, unless it is something else."""
    if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
        return error
    return PortBusy(f"{setting}: {host}:{port} cannot be used: {error.strerror or 'in use'}")


def build_observability(
    is_ready: Callable[[], str | None],
    *,
    metrics: Callable[[], bytes] = prometheus_client.generate_latest,
    is_live: Callable[[], bool] = lambda: True,
) -> web.Application:
    """`/livez`, `/readyz` and `/metrics`; `is_ready` returns what is missing, or None."""

    async def livez(_request: web.Request) -> web.Response:
        live = is_live()
        return web.json_response({"ok": live}, status=200 if live else 503)

    async def readyz(_request: web.Request) -> web.Response:
        missing = is_ready()
        return web.json_response({"ok": missing is None, "missing": missing}, status=503 if missing else 200)

    async def give_metrics(_request: web.Request) -> web.Response:
        TASKS.set(len(asyncio.all_tasks()))
        return web.Response(body=metrics(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", give_metrics)])
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
