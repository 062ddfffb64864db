"""The services' insides on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.db.pool import open_pool
from service.operations.asks import Desk
from service.operations.runs import RunKeys
from tests.support.database import Database


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """The responder's operations."""
    pool = await open_pool(database.url("responder"), name="test", size=8, timeout=20)
    try:
        yield Desk(
            pool=pool,
            run_keys=RunKeys(derivation_key=database.derivation_key, sealing_keys=database.sealing_keys),
            event_key=database.event_key,
        )
    finally:
        pool.terminate()
