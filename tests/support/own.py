"""A database in a Postgres of its own, for tests that stop it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from embedded.postgres import ROLES, create_roles
from service.db.pool import open_pool
from service.operations.administration import Administration
from tests.support import postgres
from tests.support.database import Database, author


@asynccontextmanager
async def own_database(*, bcrypt_cost: int = 4) -> AsyncIterator[tuple[Database, Administration]]:
    """Migrated, and the administrators' side of it."""
    with postgres.private_cluster() as cluster:
        passwords = dict.fromkeys(ROLES, "p" * 20)
        create_roles(cluster.url("postgres"), passwords)
        server = postgres.Server(superuser_url=cluster.url("postgres"), passwords=passwords, cluster=cluster)
        database = Database(server=server, name=postgres.make_template(server, "own"))
        pools = [await open_pool(database.url(role), name="own", size=2, timeout=10) for role in ("admin", "platform")]
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
