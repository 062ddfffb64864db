"""Each role may do what it is for, and nothing else (D13, D14)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from embedded.dump_schema import BOOKKEEPING
from service.operations import accounts, users
from tests.support import privileges
from tests.support.database import Database
from tests.support.scene import Scene

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
LOGINS = ("migrator", "hooks", "responder", "admin", "platform", "backup")
ACCOUNTS_TABLES = (
    "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'account_id'"
)


async def test_privileges_are_the_checked_in_ones(database: Database) -> None:
    expected = json.loads((VECTORS / "privileges.json").read_text(encoding="utf-8"))
    wrong = privileges.differences(expected, await privileges.found(database))
    assert not wrong, "\n".join(wrong)


async def test_every_accounts_table_has_forced_row_security(database: Database) -> None:
    names = {row[0] for row in await database.fetch(ACCOUNTS_TABLES)} | {"accounts", "brokers"}
    assert names >= {"users", "devices", "events", "refusals", "provision_requests", "provision_runs", "api_tokens"}
    secured = await database.fetch(
        "SELECT relname::text FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"
        " AND relnamespace = 'public'::regnamespace"
    )
    assert {row[0] for row in secured} == names


async def test_roles_are_plain(database: Database) -> None:
    """Nobody makes roles or databases; only backups pass by the policies; the functions' owner cannot log in."""
    rows = await database.fetch(
        "SELECT rolname, rolcanlogin, rolbypassrls, rolsuper OR rolcreaterole OR rolcreatedb AS mighty"
        " FROM pg_roles WHERE rolname LIKE 'provisioning\\_%'"
    )
    assert {row["rolname"] for row in rows} == {f"provisioning_{role}" for role in (*LOGINS, "functions")}
    assert not any(row["mighty"] for row in rows)
    assert [row["rolname"] for row in rows if row["rolbypassrls"]] == ["provisioning_backup"]
    assert [row["rolname"] for row in rows if not row["rolcanlogin"]] == ["provisioning_functions"]
    memberships = await database.fetch(
        "SELECT m.rolname AS member, r.rolname AS role FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member"
        " JOIN pg_roles r ON r.oid = a.roleid WHERE m.rolname LIKE 'provisioning\\_%'"
    )
    assert {(row["member"], row["role"]) for row in memberships} == {
        ("provisioning_migrator", "provisioning_functions")
    }


async def test_functions_that_act_for_others(database: Database) -> None:
    """SECURITY DEFINER: the NOLOGIN owner, a search path that nobody can put anything before, nobody by default."""
    rows = await database.fetch(
        "SELECT oid::regprocedure::text AS name, prosecdef, pg_get_userbyid(proowner) AS owner, proconfig,"
        " EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0) AS everybody"
        " FROM pg_proc p WHERE pronamespace = 'public'::regnamespace"
        " AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e')"
    )
    definers = [row for row in rows if row["prosecdef"]]
    assert len(definers) >= 15
    # Partitions are made and dropped by their owner alone.
    of_migrator = {"make_event_partitions()", "drop_event_partitions(bytea,timestamp with time zone)"}
    for row in definers:
        owner = "provisioning_migrator" if row["name"] in of_migrator else "provisioning_functions"
        assert row["owner"] == owner, row["name"]
        assert "search_path=pg_catalog, public, pg_temp" in row["proconfig"], row["name"]
    assert [row["name"] for row in rows if row["everybody"]] == ["schema_level()"]
    touching = {row["name"] for row in rows if row["proconfig"] is None}
    assert touching == {"next_version()", "allow_request_move()", "allow_run_move()", "schema_level()"}


async def test_a_table_of_ones_own_fools_no_function(scene: Scene) -> None:
    """Everybody may make temporary tables; what a SECURITY DEFINER function reads is never one of them."""
    connection = await asyncpg.connect(scene.database.url("hooks").reveal())
    try:
        await connection.execute("CREATE TEMPORARY TABLE brokers (name text, role text, secret_sha256 bytea)")
        await connection.execute("INSERT INTO brokers VALUES ('mine', 'account', sha256('mine'))")
        await connection.execute("SET search_path = pg_temp, public")
        names = await connection.fetch("SELECT name FROM public.hook_brokers()")
        assert {row[0] for row in names} == {"provision-broker", "account-broker"}
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE public.mine ()")
    finally:
        await connection.close()


async def test_hooks_have_no_table(scene: Scene) -> None:
    tables = await scene.database.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')"
    )
    connection = await asyncpg.connect(scene.database.url("hooks").reveal())
    try:
        assert len(tables) > 25
        for table in tables:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT * FROM {table[0]}")
        for call in (
            "append_event(''::bytea, 'x', NULL, NULL, NULL, 'x', 'cli')",
            "names_taken(1, 'a', 'b')",
            "account_id_of('acme')",
            "outage()",
            "note_change()",
        ):
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError)):
                await connection.execute(f"SELECT {call}")
    finally:
        await connection.close()


