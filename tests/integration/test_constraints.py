"""Every named rule of the schema refuses what it is for, and core refuses the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.core import names
from service.operations import accounts, moves
from tests.support.database import Database
from tests.support.faulty_rows import CASES, GLOBEX, GLOBEX_BROKER, GLOBEX_FACTORY, ground, insert
from tests.support.scene import Scene, somebody_waits

# Rules that hold already because `id` alone is unique: they are what composite foreign keys refer to.
FOR_FOREIGN_KEYS = {
    "brokers_id_role_unique",
    "users_account_id_unique",
    "devices_account_id_unique",
    "provision_requests_account_id_unique",
    "provision_runs_account_id_unique",
}
NAMED_RULES = """
    SELECT k.conname::text FROM pg_constraint k
    WHERE k.connamespace = 'public'::regnamespace AND k.contype <> 'n' AND k.conparentid = 0
        AND k.conrelid::regclass::text <> ALL ($1)
        -- `id` is written by the database alone
        AND NOT (k.contype = 'p' AND EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = k.conkey[1] AND a.attidentity = 'a'
        ))
    UNION
    SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE i.indisunique AND NOT i.indisprimary AND c.relnamespace = 'public'::regnamespace AND c.relname <> ALL ($1)
    UNION
    SELECT (regexp_matches(prosrc, 'CONSTRAINT = ''([a-z_]+)''', 'g'))[1] FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
"""
BOOKKEEPING = ["_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock", "migration_checksums"]


@pytest.fixture
async def connection(scene: Scene) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A superuser's, whom no policy stops, in a transaction that is undone."""
    await ground(scene)
    opened = await asyncpg.connect(scene.database.url().reveal())
    transaction = opened.transaction()
    await transaction.start()
    try:
        yield opened
    finally:
        await transaction.rollback()
        await opened.close()


async def refused_by(connection: asyncpg.Connection[asyncpg.Record], statement: str) -> str | None:
    """The rule that refuses a statement; None: it was taken."""
    attempt = connection.transaction()
    await attempt.start()
    try:
        await connection.execute(statement)
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.SerializationError) as error:
        return error.constraint_name
    finally:
        await attempt.rollback()
    return None


async def test_every_named_rule_has_a_case(database: Database) -> None:
    rules = {row[0] for row in await database.fetch(NAMED_RULES, BOOKKEEPING)}
    assert rules - FOR_FOREIGN_KEYS == set(CASES)
    assert rules >= FOR_FOREIGN_KEYS


async def test_every_rule_refuses(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    wrong = [
        f"{rule}: {statement} was {'taken' if found is None else f'refused by {found}'}"
        for rule, statements in CASES.items()
        for statement in statements
        if (found := await refused_by(connection, statement)) != rule
    ]
    assert not wrong, "\n".join(wrong)


async def test_rows_without_a_fault_are_taken(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Else the statements above could be refused for anything."""
    for table in (
        "accounts", "brokers", "broker_accounts", "users", "user_permissions", "devices", "device_connections",
        "releases", "provision_requests", "provision_applications", "provision_runs", "run_steps", "events",
        "event_heads", "event_checkpoints", "refusals", "logins", "api_tokens", "changes", "one_time_passwords",
    ):  # fmt: skip
        assert await refused_by(connection, insert(table)) is None, table


NAMES = [
    "", "a", "ab", "abc", "a" * 255, "a" * 256, "a-b", "a_b", "-_-", "a b", "a.b", "a:b", "abc\n", "\nabc", "ab\tc",
    "ümlaut", "ａｂｃ", "a/b", "a+b", "a#b", "~abc", "a'b", 'a"b', "a\\b", "٣٣٣", "aͣbc", "ABC", "123", "é" * 3,
    "a::b", "::", "a:", ":a", "a:b:c", "a:::b", "x" * 23, "x" * 24, "a..b", ".", "a\x7fb", "a\x01b",
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "column"),
    [("accounts", "name"), ("brokers", "name"), ("users", "name"), ("devices", "client_id")],
)
async def test_names_are_refused_as_by_core(
    connection: asyncpg.Connection[asyncpg.Record], table: str, column: str
) -> None:
    for name in NAMES:
        allowed = not list(names.check_username(name, "name")) if column == "name" else names.is_client_id(name, 255)
        quoted = await connection.fetchval("SELECT quote_literal($1::text)", name)
        assert (await refused_by(connection, insert(table, **{column: quoted})) is None) == allowed, name


HOLDERS = ("provision_requests", "devices")


@pytest.mark.parametrize("first", HOLDERS)
@pytest.mark.parametrize("second", HOLDERS)
async def test_two_accounts_at_once_cannot_have_one_client_id(scene: Scene, first: str, second: str) -> None:
    """Through a request or a device: the second waits for the first, and is refused when that commits."""
    await ground(scene)
    acme, globex = [await asyncpg.connect(scene.database.url().reveal()) for _ in range(2)]
    others = {"account_id": GLOBEX}
    if second == "provision_requests":
        others |= {"user_id": GLOBEX_FACTORY, "broker_id": GLOBEX_BROKER}
    one, two = acme.transaction(), globex.transaction()
    try:
        await one.start()
        await two.start()
        await acme.execute(insert(first))
        asked = asyncio.create_task(globex.execute(insert(second, **others)))
        await somebody_waits(scene.database)
        assert not asked.done()
        await one.commit()
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await asked
        assert refused.value.constraint_name == "client_id_belongs_to_one_account"
        assert "acme" not in str(refused.value)
        await two.rollback()
    finally:
        await acme.close()
        await globex.close()
        await scene.database.execute("DELETE FROM provision_requests WHERE client_id = 'fresh'")


async def test_the_second_gets_what_the_first_gives_back(scene: Scene) -> None:
    await ground(scene)
    acme, globex = [await asyncpg.connect(scene.database.url().reveal()) for _ in range(2)]
    one, two = acme.transaction(), globex.transaction()
    try:
        await one.start()
        await two.start()
        await acme.execute(insert("devices"))
        asked = asyncio.create_task(globex.execute(insert("devices", account_id=GLOBEX)))
        await somebody_waits(scene.database)
        await one.rollback()
        await asked
        await two.commit()
    finally:
        await acme.close()
        await globex.close()
    assert await scene.database.value("SELECT account_id FROM devices WHERE client_id = 'fresh'") == (
        await scene.database.value(f"SELECT {GLOBEX}")
    )


async def test_a_release_lets_a_client_id_go(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Only to the account that it names, before it expires, once."""
    wanted = insert("devices", account_id=GLOBEX, client_id="'gw-1'")
    assert await refused_by(connection, wanted) == "client_id_belongs_to_one_account"
    assert await refused_by(connection, insert("releases") + "; " + wanted) is None
    over = {"created_at": "'epoch'", "expires_on": "clock_timestamp()"}
    for fault in (over, {"used_at": "now()"}, {"cancelled_at": "now()"}):
        spent = insert("releases", **fault)
        assert await refused_by(connection, spent + "; " + wanted) == "client_id_belongs_to_one_account"


async def test_the_deleted_frees_its_client_id(scene: Scene) -> None:
    await ground(scene)
    await moves.delete_request(scene.admin, "acme", "gw-2")
    await scene.request("gw-2", "globex")
    found = await accounts.list_accounts(scene.admin)
    assert [account["name"] for account in found] == ["provision", "acme", "globex"]
