"""A world for a measurement: Postgres, hooks, both brokers, responder; bcrypt as in production."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from embedded.postgres import ROLES, create_roles
from service.db.pool import open_pool
from service.operations.administration import Administration
from tests.support import postgres
from tests.support.database import Database, author
from tests.support.world import World


@asynccontextmanager
async def bench_database(
    *, bcrypt_cost: int = 10, durable: bool = False
) -> AsyncIterator[tuple[Database, Administration]]:
    """
    A migrated database in a Postgres of its own, so that it may be stopped; and the administrators' side of it.

    `durable`: commits are on the disk, as in production.
    """
    with postgres.private_cluster(fast=not durable) as cluster:
        passwords = dict.fromkeys(ROLES, "p" * 20)
        create_roles(cluster.url("postgres"), passwords)
        server = postgres.Server(superuser_url=cluster.url("postgres"), passwords=passwords, cluster=cluster)
        database = Database(server=server, name=postgres.make_template(server, "bench"))
        pools = [
            await open_pool(database.url(role), name="bench", size=2, timeout=10) for role in ("admin", "platform")
        ]
        try:
            yield (
                database,
                Administration(
                    admin_pool=pools[0],
                    platform_pool=pools[1],
                    author=author(database),
                    sealing_keys=database.sealing_keys,
                    bcrypt_cost=bcrypt_cost,
                ),
            )
        finally:
            for pool in pools:
                pool.terminate()


@asynccontextmanager
async def bench_world(*, bcrypt_cost: int = 10, settings: Mapping[str, str] | None = None) -> AsyncIterator[World]:
    """Everything runs; `settings` beside those that it needs."""
    async with bench_database(bcrypt_cost=bcrypt_cost) as (database, admin):
        world = World(database=database, admin=admin, settings=settings or {})
        try:
            await world.prepare()
            world.start()
            yield world
        finally:
            world.close()


def postgres_pid(database: Database) -> int:
    """The process that has the others; only of a cluster of our own."""
    cluster = database.server.cluster
    assert cluster is not None
    return int((cluster.data / "postmaster.pid").read_text().splitlines()[0])
