"""Row level security: own, another, or no account, for every table and every operation; pooled connections; the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from service.core.problems import InvalidInput
from service.db.pool import Connection
from service.operations import accounts, users
from tests.support.database import PASSWORD, Database
from tests.support.faulty_rows import DEFAULTS, GLOBEX, GLOBEX_FACTORY, ground, insert
from tests.support.scene import Scene

# What else differs in a row of the other account.
OF_GLOBEX: dict[str, dict[str, str]] = {
    "user_permissions": {"user_id": "(SELECT id FROM users WHERE name = 'zoe')"},
    "releases": {"to_account_id": "(SELECT id FROM accounts WHERE name = 'acme')", "client_id": "'gx-1'"},
    "provision_applications": {"request_id": "(SELECT id FROM provision_requests WHERE client_id = 'gx-1')"},
    "run_steps": {"run_id": "(SELECT max(id) FROM provision_runs)"},
    "refusals": {"username": "'x'"},
    "logins": {"username": "'x'"},
    "credentials": {"user_id": GLOBEX_FACTORY},
    "credential_uses": {"user_id": GLOBEX_FACTORY},
    "key_proofs": {"request_id": "(SELECT id FROM provision_requests WHERE client_id = 'gx-1')"},
    "api_tokens": {"token_sha256": "sha256('y')"},
    "idempotency_keys": {"token_id": "(SELECT max(id) FROM api_tokens)"},
}
FRESH = {
    "users": {"name": "'newer'"}, "devices": {"client_id": "'newer'"}, "device_connections": {"client_id": "'newer'"},
    "provision_requests": {"client_id": "'newer'"}, "provision_applications": {"position": "2"},
    "run_steps": {"position": "9"}, "refusals": {"reason": "'newer'"}, "logins": {"username": "'newer'"},
    "credentials": {"user_id": "(SELECT id FROM users WHERE name = 'factory-gw-2')"},
    "credential_uses": {"what": "'newer'"},
    "key_proofs": {"request_id": "(SELECT id FROM provision_requests WHERE client_id = 'gw-1')"},
    "user_permissions": {"permission": "'data:manage'"},
    "api_tokens": {"token_sha256": "sha256('newer')", "name": "'newer'"},
    "idempotency_keys": {"key_sha256": "sha256('newer')"}, "releases": {"used_at": "now()"},
    "provision_runs": {"user_id": "(SELECT id FROM users WHERE name = 'newest')"},
    "event_checkpoints": {"kind": "'checkpoint'"},
}  # fmt: skip
TABLES = (
    "users", "user_permissions", "devices", "device_connections", "releases", "provision_requests",
    "provision_applications", "provision_runs", "run_steps", "events", "event_heads", "event_checkpoints",
    "refusals", "logins", "credentials", "credential_uses", "key_proofs", "api_tokens", "idempotency_keys",
    "broker_accounts",
)  # fmt: skip


@dataclass
class Apart:
    """The administrators' role with every right there is, so that only the policies stand in its way."""

    connection: Connection
    acme: int
    globex: int
    fresh: dict[str, str]

    async def see_as(self, account_id: int | None) -> None:
        """What the helper that opens an account's transactions sets; None: nothing was ever set."""
        await self.connection.execute(
            "SELECT set_config('app.account_id', $1, true)", "" if account_id is None else str(account_id)
        )

    async def refused(self, statement: str) -> bool:
        """Whether a policy refuses a statement; whatever it did is undone."""
        attempt = self.connection.transaction()
        await attempt.start()
        try:
            await self.connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError as error:
            return "row-level security" in str(error)
        finally:
            await attempt.rollback()
        return False

    async def touched(self, statement: str) -> int:
        """How many rows a statement finds; whatever it did is undone."""
        attempt = self.connection.transaction()
        await attempt.start()
        try:
            return int((await self.connection.execute(statement)).split()[-1])
        finally:
            await attempt.rollback()


