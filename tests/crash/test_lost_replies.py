"""Hooks that are in trouble just as a reply is delivered: the broker drops it, and the device asks again (G3)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from embedded import brokers
from embedded.processes import free_port
from service.operations.administration import Administration
from tests.support.database import Database, make_request
from tests.support.devices import run_device
from tests.support.world import World, is_own_plugin


@dataclass
class Filter:
    """Hooks that are in trouble (503) whenever a reply is to be read, the first `left` times."""

    hooks: str
    left: int
    failed: int = 0

    async def pass_on(self, request: web.Request) -> web.Response:
        """To the hooks, and their answer back."""
        body = await request.read()
        question = json.loads(body) if request.path == "/hooks/acl" else {}
        if self.left and question.get("acc") == 1 and question["topic"].endswith("/reply"):
            self.left -= 1
            self.failed += 1
            return web.Response(status=503)
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with (
            ClientSession() as session,
            session.request(request.method, self.hooks + str(request.rel_url), data=body, headers=headers) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


@asynccontextmanager
async def troubled(database: Database, admin: Administration, times: int) -> AsyncIterator[tuple[World, Filter]]:
    """A world whose brokers ask for every topic, through the filter."""
    port = free_port()
    world = World(database=database, admin=admin, settings={"PROVISION_HOOKS_PORT": str(port)})
    filtering = Filter(hooks=f"http://127.0.0.1:{port}", left=times)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", filtering.pass_on)
    runner = web.AppRunner(app, access_log=None)
    try:
        await world.prepare()
        if is_own_plugin():
            config = world.folder / "provision.conf"
            text = config.read_text().replace("plugin_opt_broker", "plugin_opt_grants off\nplugin_opt_broker")
            brokers.write_private(config, text)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", world.hooks_port).start()
        # In order: a broker asks at once, and this process must be free to answer.
        await asyncio.to_thread(world.start)
        yield world, filtering
    finally:
        await asyncio.to_thread(world.close)
        await runner.cleanup()


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)])
async def test_hooks_fail_as_the_reply_is_read(
    database: Database, admin: Administration, tmp_path: Path, times: int
) -> None:
    """One credential, one answer, however often it is lost."""
    async with troubled(database, admin, times) as (world, filtering):
        created = await make_request(admin, "gw-1", generate_activation_key=True)
        run = await run_device(
            world, "gw-1", tmp_path, activation_key=created.activation_key, seal=True, first_wait=0.5
        )
        assert filtering.failed == times
        rows = await database.fetch("SELECT DISTINCT detail ->> 'digest' AS digest FROM events WHERE detail ? 'digest'")
        assert [row["digest"] for row in rows] == [run.answer()["digest"]]
        assert await database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 1