async def test_hooks_may_listen(scene: Scene) -> None:
    heard = asyncio.Event()
    connection = await asyncpg.connect(scene.database.url("hooks").reveal())
    try:
        await connection.add_listener("changes", lambda *_: heard.set())
        await scene.database.execute("UPDATE accounts SET enabled = false WHERE name = 'acme'")
        await heard.wait()
    finally:
        await connection.close()


async def as_role(database: Database, role: str, statement: str, *arguments: object) -> str:
    """Run one statement as a role, and undo it; returns the command's tag."""
    connection = await asyncpg.connect(database.url(role).reveal())
    transaction = connection.transaction()
    await transaction.start()
    try:
        return str(await connection.execute(statement, *arguments))
    finally:
        await transaction.rollback()
        await connection.close()


@pytest.mark.parametrize("kind", ["provision", "person", "service"])
async def test_the_responder_makes_and_deletes_devices_only(scene: Scene, kind: str) -> None:
    await scene.request()
    await users.create_person(scene.admin, "acme", "ann", [])
    await users.put_responder_password(scene.admin)
    user_id = await scene.database.value("SELECT id FROM users WHERE kind = $1", kind)
    assert await as_role(scene.database, "responder", "DELETE FROM users WHERE id = $1", user_id) == "DELETE 0"
    secret = "password_bcrypt" if kind == "provision" else "secret_sha256"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_role(
            scene.database,
            "responder",
            f"INSERT INTO users (account_id, name, kind, {secret}) SELECT account_id, CASE kind WHEN 'service'"
            f" THEN '~other' ELSE 'another' END, kind, {secret} FROM users WHERE id = $1",
            user_id,
        )


@pytest.mark.parametrize("kind", ["provision", "person", "service"])
async def test_the_responder_changes_nobody_elses_password(scene: Scene, kind: str) -> None:
    """It writes generated users, and no others (D14)."""
    await scene.request()
    await users.create_person(scene.admin, "acme", "ann", [])
    await users.put_responder_password(scene.admin)
    try:
        done = await as_role(scene.database, "responder", "UPDATE users SET enabled = false WHERE kind = $1", kind)
    except asyncpg.InsufficientPrivilegeError:
        done = "UPDATE 0"
    assert done == "UPDATE 0"


async def test_administrators_make_no_generated_users(scene: Scene) -> None:
    account_id = await scene.database.value("SELECT id FROM accounts WHERE name = 'acme'")
    for kind, taken in (("device", False), ("person", True)):
        connection = await asyncpg.connect(scene.database.url("admin").reveal())
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT set_config('app.account_id', $1, true)", str(account_id))
        try:
            await connection.execute(
                "INSERT INTO users (account_id, name, kind, secret_sha256) VALUES ($1, 'fresh', $2, sha256('x'))",
                account_id,
                kind,
            )
            made = True
        except asyncpg.InsufficientPrivilegeError:
            made = False
        finally:
            await transaction.rollback()
            await connection.close()
        assert made == taken


@pytest.mark.parametrize("role", ["hooks", "responder", "admin", "platform"])
@pytest.mark.parametrize("statement", ["UPDATE events SET actor = 'x'", "DELETE FROM events", "TRUNCATE events"])
async def test_events_are_only_ever_appended(scene: Scene, role: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_role(scene.database, role, statement)


async def test_everything_belongs_to_the_migrator(database: Database) -> None:
    owners = await database.fetch(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relname <> ALL ($1)",
        list(BOOKKEEPING),
    )
    assert [row[0] for row in owners] == ["provisioning_migrator"]


@pytest.mark.parametrize("own", [True, False])
async def test_administrators_append_events_of_their_own_account_only(scene: Scene, own: bool) -> None:
    await scene.request()
    await accounts.create_account(scene.admin, "globex")
    ids = {row["name"]: row["id"] for row in await scene.database.fetch("SELECT id, name FROM accounts")}
    connection = await asyncpg.connect(scene.database.url("admin").reveal())
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SELECT set_config('app.account_id', $1, true)", str(ids["globex"]))
        append = connection.execute(
            "SELECT append_event($1, 'test_event', $2, NULL, 'gw-1', 'x', 'cli')",
            scene.database.event_key,
            ids["globex" if own else "acme"],
        )
        if own:
            assert await append == "SELECT 1"
        else:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="another account"):
                await append
    finally:
        await transaction.rollback()
        await connection.close()
