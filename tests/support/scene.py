"""
Both sides of the product on one database: an account, its brokers, and devices that are as far as a test wants them.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service.core.requests import Limits
from service.db.pool import open_pool
from service.operations import accounts
from service.operations.administration import Administration
from service.operations.asks import Desk
from service.operations.questions import Verdict
from service.operations.runs import RunKeys
from tests.support.database import PASSWORD, Database, author, make_account, make_request
from tests.support.desk import ask, say
from tests.support.gate import Gate, open_gate

PROVISION, ACCOUNT = "provision-broker", "account-broker"


def now() -> datetime.datetime:
    """This machine's clock, for windows that are far from their edges."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(kw_only=True)
class Device:
    """A device with a request: what its maker put in, and what it was answered."""

    client_id: str
    factory_username: str
    factory_password: str = PASSWORD
    activation_key: str | None = None
    reply: dict[str, Any]

    @property
    def username(self) -> str:
        """Of the generated user."""
        name: str = self.reply["connection"]["username"]
        return name

    @property
    def password(self) -> str:
        """Of the generated user."""
        password: str = self.reply["connection"]["password"]
        return password

    @property
    def run(self) -> str:
        """The token of its run."""
        token: str = self.reply["run"]
        return token


@dataclass(kw_only=True)
class Scene:
    """Account `acme`, served by `account-broker`; `provision-broker` serves every account."""

    database: Database
    admin: Administration
    desk: Desk
    gate: Gate
    # The brokers' secrets, by name.
    secrets: dict[str, str]
    # What one step of a test leaves for another.
    notes: dict[str, str] = field(default_factory=dict)

    async def request(self, client_id: str = "gw-1", account: str = "acme", **changes: Any) -> Device:
        """A provision request."""
        created = await make_request(self.admin, client_id, account, **changes)
        factory = changes.get("provision_username", f"factory-{client_id}".replace(":", "-").replace(".", "-"))
        return Device(client_id=client_id, factory_username=factory, activation_key=created.activation_key, reply={})

    async def ask(self, device: Device, **fields: Any) -> dict[str, Any]:
        """A good ask of the device; the reply is kept."""
        key = {} if device.activation_key is None else {"activation_key": device.activation_key}
        reply = await ask(self.desk, device.client_id, **{**key, **fields})
        if reply["result"] == "accepted":
            device.reply = reply
        return reply

    async def run(self, client_id: str = "gw-1", account: str = "acme", **changes: Any) -> Device:
        """A request in the state RUNNING."""
        device = await self.request(client_id, account, **changes)
        reply = await self.ask(device)
        assert reply["result"] == "accepted", reply
        return device

    async def login(self, device: Device, *, client_id: str | None = None, broker: str = ACCOUNT) -> Verdict:
        """The generated user at the account broker."""
        return await self.gate.connect(broker, device.username, device.password, client_id or device.client_id)

    async def factory_login(self, device: Device, *, client_id: str | None = None) -> Verdict:
        """The factory user at the provision broker."""
        return await self.gate.connect(
            PROVISION, device.factory_username, device.factory_password, client_id or device.client_id
        )

    async def provision(self, client_id: str = "gw-1", account: str = "acme", **changes: Any) -> Device:
        """A request in the state PROVISIONED."""
        device = await self.run(client_id, account, **changes)
        assert await self.login(device)
        return device

    async def fail(self, device: Device) -> None:
        """The device says that it failed."""
        await say(self.desk, device.client_id, device.run, "failed")

    async def abandon(self, client_id: str = "gw-1", account: str = "acme", **changes: Any) -> Device:
        """A request in the state ABANDONED."""
        device = await self.run(client_id, account, **{"maximum_attempts": 1, **changes})
        await self.fail(device)
        return device

    async def beat(self) -> None:
        """A sign of life of the hooks."""
        await self.gate.store.heartbeat()

    async def state(self, client_id: str = "gw-1") -> str | None:
        """The request's stored state."""
        state: str | None = await self.database.value(
            "SELECT state FROM provision_requests WHERE client_id = $1", client_id
        )
        return state

    async def run_state(self, client_id: str = "gw-1") -> str | None:
        """The state of its last run."""
        state: str | None = await self.database.value(
            "SELECT r.state FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id"
            " WHERE q.client_id = $1 ORDER BY r.number DESC LIMIT 1",
            client_id,
        )
        return state

    async def events(self, client_id: str | None = "gw-1") -> list[dict[str, Any]]:
        """What was written down of a client id, oldest first."""
        rows = await self.database.fetch(
            "SELECT kind, account_id, request_id, number, actor, source, correlation_id, reason, detail::text"
            " FROM events WHERE client_id IS NOT DISTINCT FROM $1 ORDER BY id",
            client_id,
        )
        return [dict(row) for row in rows]

    async def kinds(self, client_id: str | None = "gw-1") -> list[str]:
        """The kinds of its events, oldest first."""
        return [event["kind"] for event in await self.events(client_id)]


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait for something that will come; the test's own timeout ends it where it does not."""
    while True:
        if await holds():
            return
        await asyncio.sleep(0.01)


async def somebody_waits(database: Database) -> None:
    """Until a session of this database waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' AND state = 'active'"
    )
    await until(lambda: database.value(waiting, database.name))


async def expire(database: Database, client_id: str = "gw-1") -> None:
    """Let the deadline of a client id's live run be over since an hour."""
    await database.execute(
        "UPDATE provision_runs r SET confirm_by = clock_timestamp() - interval '1 hour', outage = outage()"
        " FROM provision_requests q WHERE q.id = r.request_id AND q.client_id = $1 AND r.ended_at IS NULL",
        client_id,
    )


def new_desk(database: Database, pool: Any) -> Desk:
    """The responder's operations on a pool."""
    return Desk(
        pool=pool,
        run_keys=RunKeys(derivation_key=database.derivation_key, sealing_keys=database.sealing_keys),
        event_key=database.event_key,
    )


@asynccontextmanager
async def open_administration(database: Database, **changes: Any) -> AsyncIterator[Administration]:
    """The administrators' side, with the cheapest bcrypt."""
    admin_pool = await open_pool(database.url("admin"), name="test", size=8, timeout=60)
    platform_pool = await open_pool(database.url("platform"), name="test", size=8, timeout=60)
    values: dict[str, Any] = {
        "author": author(database),
        "sealing_keys": database.sealing_keys,
        "bcrypt_cost": 4,
        "limits": Limits(),
        **changes,
    }
    try:
        yield Administration(admin_pool=admin_pool, platform_pool=platform_pool, **values)
    finally:
        admin_pool.terminate()
        platform_pool.terminate()


@asynccontextmanager
async def open_scene(database: Database) -> AsyncIterator[Scene]:
    """Everything opened and prepared; the hooks have been seen."""
    pool = await open_pool(database.url("responder"), name="test", size=16, timeout=60)
    try:
        async with (
            open_administration(database) as admin,
            open_gate(database.url("hooks"), database.event_key) as gate,
        ):
            secrets = {PROVISION: await accounts.create_broker(admin, PROVISION, role="provision")}
            secrets[ACCOUNT] = await make_account(admin, broker=ACCOUNT)
            await gate.store.heartbeat()
            await gate.follow()
            yield Scene(database=database, admin=admin, desk=new_desk(database, pool), gate=gate, secrets=secrets)
    finally:
        pool.terminate()
