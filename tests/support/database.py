"""One test's database: its URLs by role, the superuser's view, and the invariants."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from service.core.requests import NewRequest
from service.db import queries
from service.keys import SealingKeys, Secret, new_key, parse_key
from service.operations import accounts, requests
from service.operations.administration import Administration
from service.operations.events import Author
from tests.support.postgres import Server

PASSWORD = "Factory-Password"  # as long as it must be, with everything it must have
ENDPOINT = "mqtt://account.example:1883"
INVARIANTS = queries.load("invariants")


@dataclass(kw_only=True)
class Database:
    """A migrated database, and the keys that this test's services share."""

    server: Server
    name: str
    event_key: bytes = field(default_factory=lambda: parse_key(new_key()), repr=False)
    derivation_key: bytes = field(default_factory=lambda: parse_key(new_key()), repr=False)
    sealing_keys: SealingKeys = field(default_factory=lambda: SealingKeys.parse(f"k1:{new_key()}"), repr=False)
    broken: list[str] = field(default_factory=list)

    def url(self, role: str | None = None) -> Secret:
        """By role; the superuser without one."""
        return Secret(self.server.url(self.name, role))

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows as the superuser sees them."""
        connection = await asyncpg.connect(self.url().reveal())
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def value(self, query: str, *arguments: Any) -> Any:
        """The first value, as the superuser sees it."""
        rows = await self.fetch(query, *arguments)
        return rows[0][0] if rows else None

    async def execute(self, query: str, *arguments: Any) -> None:
        """Do something as the superuser."""
        await self.fetch(query, *arguments)

    async def broken_invariants(self) -> list[str]:
        """Each invariant that does not hold, with its first offending row."""
        connection = await asyncpg.connect(self.url().reveal())
        try:
            found = []
            for name, query in INVARIANTS.items():
                arguments: Sequence[Any] = (self.event_key,) if "$1" in query else ()
                rows = await connection.fetch(query, *arguments)
                if rows:
                    found.append(f"{name}: {dict(rows[0])}")
            return found
        finally:
            await connection.close()

    async def check_invariants(self) -> None:
        """Called after every step that touches the database."""
        assert await self.broken_invariants() == []


async def make_account(admin: Administration, name: str = "acme", *, broker: str = "account-broker") -> str:
    """An account, served by an account broker with an endpoint; returns the broker's secret."""
    secret = await accounts.create_broker(admin, broker, role="account", urls=[ENDPOINT])
    await accounts.create_account(admin, name, brokers=[broker])
    return secret


def new_request(client_id: str = "gw-1", **changes: Any) -> NewRequest:
    """A request that is accepted as it is."""
    values: dict[str, Any] = {
        "client_id": client_id,
        "provision_username": f"factory-{client_id}".replace(":", "-").replace(".", "-"),
        "provision_password": PASSWORD,
    }
    return NewRequest(**{**values, **changes})


async def make_request(
    admin: Administration, client_id: str = "gw-1", account: str = "acme", **changes: Any
) -> requests.Created:
    """Create it."""
    return await requests.create_request(admin, account, new_request(client_id, **changes))


def author(database: Database, source: str = "cli") -> Author:
    """A person who does something."""
    return Author(actor="tester", source=source, event_key=database.event_key)


def new_name(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}_{secrets.token_hex(6)}"