@pytest.fixture
async def apart(scene: Scene) -> AsyncIterator[Apart]:
    """Rows in every table for both accounts."""
    database = scene.database
    await ground(scene)
    await scene.database.execute(
        "INSERT INTO users (account_id, name, kind, secret_sha256) SELECT id, 'newest', 'person', sha256('n')"
        " FROM accounts WHERE name = 'acme'"
    )
    for table in (*OF_GLOBEX, "event_checkpoints"):
        await database.execute(insert(table, account_id="(SELECT id FROM accounts WHERE name = 'acme')"))
        await database.execute(insert(table, **{"account_id": GLOBEX, **OF_GLOBEX.get(table, {})}))
    await database.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO provisioning_admin")
    superuser = await asyncpg.connect(database.url().reveal())
    connection = await asyncpg.connect(database.url("admin").reveal())
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield Apart(
            connection,
            await superuser.fetchval("SELECT id FROM accounts WHERE name = 'acme'"),
            await superuser.fetchval("SELECT id FROM accounts WHERE name = 'globex'"),
            {table: await literal_row(superuser, table) for table in TABLES},
        )
    finally:
        await transaction.rollback()
        await connection.close()
        await superuser.close()
        await database.execute("DELETE FROM releases")


async def literal_row(superuser: Connection, table: str) -> str:
    """An INSERT of one more row of acme, its values as the superuser sees them."""
    columns = {**DEFAULTS[table], "account_id": "(SELECT id FROM accounts WHERE name = 'acme')", **FRESH.get(table, {})}
    if table == "broker_accounts":
        columns["broker_id"] = "(SELECT id FROM brokers WHERE name = 'globex-broker')"
    literals = [
        await superuser.fetchval(f"SELECT coalesce(quote_literal(({expression})::text), 'NULL')")
        for expression in columns.values()
    ]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(literals)})"


async def test_every_table_is_in_the_list(database: Database) -> None:
    rows = await database.fetch("SELECT tablename FROM pg_policies WHERE policyname = 'own_account'")
    assert {row[0] for row in rows} == {*TABLES, "accounts"}


@pytest.mark.parametrize("table", TABLES)
async def test_own_other_and_no_account(apart: Apart, table: str) -> None:
    own, other = apart.acme, apart.globex
    await apart.see_as(own)
    mine = await apart.touched(f"SELECT FROM {table}")
    assert mine >= 1
    assert await apart.touched(f"SELECT FROM {table} WHERE account_id = {own}") == mine
    assert not await apart.refused(apart.fresh[table]), "one's own row can be made"
    assert await apart.touched(f"UPDATE {table} SET account_id = account_id") == mine
    moved = await apart.refused(f"UPDATE {table} SET account_id = {other}")
    assert moved, "no row moves to another account"
    for found in ("SELECT FROM", "DELETE FROM"):
        assert await apart.touched(f"{found} {table} WHERE account_id IS DISTINCT FROM {own}") == 0
    assert await apart.touched(f"UPDATE {table} SET account_id = {own} WHERE account_id = {other}") == 0

    await apart.see_as(other)
    assert await apart.touched(f"SELECT FROM {table} WHERE account_id = {own}") == 0
    assert await apart.touched(f"UPDATE {table} SET account_id = account_id WHERE account_id = {own}") == 0
    assert await apart.touched(f"DELETE FROM {table} WHERE account_id = {own}") == 0
    assert await apart.refused(apart.fresh[table]), "no row is made for another account"

    await apart.see_as(None)
    assert await apart.touched(f"SELECT FROM {table}") == 0
    assert await apart.touched(f"UPDATE {table} SET account_id = account_id") == 0
    assert await apart.touched(f"DELETE FROM {table}") == 0
    assert await apart.refused(apart.fresh[table])


async def test_own_rows_can_be_deleted(apart: Apart) -> None:
    await apart.see_as(apart.acme)
    for table in (
        "user_permissions",
        "run_steps",
        "refusals",
        "logins",
        "credential_uses",
        "api_tokens",
        "provision_applications",
        "releases",
    ):
        assert await apart.touched(f"DELETE FROM {table}") == await apart.touched(f"SELECT FROM {table}") >= 1


