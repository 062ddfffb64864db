"""`provision account | broker | service | recovery | key`: what they print, how they end, what they change."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest

from service import keys
from service.keys import SealingKeys, parse_key
from service.operations.administration import Administration
from tests.support.command import FAILED, INVALID, TIME, Program, contents, provision
from tests.support.database import ENDPOINT, Database, make_account
from tests.support.scene import Scene


async def secret_of(database: Database, broker: str, column: str = "secret_sha256") -> bytes:
    hashed: bytes = await database.value(f"SELECT {column} FROM brokers WHERE name = $1", broker)
    return hashed


async def test_account_create_and_list(admin: Administration, database: Database, program: Program) -> None:
    alone = await program("account", "create", "acme")
    assert alone.out == "created account acme, served by no broker yet\n"
    await program("broker", "create", "account-broker", "--role", "account", "--endpoint", ENDPOINT)
    served = await program("account", "create", "Other-1", "--coupling", "LOOSE", "--json")
    assert served.json() == {"name": "Other-1", "device_connection_coupling": "LOOSE", "brokers": ["account-broker"]}
    assert alone.err == served.err == ""
    first, second = (await program("account", "list", "--json")).json()
    assert TIME.fullmatch(first.pop("created_at"))
    assert first.pop("version") == 1
    assert first == {
        "name": "Other-1",
        "kind": "account",
        "enabled": True,
        "device_connection_coupling": "LOOSE",
        "mandatory_provisioning": False,
        "brokers": ["account-broker"],
    }
    assert (second["name"], second["brokers"]) == ("acme", [])
    shown = (await program.process("account", "list")).out.splitlines()
    assert shown[0].split("  ")[0] == "name"
    assert "device connection coupling" in shown[0]
    assert shown[1].split() == ["Other-1", "account", "yes", "LOOSE", "no", "account-broker"]
    assert shown[2].split() == ["acme", "account", "yes", "STRICT", "no", "-"]


async def test_account_create_says_every_problem(admin: Administration, database: Database, program: Program) -> None:
    await make_account(admin)
    before = await contents(database)
    done = await program("account", "create", "no", "--broker", "nobody", "--broker", "nor-me", status=INVALID)
    assert done.out == ""
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["name", "broker", "broker"]
    done = await program("account", "create", "no", "--broker", "nobody", "--json", status=INVALID)
    assert done.out == ""
    assert done.problems() == {("name", "username"), ("broker", "not_found")}
    for name in ("ACME", "Provision"):
        done = await program("account", "create", name, status=INVALID)
        assert done.err.startswith("name: is ")
    await program("account", "create", "acme2", "--coupling", "loose", status=INVALID)
    assert await contents(database) == before


async def test_account_is_disabled_and_enabled(admin: Administration, database: Database, program: Program) -> None:
    await make_account(admin)
    for word, enabled in (("disable", False), ("disable", False), ("enable", True)):
        assert (await program("account", word, "acme")).out == f"account acme is {word}d\n"
        assert await database.value("SELECT enabled FROM accounts WHERE name = 'acme'") is enabled
        done = await program("account", word, "acme", "--json")
        assert done.json() == {"name": "acme", "enabled": enabled}
        missing = await program("account", word, "nobody", status=INVALID)
        assert (missing.out, missing.err) == ("", "account: there is no account 'nobody'\n")
    kinds = await database.fetch("SELECT kind FROM events WHERE kind ~ '^account_(dis|en)abled$' ORDER BY id")
    assert [row["kind"] for row in kinds] == ["account_disabled", "account_enabled"]


async def test_broker_create_shows_its_secret_once(database: Database, program: Program) -> None:
    done = await program.process("broker", "create", "account-broker", "--role", "account", "--endpoint", ENDPOINT)
    assert "secret of account-broker, shown this once" in done.err
    [secret] = done.out.splitlines()
    assert await secret_of(database, "account-broker") == keys.secret_hash(keys.BROKER, secret)
    await program("account", "create", "acme")
    document = (await program("broker", "create", "second", "--role", "account", "--serves", "acme", "--json")).json()
    assert await secret_of(database, "second") == keys.secret_hash(keys.BROKER, document.pop("secret"))
    assert document == {"name": "second", "role": "account", "endpoints": [], "accounts": ["acme"]}
    listed = await program("broker", "list", "--json")
    assert secret not in listed.out
    first, second = listed.json()
    assert TIME.fullmatch(first.pop("created_at"))
    assert first.pop("version") == 1
    assert first == {
        "name": "account-broker",
        "role": "account",
        "endpoints": [ENDPOINT],
        "rotating": False,
        "accounts": ["acme"],
        "ca_expires_on": None,
    }
    assert (second["name"], second["endpoints"], second["accounts"]) == ("second", [], ["acme"])
    table = (await program("broker", "list")).out.splitlines()
    assert table[0].split() == ["name", "role", "endpoints", "accounts", "rotating", "ca", "expires", "on"]
    assert len(table) == 3


async def test_broker_create_says_every_problem(admin: Administration, database: Database, program: Program) -> None:
    await make_account(admin)
    before = await contents(database)
    arguments = ("broker", "create", "x", "--role", "provision", "--serves", "acme", "--endpoint", "http://a", "--json")
    done = await program(*arguments, "--endpoint", "mqtt://", status=INVALID)
    assert done.problems() == {("name", "username"), ("serves", "serves_all"), ("endpoint", "endpoint")}
    done = await program("broker", "create", "Account-Broker", "--role", "account", "--json", status=INVALID)
    assert done.problems() == {("name", "name_taken")}
    done = await program("broker", "create", "b-2", "--role", "account", "--serves", "nobody", "--json", status=INVALID)
    assert done.problems() == {("account", "not_found")}
    done = await program("broker", "create", "b-3", status=INVALID)
    assert "--role" in done.err
    assert await contents(database) == before


async def test_broker_serves_one_more_account(admin: Administration, database: Database, program: Program) -> None:
    await make_account(admin)
    await program("account", "create", "other", "--broker", "account-broker")
    await program("broker", "create", "second", "--role", "account")
    done = await program("broker", "serve", "second", "other")
    assert done.out == "broker second serves account other\n"
    done = await program("broker", "serve", "second", "acme", "--json")
    assert done.json() == {"name": "second", "account": "acme"}
    accounts = {row["name"]: row["accounts"] for row in (await program("broker", "list", "--json")).json()}
    assert accounts["second"] == ["acme", "other"]
    await program("broker", "serve", "nobody", "acme", status=INVALID)
    await program("broker", "serve", "second", "nobody", status=INVALID)
    await program("broker", "serve", "second", status=INVALID)


async def test_broker_rotates(database: Database, tmp_path: Path, program: Program) -> None:
    first = (await program("broker", "create", "provision-broker", "--role", "provision")).out.strip()
    none_open = await program("broker", "rotate", "provision-broker", "--finish", status=INVALID)
    assert none_open.err == "broker: no rotation is open\n"
    file = tmp_path / "new"
    done = await program.process("broker", "rotate", "provision-broker", "--secret-file", str(file))
    second = file.read_text().strip()
    assert second not in done.out + done.err
    assert await secret_of(database, "provision-broker") == keys.secret_hash(keys.BROKER, second)
    before = await secret_of(database, "provision-broker", "previous_secret_sha256")
    assert before == keys.secret_hash(keys.BROKER, first)
    assert (await program("broker", "list", "--json")).json()[0]["rotating"] is True
    again = await program("broker", "rotate", "provision-broker", "--json", status=INVALID)
    assert again.problems() == {("broker", "rotating")}
    done = await program("broker", "rotate", "provision-broker", "--finish", "--json")
    assert done.json() == {"name": "provision-broker", "rotating": False}
    assert await secret_of(database, "provision-broker", "previous_secret_sha256") is None
    done = await program("broker", "rotate", "provision-broker", "--json")
    third = done.json()
    assert third.pop("secret") not in (first, second)
    assert third == {"name": "provision-broker", "rotating": True}
    assert (await program("broker", "rotate", "provision-broker", "--finish")).out.endswith("is good no more\n")
    await program("broker", "rotate", "nobody", status=INVALID)
    both = await program(
        "broker", "rotate", "provision-broker", "--finish", "--secret-file", str(tmp_path / "x"), status=INVALID
    )
    assert "--finish makes no secret" in both.err


async def test_responder_password(database: Database, tmp_path: Path, program: Program) -> None:

    async def stored() -> bytes:
        hashed: bytes = await database.value("SELECT secret_sha256 FROM users WHERE name = '~responder'")
        return hashed

    shown = (await program.process("service", "responder-password")).out.strip()
    assert await stored() == keys.secret_hash(keys.USER, shown)
    document = (await program("service", "responder-password", "--json")).json()
    assert document["name"] == "~responder"
    assert await stored() == keys.secret_hash(keys.USER, document["password"])
    file = tmp_path / "password"
    done = await program("service", "responder-password", "--secret-file", str(file), "--json")
    assert done.json() == {"name": "~responder"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await stored() == keys.secret_hash(keys.USER, file.read_text().strip())


async def test_recovery(scene: Scene, database: Database, program: Program) -> None:
    state = (await program("recovery", "show", "--json")).json()
    assert TIME.fullmatch(state.pop("hooks_seen_at"))
    assert state.pop("time_not_counted")
    assert state == {"restored": False, "held_since": None}
    done = await program("recovery", "accept", "--yes", "--json")
    assert done.json() == {"accepted": False}
    await database.execute("UPDATE heartbeats SET cluster = 'another'")
    shown = await program.process("recovery", "show")
    assert "restored" in shown.out
    assert "yes" in shown.out
    unsure = await program("recovery", "accept", status=INVALID)
    assert "--yes" in unsure.err
    assert (await program("recovery", "show", "--json")).json()["restored"] is True
    assert (await program("recovery", "accept", "--yes")).out == "time counts again\n"
    assert (await program("recovery", "show", "--json")).json()["restored"] is False
    assert (await program("recovery", "accept", "--yes")).out == "nothing was held: time counted already\n"


async def test_recovery_before_any_hooks_ran(database: Database, program: Program) -> None:
    state = (await program("recovery", "show", "--json")).json()
    assert datetime.datetime.fromisoformat(state["hooks_seen_at"]).year == 1970


async def test_key_create(database: Database, tmp_path: Path) -> None:
    """Keys need neither a database nor settings."""
    command = provision(database)
    bare = type(command)(name="cli", environment={})
    assert len(parse_key((await bare.process("key", "create")).out)) == 32
    document = (await bare("key", "create", "--kid", "k7", "--json")).json()
    assert document["kid"] == "k7"
    assert SealingKeys.parse(document["key"]).keys[0][0] == "k7"
    file = tmp_path / "event-key"
    done = await bare("key", "create", "--output", str(file))
    assert parse_key(file.read_text())
    assert file.read_text().strip() not in done.out + done.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = file.read_text()
    await bare("key", "create", "--output", str(file), status=FAILED)
    assert file.read_text() == kept


@pytest.mark.parametrize("kid", ["", "a b", "k:1", "k" * 33, "\x1b[31m"])
async def test_key_create_refuses_a_kid(database: Database, kid: str) -> None:
    done = await provision(database)("key", "create", "--kid", kid, status=INVALID)
    assert "--kid must be" in done.err
