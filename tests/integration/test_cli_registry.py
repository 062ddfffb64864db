"""`provision user | device`: what they print, how they end, what they change."""

from __future__ import annotations

import stat
from pathlib import Path

from service import keys
from service.operations.administration import Administration
from tests.support.command import FAILED, INVALID, TIME, Program, contents
from tests.support.database import Database, make_account, make_request
from tests.support.scene import Scene


async def password_fits(database: Database, username: str, password: str) -> bool:
    hashed = await database.value("SELECT secret_sha256 FROM users WHERE name = $1", username)
    return keys.matches(hashed, keys.USER, password)


async def test_user_create_shows_its_password_once(
    admin: Administration, database: Database, tmp_path: Path, program: Program
) -> None:
    await make_account(admin)
    done = await program.process("user", "create", "alice")
    assert "password of alice, shown this once" in done.err
    assert await password_fits(database, "alice", done.out.strip())
    document = (
        await program("user", "create", "bob", "--permission", "data:view", "--permission", "data:manage", "--json")
    ).json()
    assert await password_fits(database, "bob", document.pop("password"))
    assert document == {"account": "acme", "name": "bob", "permissions": ["data:view", "data:manage"]}
    file = tmp_path / "carol"
    quiet = await program("user", "create", "carol", "--password-file", str(file), "--json")
    assert quiet.json() == {"account": "acme", "name": "carol", "permissions": ["broker:connect"]}
    assert await password_fits(database, "carol", file.read_text().strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for listed in (await program("user", "list"), await program("user", "list", "--json")):
        assert done.out.strip() not in listed.out
        assert file.read_text().strip() not in listed.out


async def test_user_list(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.provision("gw-1")
    await program("user", "create", "alice", "--permission", "device:manage", "--permission", "broker:connect")
    await program("service", "responder-password")
    rows = {row["name"]: row for row in (await program("user", "list", "--json")).json()}
    assert set(rows) == {"alice", device.username, device.factory_username}
    assert TIME.fullmatch(rows["alice"].pop("created_at"))
    assert rows["alice"].pop("version") >= 1
    assert rows["alice"] == {
        "account": "acme",
        "name": "alice",
        "kind": "person",
        "enabled": True,
        "confirmed_at": None,
        "permissions": ["broker:connect", "device:manage"],
    }
    assert rows[device.username]["kind"] == "device"
    assert rows[device.username]["permissions"] == ["broker:connect"]
    assert TIME.fullmatch(rows[device.username]["confirmed_at"])
    assert rows[device.factory_username]["kind"] == "provision"
    everywhere = (await program("user", "list", "--json", PROVISION_ACCOUNT="")).json()
    assert {row["name"]: row["account"] for row in everywhere}["~responder"] is None
    table = (await program.process("user", "list")).out.splitlines()
    assert table[0].split() == ["account", "name", "kind", "enabled", "permissions", "confirmed", "at"]
    assert len(table) == 4
    assert (await program("user", "list", "--account", "nobody", status=INVALID)).err.startswith("account: ")


async def test_user_create_says_every_problem(admin: Administration, database: Database, program: Program) -> None:
    await make_account(admin)
    await make_request(admin)
    before = await contents(database)
    done = await program("user", "create", "a", "--permission", "all", "--permission", "any", "--json", status=INVALID)
    assert done.problems() == {("username", "username"), ("permissions", "permission")}
    assert done.err.count('"permission"') == 2
    taken = await program("user", "create", "FACTORY-gw-1", "--json", status=INVALID)
    assert taken.problems() == {("username", "username_taken")}
    unknown = await program("user", "create", "alice", "--account", "nobody", "--json", status=INVALID)
    assert unknown.problems() == {("account", "not_found")}
    unnamed = await program("user", "create", "alice", status=INVALID, PROVISION_ACCOUNT="")
    assert "--account, or PROVISION_ACCOUNT" in unnamed.err
    assert await contents(database) == before


async def test_user_grant_replaces_permissions(admin: Administration, database: Database, program: Program) -> None:
    await make_account(admin)
    await make_request(admin)
    await program("user", "create", "alice")
    done = await program("user", "grant", "alice", "data:view", "device:manage")
    assert done.out == "user alice has data:view, device:manage\n"
    done = await program("user", "grant", "alice", "data:view", "--json")
    assert done.json() == {"account": "acme", "name": "alice", "permissions": ["data:view"]}
    wrong = await program("user", "grant", "alice", "root", "--json", status=INVALID)
    assert wrong.problems() == {("permissions", "permission")}
    assert await database.value("SELECT array_agg(permission) FROM user_permissions") == ["data:view"]
    done = await program.process("user", "grant", "alice")
    assert done.out == "user alice has no permissions\n"
    assert await database.value("SELECT count(*) FROM user_permissions") == 0
    fixed = await program("user", "grant", "factory-gw-1", "data:view", "--json", status=INVALID)
    assert fixed.problems() == {("username", "not_a_person")}


async def test_user_is_disabled_and_enabled(admin: Administration, database: Database, program: Program) -> None:
    await make_account(admin)
    await program("user", "create", "alice")
    for word, enabled in (("disable", False), ("enable", True)):
        assert (await program("user", word, "alice")).out == f"user alice is {word}d\n"
        assert await database.value("SELECT enabled FROM users WHERE name = 'alice'") is enabled
        done = await program("user", word, "alice", "--json")
        assert done.json() == {"account": "acme", "name": "alice", "enabled": enabled}
        missing = await program("user", word, "nobody", "--json", status=INVALID)
        assert missing.problems() == {("username", "not_found")}


async def test_user_delete_wants_a_yes(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.provision("gw-1")
    for name in ("alice", "bob"):
        await program("user", "create", name)
    before = await contents(database)
    unsure = await program.process("user", "delete", "alice", status=INVALID)
    assert "Delete user alice? Say --yes." in unsure.err
    for name in (device.username, device.factory_username):
        kept = await program("user", "delete", name, "--yes", "--json", status=INVALID)
        assert kept.problems() == {("username", "belongs_to_request")}
    assert await contents(database) == before
    assert (await program("user", "delete", "alice", "--yes")).out == "deleted user alice\n"
    done = await program("user", "delete", "bob", "--yes", "--json")
    assert done.json() == {"account": "acme", "name": "bob", "deleted": True}
    assert await database.value("SELECT count(*) FROM users WHERE kind = 'person'") == 0
    await program("user", "delete", "bob", "--yes", status=INVALID)


async def test_a_persons_no_at_the_terminal_changes_nothing(
    admin: Administration, database: Database, program: Program
) -> None:
    await make_account(admin)
    await program("user", "create", "alice")
    before = await contents(database)
    done = await program.at_terminal("user", "delete", "alice", typed=["n"])
    assert done.status == FAILED
    assert "Delete user alice? [y/N]:" in done.out
    assert await contents(database) == before
    done = await program.at_terminal("user", "delete", "alice", typed=["y"])
    assert (done.status, done.out.splitlines()[-1]) == (0, "deleted user alice")


async def test_device_list_and_show(scene: Scene, database: Database, program: Program) -> None:
    assert (await program("device", "list")).out == "no devices\n"
    assert (await program("device", "list", "--json")).json() == []
    device = await scene.provision("00:ab:12:cd:34:ef")
    await scene.provision("gw-2")
    row = (await program("device", "show", device.client_id, "--json")).json()
    assert row.pop("releases") == []
    assert (row.pop("birth"), row.pop("birth_at")) == (None, None)
    assert [row] == [row for row in (await program("device", "list", "--json")).json() if row["client_id"] != "gw-2"]
    assert TIME.fullmatch(row.pop("created_at"))
    assert TIME.fullmatch(row.pop("last_login_at"))
    assert TIME.fullmatch(row.pop("status_at"))
    assert row.pop("version") == 1
    assert {"status", "last_seen_at"} <= row.keys()
    del row["status"], row["last_seen_at"]
    assert row == {
        "account": "acme",
        "client_id": "00:ab:12:cd:34:ef",
        "enabled": True,
        "display_name": None,
        "coupling": "INHERITED",
        "coupling_in_effect": "STRICT",
        "username": device.username,
        "reserved_user": device.username,
        "allow_user_change": False,
        "broker": "account-broker",
    }
    shown = dict(
        line.split("  ", 1) for line in (await program.process("device", "show", device.client_id)).out.splitlines()
    )
    assert shown["client id"].strip() == "00:ab:12:cd:34:ef"
    assert shown["username"].strip() == device.username
    table = (await program("device", "list")).out.splitlines()
    assert "00:ab:12:cd:34:ef" in table[1]
    assert "last login at" in table[0]
    missing = await program("device", "show", "gw-9", "--json", status=INVALID)
    assert (missing.out, missing.problems()) == ("", {("client_id", "not_found")})
    assert "there is no device 'gw-9'" in (await program("device", "show", "gw-9", status=INVALID)).err


async def test_device_is_disabled_and_enabled(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.provision("gw-1")
    for word, enabled in (("disable", False), ("enable", True)):
        assert (await program("device", word, "gw-1")).out == f"device gw-1 is {word}d\n"
        done = await program("device", word, "gw-1", "--json", PROVISION_ACCOUNT="")
        assert done.json() == {"account": "acme", "client_id": "gw-1", "enabled": enabled}
        await scene.gate.follow()
        assert bool(await scene.login(device)) is enabled
        missing = await program("device", word, "gw-9", "--json", status=INVALID)
        assert missing.problems() == {("client_id", "not_found")}
