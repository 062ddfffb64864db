"""
Connections to Postgres. Every wait has an end, and what a restart of the server heals is `Unavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from service.db import levels
from service.keys import Secret

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool = asyncpg.Pool[asyncpg.Record]
    PooledConnection = PoolConnectionProxy[asyncpg.Record]
    Connection = asyncpg.Connection[asyncpg.Record] | PooledConnection
else:
    Pool = asyncpg.Pool
    Connection = PooledConnection = asyncpg.Connection

# Trouble that passes: the connection, the server going down or up, its limits, locks and rollbacks. Not: bad SQL.
TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says of a connection that Postgres ended between two messages
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class Unavailable(Exception):
    """Postgres cannot answer now; asking again later may help."""


@asynccontextmanager
async def translating() -> AsyncIterator[None]:
    """Turn passing trouble into `Unavailable`."""
    try:
        yield
    except TRANSIENT as error:
        raise Unavailable(type(error).__name__) from error


async def open_pool(url: Secret, *, name: str, size: int, timeout: float, reset: bool = True) -> Pool:
    """
    A pool of at most `size` connections, none of which is opened yet, so that a service may start before Postgres.

    `timeout` (seconds) ends each connect and each statement. `reset=False` leaves out the round trip that cleans a
    connection when it is given back: only for users that leave nothing behind.
    """
    pool = asyncpg.create_pool(
        url.reveal(),
        min_size=0,
        max_size=size,
        timeout=timeout,
        command_timeout=timeout,
        max_inactive_connection_lifetime=0,
        reset=None if reset else _leave_as_it_is,
        server_settings={"application_name": name},
    )
    return await pool


async def _leave_as_it_is(_connection: object) -> None:
    pass


@asynccontextmanager
async def transaction(pool: Pool, *, timeout: float = 5.0) -> AsyncIterator[Connection]:
    """One transaction on one connection of the pool."""
    async with pool.acquire(timeout=timeout) as connection, connection.transaction():
        yield connection


class WrongSchema(Exception):
    """The database is at another schema level than this program."""


async def check_schema(pool: Pool) -> None:
    """Raises WrongSchema with the command to run, unless the database has the level this program was built for."""
    expected = levels.expected_level()
    async with pool.acquire(timeout=10) as connection:
        try:
            found = await connection.fetchval("SELECT schema_level()")
        except asyncpg.UndefinedFunctionError:
            found = "nothing"
    if found != expected:
        verb = "up" if found == "nothing" or found < expected else f"down --to {expected}"
        raise WrongSchema(
            f"the database's schema is at {found}, this program needs {expected}: "
            f"run `python -m service migrate {verb}`"
        )


async def wait_for_schema(pool: Pool, *, pause: float = 1.0) -> None:
    """`check_schema`, as soon as Postgres can be asked. Raises WrongSchema."""
    while True:
        try:
            async with translating():
                return await check_schema(pool)
        except Unavailable:
            await asyncio.sleep(pause)