async def test_accounts_and_brokers(apart: Apart) -> None:
    """An account sees itself and the brokers that serve it, and changes neither others nor any broker."""
    await apart.see_as(apart.acme)
    names = await apart.connection.fetch("SELECT name FROM accounts UNION ALL SELECT name FROM brokers")
    assert [row[0] for row in names] == ["acme", "account-broker"]
    assert await apart.touched(f"UPDATE accounts SET enabled = false WHERE id <> {apart.acme}") == 0
    assert await apart.touched("UPDATE brokers SET endpoints = '{}'") == 0
    assert await apart.touched("DELETE FROM brokers") == 0
    assert await apart.refused(
        "INSERT INTO brokers (name, role, secret_sha256) VALUES ('mine', 'account', sha256('x'))"
    )
    assert await apart.refused("INSERT INTO accounts (name) VALUES ('mine')")
    await apart.see_as(None)
    assert await apart.touched("SELECT FROM accounts") == 0
    assert await apart.touched("SELECT FROM brokers") == 0


async def interleave(scene: Scene, times: int) -> None:
    """Accounts take turns on four connections; some transactions fail, some are given up half way."""
    ids = {name: (await scene.admin.account(name)).id for name in ("acme", "globex")}
    expected = {"acme": {"gw-1", "gw-2"}, "globex": {"gx-1", "gx-2"}}
    dice = random.Random(1)

    async def look(name: str, trouble: float) -> None:
        try:
            async with asyncio.timeout(0.0001 if trouble < 0.05 else None):
                async with scene.admin.account_transaction(ids[name]) as connection:
                    rows = await connection.fetch("SELECT client_id, account_id FROM provision_requests")
                    assert {row["client_id"] for row in rows} == expected[name]
                    assert {row["account_id"] for row in rows} == {ids[name]}
                    if trouble > 0.9:
                        await connection.execute("SELECT 1 / 0")
        except (asyncpg.DivisionByZeroError, TimeoutError):
            pass

    async def look_without() -> None:
        async with scene.admin.admin_pool.acquire() as connection:
            assert await connection.fetch("SELECT FROM provision_requests") == []
            assert await connection.fetchval("SELECT current_setting('app.account_id', true)") in (None, "")

    for _ in range(times // 20):
        await asyncio.gather(
            *(look(dice.choice(("acme", "globex")), dice.random()) for _ in range(18)), look_without(), look_without()
        )


async def test_pooled_connections_forget_the_account(scene: Scene) -> None:
    await ground(scene)
    await interleave(scene, 500)


@pytest.mark.long
async def test_pooled_connections_forget_the_account_10000(scene: Scene) -> None:
    await ground(scene)
    await interleave(scene, 10_000)


@pytest.mark.parametrize("role", ["migrator", "hooks", "responder", "admin", "platform"])
async def test_bind_parameters_are_not_logged(database: Database, role: str) -> None:
    connection = await asyncpg.connect(database.url(role).reveal())
    try:
        for setting in ("log_parameter_max_length", "log_parameter_max_length_on_error"):
            assert await connection.fetchval("SELECT current_setting($1)", setting) == "0"
    finally:
        await connection.close()


async def test_the_servers_log_holds_no_secret(scene: Scene) -> None:
    """Even where an operator logs every statement. (Where the server is not ours, its settings are tested above.)"""
    cluster = scene.database.server.cluster
    if cluster is None:
        return
    await scene.database.execute(f"ALTER DATABASE {scene.database.name} SET log_statement = 'all'")
    await scene.database.execute(f"ALTER DATABASE {scene.database.name} SET log_error_verbosity = 'verbose'")
    pools = (scene.admin.admin_pool, scene.admin.platform_pool, scene.desk.pool)
    for pool in pools:
        await pool.expire_connections()
    person = await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    secret = await accounts.create_broker(scene.admin, "another", role="provision")
    device = await scene.provision("gw-1", generate_activation_key=True)
    with pytest.raises(InvalidInput):
        await scene.request("gw-2", provision_username="ann")
    log = (cluster.folder / "postgres.log").read_text(errors="replace")
    assert "insert into users" in log.lower()
    event_key = scene.database.event_key
    for canary in (
        PASSWORD, person, secret, device.password, device.run, device.activation_key or "", event_key.hex(),
        scene.database.derivation_key.hex(), scene.database.sealing_keys.keys[0][1].hex(),
    ):  # fmt: skip
        assert canary not in log
