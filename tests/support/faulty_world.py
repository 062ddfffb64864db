"""The whole product with a breakable path between every pair of its parts that speak over TCP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from embedded.processes import free_port
from service.operations.administration import Administration
from tests.support.database import Database
from tests.support.proxy import Link, linked
from tests.support.world import World


@dataclass(frozen=True, kw_only=True)
class Links:
    """By who asks and who is asked. Devices reach the provision broker at `device_to_broker.port`, or directly."""

    plugin_to_hooks: Link
    hooks_to_postgres: Link
    responder_to_postgres: Link
    responder_to_broker: Link
    device_to_broker: Link


def _through(database: Database, role: str, link: Link) -> str:
    return re.sub(r":\d+/", f":{link.port}/", database.url(role).reveal())


@asynccontextmanager
async def faulty_world(
    database: Database, admin: Administration, **settings: str
) -> AsyncIterator[tuple[World, Links]]:
    """Everything runs, and nothing is broken yet."""
    world = World(database=database, admin=admin)
    postgres = re.search(r":(\d+)/", database.url().reveal())
    assert postgres is not None
    hooks_port = free_port()
    async with AsyncExitStack() as stack:

        async def link(target: int) -> Link:
            return await stack.enter_async_context(linked(target))

        links = Links(
            plugin_to_hooks=await link(hooks_port),
            hooks_to_postgres=await link(int(postgres[1])),
            responder_to_postgres=await link(int(postgres[1])),
            responder_to_broker=await link(world.provision_port),
            device_to_broker=await link(world.provision_port),
        )
        # Brokers ask where the link is, the hooks listen behind it.
        world.hooks_port = links.plugin_to_hooks.port
        world.settings = {
            "PROVISION_HOOKS_PORT": str(hooks_port),
            "PROVISION_HOOKS_DATABASE_URL": _through(database, "hooks", links.hooks_to_postgres),
            "PROVISION_RESPONDER_DATABASE_URL": _through(database, "responder", links.responder_to_postgres),
            "PROVISION_PROVISION_BROKER": f"mqtt://127.0.0.1:{links.responder_to_broker.port}",
            "PROVISION_SLOW_HASH_RATE": "1000",
            "PROVISION_SLOW_HASH_BURST": "1000",
            "PROVISION_MESSAGE_TIMEOUT": "3",
            **settings,
        }
        try:
            await world.prepare()
            # In a thread: the links pass on what it waits for.
            await asyncio.to_thread(world.start)
            yield world, links
        finally:
            world.close()
