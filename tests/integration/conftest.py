"""The services' insides on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from embedded.postgres import create_database
from service.db.migrations import Migrator
from service.db.pool import open_pool
from service.keys import Secret
from service.operations.administration import Administration
from service.operations.asks import Desk
from tests.support import postgres
from tests.support.command import Program
from tests.support.database import PASSWORD, Database, new_name
from tests.support.faces import FACES, opened
from tests.support.hooks_server import HooksServer, serving
from tests.support.scene import Scene, new_desk, open_scene


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """The responder's operations."""
    pool = await open_pool(database.url("responder"), name="test", size=8, timeout=20)
    try:
        yield new_desk(database, pool)
    finally:
        pool.terminate()


@pytest.fixture
async def scene(database: Database) -> AsyncIterator[Scene]:
    """An account, its brokers, hooks and responder."""
    async with open_scene(database) as opened:
        yield opened


@pytest.fixture(params=FACES)
async def program(request: pytest.FixtureRequest, admin: Administration, database: Database) -> AsyncIterator[Program]:
    """The `provision` command by each of its faces: on the database, and over HTTP."""
    async with opened(request.param, admin, database, PROVISION_PASSWORD=PASSWORD) as program:
        yield program


@dataclass(frozen=True, kw_only=True)
class Blank:
    """A database without a schema of ours."""

    server: postgres.Server
    name: str

    def url(self, role: str | None = None) -> str:
        """By role; the superuser without one."""
        return self.server.url(self.name, role)

    def migrator(self, **options: Any) -> Migrator:
        """The migrator on this database."""
        return Migrator(Secret(self.url("migrator")), **options)

    def fetch(self, query: str) -> list[tuple[Any, ...]]:
        """Rows as the superuser sees them."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def column(self, query: str) -> list[Any]:
        """The first column."""
        return [row[0] for row in self.fetch(query)]


@contextmanager
def _blank(server: postgres.Server) -> Iterator[Blank]:
    name = new_name("blank")
    create_database(server.superuser_url, name)
    try:
        yield Blank(server=server, name=name)
    finally:
        postgres.drop_database(server, name)


@pytest.fixture
def blank(server: postgres.Server) -> Iterator[Blank]:
    """An empty database that belongs to the migrator."""
    with _blank(server) as made:
        yield made


@pytest.fixture
def another_blank(server: postgres.Server) -> Iterator[Blank]:
    """One more."""
    with _blank(server) as made:
        yield made


@pytest.fixture
async def hooks_server(scene: Scene) -> AsyncIterator[HooksServer]:
    """The hooks on a TCP port."""
    async with serving(scene) as server:
        yield server
