"""The whole product for a test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.operations.administration import Administration
from tests.support.database import Database
from tests.support.world import World


@pytest.fixture
async def encrypted_world(database: Database, admin: Administration) -> AsyncIterator[World]:
    """Prepared, nothing started: the account broker's endpoint is mqtts://, with a CA of its own."""
    world = World(database=database, admin=admin, encrypted=True)
    try:
        await world.prepare()
        yield world
    finally:
        world.close()


@pytest.fixture
async def stopped_world(database: Database, admin: Administration) -> AsyncIterator[World]:
    """Prepared, nothing started."""
    world = World(database=database, admin=admin)
    try:
        await world.prepare()
        yield world
    finally:
        world.close()


@pytest.fixture
async def world(stopped_world: World) -> World:
    """Everything runs."""
    stopped_world.start()
    return stopped_world
