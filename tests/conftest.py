"""Fixtures of every level: a real Postgres, a database for each test, and the invariants after each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import hypothesis  # noqa: F401  (loaded first at the end of a failed run, it meets a bug of Python 3.11: gh-106905)
import pytest

from embedded import processes
from service.db.pool import open_pool
from service.operations.administration import Administration
from tests.support import postgres
from tests.support.database import Database, author, new_name


def pytest_configure() -> None:
    """Of the ports that tests listen on, each process that runs some has its own share."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes.FREE_PORTS = processes.FREE_PORTS[worker % 8 :: 8]


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """A real Postgres server for the whole session."""
    with postgres.running_server() as running:
        yield running


@pytest.fixture(scope="session")
def template(server: postgres.Server) -> str:
    """The migrated database that tests' databases are copied from."""
    return postgres.make_template(server)


@pytest.fixture
async def database(server: postgres.Server, template: str) -> AsyncIterator[Database]:
    """A database of this test's own; every invariant must hold at its end."""
    name = new_name("test")
    postgres.copy_database(server, template, name)
    database = Database(server=server, name=name)
    try:
        yield database
        await database.check_invariants()
    finally:
        postgres.drop_database(server, name)


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[Administration]:
    """The administrators' side, with the cheapest bcrypt."""
    admin_pool = await open_pool(database.url("admin"), name="test", size=8, timeout=20)
    platform_pool = await open_pool(database.url("platform"), name="test", size=8, timeout=20)
    try:
        yield Administration(
            admin_pool=admin_pool,
            platform_pool=platform_pool,
            author=author(database),
            sealing_keys=database.sealing_keys,
            bcrypt_cost=4,
        )
    finally:
        admin_pool.terminate()
        platform_pool.terminate()
