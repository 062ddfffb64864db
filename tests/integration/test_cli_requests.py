"""`provision request create | change | show | list`: what they print, how they end, what they change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service import keys
from service.operations.administration import Administration
from tests.support.command import INVALID, TIME, Program, contents
from tests.support.database import ENDPOINT, Database, make_account, make_request
from tests.support.faces import on_database
from tests.support.scene import Scene

CREATE = ("request", "create", "gw-1", "--username", "factory-gw-1")
CONFIGURATION = {
    "org.example.Modem": {"apn": "iot", "pin": {"type": "Password", "value": "1234-canary"}, "bands": [1, 3]},
    "org.example.[red]\u202e[31m": {"a": True},
}


@pytest.fixture
async def command(admin: Administration, program: Program) -> Program:
    """The command, with an account to work in and a provision password in the environment."""
    await make_account(admin)
    return program


async def stored(database: Database, client_id: str = "gw-1") -> dict[str, Any]:
    [row] = await database.fetch("SELECT * FROM provision_requests WHERE client_id = $1", client_id)
    return dict(row)


async def key_fits(database: Database, key: str, client_id: str = "gw-1") -> bool:
    hashed = (await stored(database, client_id))["activation_key_sha256"]
    return keys.matches(hashed, keys.ACTIVATION_KEY, key)


async def test_create_with_the_pages_defaults(command: Program, database: Database) -> None:
    done = await command.process(*CREATE)
    assert (done.out, done.err) == ("created the provision request of gw-1\n", "")
    row = (await command("request", "show", "gw-1", "--json")).json()
    for moment in ("activates_on", "created_at", "modified_at"):
        assert TIME.fullmatch(row.pop(moment))
    assert row.pop("created_by") == row.pop("modified_by")
    assert row.pop("version") == 1
    assert row == {
        "account": "acme",
        "client_id": "gw-1",
        "provision_username": "factory-gw-1",
        "activation_key": False,
        "provision_endpoint": ENDPOINT,
        "expires_on": None,
        "reserve_user": True,
        "device_connection_coupling": "INHERITED",
        "additional_device_configuration": {},
        "applications": [],
        "maximum_attempts": 5,
        "attempts": 0,
        "start_on_birth": False,
        "enabled": True,
        "state": "OPEN",
        "status": "OPEN",
        "run": None,
    }


async def test_a_stock_gateway_is_started_by_its_birth(command: Program) -> None:
    """At creation and by a change; never together with an activation key."""
    done = await command(*CREATE, "--start-on-birth", "--activation-key", "--json", status=INVALID)
    assert done.problems() == {("start_on_birth", "birth_has_no_key")}
    await command(*CREATE, "--start-on-birth")
    for option, holds in (("--no-start-on-birth", False), ("--start-on-birth", True)):
        await command("request", "change", "gw-1", option)
        assert (await command("request", "show", "gw-1", "--json")).json()["start_on_birth"] is holds
    done = await command("request", "change", "gw-1", "--new-activation-key", "--json", status=INVALID)
    assert done.problems() == {("start_on_birth", "birth_has_no_key")}


async def test_create_with_everything(command: Program, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "configuration.json"
    file.write_text(json.dumps(CONFIGURATION))
    moments = ("--activates-on", "2030-01-31T08:00:00+02:00", "--expires-on", "2031-01-31T08:00:00Z")
    more = ("--endpoint", ENDPOINT, "--no-reserve-user", "--coupling", "LOOSE", "--maximum-attempts", "7", "--disabled")
    done = await command(*CREATE, "--activation-key", "--configuration", str(file), *moments, *more, "--json")
    document = done.json()
    assert await key_fits(database, document.pop("activation_key"))
    assert document == {"account": "acme", "client_id": "gw-1", "notices": []}
    row = (await command("request", "show", "gw-1", "--json")).json()
    assert (row["activates_on"], row["expires_on"]) == ("2030-01-31T06:00:00Z", "2031-01-31T08:00:00Z")
    assert (row["reserve_user"], row["device_connection_coupling"], row["maximum_attempts"]) == (False, "LOOSE", 7)
    assert (row["enabled"], row["status"], row["activation_key"]) == (False, "DISABLED", True)
    shown = row["additional_device_configuration"]
    assert shown.pop("org.example.Modem") == {"apn": "iot", "pin": "***", "bands": [1, 3]}
    assert list(shown.values()) == [{"a": True}]
    for_people = (await command.process("request", "show", "gw-1")).out
    assert "1234-canary" not in for_people
    assert "\u202e" not in for_people
    assert r"additional device configuration: org.example.[red]\u202e[31m  " in for_people


async def test_create_takes_the_configuration_from_standard_input(command: Program, database: Database) -> None:
    await command.process(*CREATE, "--configuration", "-", stdin=json.dumps(CONFIGURATION))
    assert "org.example.Modem" in (await stored(database))["additional_device_configuration"]


async def test_create_says_every_problem(command: Program, database: Database) -> None:
    before = await contents(database)
    arguments = ("request", "create", "a::b", "--username", "x", "--maximum-attempts", "0", "--endpoint", "mqtt://no")
    moments = ("--activates-on", "2031-01-31T08:00:00Z", "--expires-on", "2030-01-31T08:00:00Z")
    done = await command(*arguments, *moments, "--json", status=INVALID, PROVISION_PASSWORD="short")
    assert done.out == ""
    assert done.problems() == {
        ("client_id", "client_id"),
        ("provision_username", "username"),
        ("provision_password", "too_short"),
        ("provision_password", "no_upper_case"),
        ("provision_password", "no_special"),
        ("maximum_attempts", "maximum_attempts"),
        ("provision_endpoint", "endpoint_not_served"),
        ("expires_on", "expires_before_activates"),
    }
    for_people = await command.process(*arguments, *moments, status=INVALID, PROVISION_PASSWORD="short")
    assert for_people.out == ""
    assert len(for_people.err.splitlines()) == 8
    assert "client_id: must follow the MQTT v3.1 naming convention" in for_people.err
    assert "short" not in for_people.err.replace("too_short", "")
    assert await contents(database) == before


async def test_a_date_without_a_time_zone_is_said_with_the_other_problems(command: Program, database: Database) -> None:
    before = await contents(database)
    arguments = ("request", "create", "a::b", "--username", "factory-gw-1", "--json")
    for naive in ("2030-01-31T08:00:00", "2030-01-31"):
        done = await command(*arguments, "--activates-on", naive, status=INVALID)
        assert done.problems() == {("client_id", "client_id"), ("activates_on", "no_time_zone")}
        assert "must have a time zone, such as 2030-01-31T08:00:00Z" in done.err
        done = await command(*arguments, "--expires-on", naive, status=INVALID)
        assert done.problems() == {("client_id", "client_id"), ("expires_on", "no_time_zone")}
    assert await contents(database) == before


@pytest.mark.parametrize(
    "options",
    [
        ("--activates-on", "never"),
        ("--activates-on", "tomorrow"),
        ("--expires-on", "31.1.2030"),
        ("--expires-on", "9999-12-31T23:59:59-14:00"),
        ("--activates-on", "0001-01-01T00:00:00+14:00"),
        ("--coupling", "strict"),
        ("--maximum-attempts", "many"),
        ("--unknown",),
        ("too", "much"),
    ],
)
@on_database
async def test_create_refuses_what_it_does_not_understand(
    command: Program, database: Database, options: tuple[str, ...]
) -> None:
    before = await contents(database)
    done = await command(*CREATE, *options, status=INVALID)
    assert "Error: " in done.err
    assert done.out == ""
    assert await contents(database) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"b": null}}', "\xff", None])
@on_database
async def test_create_refuses_a_configuration(
    command: Program, database: Database, tmp_path: Path, content: str | None
) -> None:
    file, key_file = tmp_path / "configuration.json", tmp_path / "key"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    before = await contents(database)
    options = ("--configuration", str(file), "--activation-key", "--activation-key-file", str(key_file), "--json")
    done = await command(*CREATE, *options, status=INVALID)
    assert {field for field, _ in done.problems()} == {"additional_device_configuration"}
    assert not key_file.exists()
    assert await contents(database) == before


async def test_taken_names_are_refused(command: Program, admin: Administration, database: Database) -> None:
    await make_request(admin)
    await command("account", "create", "other", "--broker", "account-broker")
    before = await contents(database)
    for account in ("acme", "other"):
        done = await command(
            *CREATE, "--account", account, "--json", status=INVALID, PROVISION_PASSWORD="Another-Password"
        )
        assert done.problems() == {("client_id", "client_id_taken"), ("provision_username", "username_taken")}
        assert "acme" not in done.err
    assert await contents(database) == before


async def test_a_shared_username_says_what_it_means(
    command: Program, admin: Administration, database: Database
) -> None:
    await make_request(admin, provision_username="fleet")
    done = await command("request", "create", "gw-2", "--username", "fleet", "--json")
    document = done.json()
    assert await key_fits(database, document["activation_key"], "gw-2")
    assert len(document["notices"]) == 2
    assert done.err.splitlines() == document["notices"]
    done = await command("request", "create", "gw.3", "--username", "fleet", "--no-activation-key")
    assert done.out == "created the provision request of gw.3\n"
    assert "any of its devices can pose as this one" in done.err
    assert "connects as 'gw-3'" in done.err


async def test_change(command: Program, admin: Administration, database: Database) -> None:
    await make_request(admin)
    options = ("--expires-on", "2031-01-31T08:00:00Z", "--no-reserve-user", "--coupling", "STRICT")
    done = await command.process("request", "change", "gw-1", *options)
    assert done.out == "changed the provision request of gw-1\n"
    row = (await command("request", "show", "gw-1", "--json")).json()
    assert (row["expires_on"], row["reserve_user"]) == ("2031-01-31T08:00:00Z", False)
    assert row["device_connection_coupling"] == "STRICT"
    document = (
        await command("request", "change", "gw-1", "--new-activation-key", "--json", PROVISION_ACCOUNT="")
    ).json()
    assert await key_fits(database, document.pop("activation_key"))
    assert document == {"account": "acme", "client_id": "gw-1", "notices": []}
    await command("request", "change", "gw-1", "--expires-on", "never", "--remove-activation-key", "--reserve-user")
    row = (await command("request", "show", "gw-1", "--json")).json()
    assert (row["expires_on"], row["activation_key"], row["reserve_user"]) == (None, False, True)
    assert row["device_connection_coupling"] == "STRICT"


async def test_change_replaces_the_configuration(command: Program, admin: Administration, tmp_path: Path) -> None:
    await make_request(admin)
    file = tmp_path / "configuration.json"
    for content in (CONFIGURATION, {"other": {"a": 1}}):
        file.write_text(json.dumps(content))
        await command("request", "change", "gw-1", "--configuration", str(file))
        row = (await command("request", "show", "gw-1", "--json")).json()
        assert row["additional_device_configuration"].keys() == content.keys()


async def test_change_says_every_problem(command: Program, admin: Administration, database: Database) -> None:
    await make_request(admin)
    before = await contents(database)
    options = ("--new-activation-key", "--remove-activation-key", "--endpoint", "x", "--maximum-attempts", "0")
    done = await command(
        "request", "change", "gw-1", *options, "--expires-on", "2001-01-31T08:00:00Z", "--json", status=2
    )
    assert done.out == ""
    assert done.problems() == {
        ("activation_key", "contradiction"),
        ("provision_endpoint", "endpoint"),
        ("maximum_attempts", "maximum_attempts"),
        ("expires_on", "expires_before_activates"),
    }
    done = await command("request", "change", "gw-1", "--activates-on", "2030-01-31", "--json", status=INVALID)
    assert done.problems() == {("activates_on", "no_time_zone")}
    for nothing in ((), ("--activates-on", "never"), ("--activation-key-file", "/nowhere/key")):
        await command("request", "change", "gw-1", *nothing, status=INVALID)
    done = await command("request", "change", "gw-9", "--reserve-user", "--json", status=INVALID)
    assert done.problems() == {("client_id", "not_found")}
    assert await contents(database) == before


async def test_a_running_request_is_not_changed(scene: Scene, program: Program, database: Database) -> None:
    await scene.run("gw-1")
    before = await contents(database)
    done = await program("request", "change", "gw-1", "--reserve-user", "--json", status=INVALID)
    assert done.problems() == {("state", "running")}
    assert await contents(database) == before


async def test_list_shows_each_status(scene: Scene, program: Program) -> None:
    assert (await program("request", "list")).out == "no provision requests\n"
    assert (await program("request", "list", "--json")).json() == []
    await scene.request("gw-0")
    await scene.run("gw-1")
    await scene.provision("gw-2")
    await scene.abandon("gw-3")
    rows = (await program("request", "list", "--json")).json()
    assert [(row["client_id"], row["status"]) for row in rows] == [
        ("gw-0", "OPEN"),
        ("gw-1", "RUNNING"),
        ("gw-2", "PROVISIONED"),
        ("gw-3", "ABANDONED"),
    ]
    assert rows[1] == (await program("request", "show", "gw-1", "--json")).json()
    assert rows[1]["run"].keys() == {
        "number", "state", "wire", "username", "created_at", "ended_at", "failure", "confirm_by",
    }  # fmt: skip
    assert TIME.fullmatch(rows[1]["run"]["confirm_by"])
    table = (await program.process("request", "list")).out.splitlines()
    assert table[0].split("  ")[0] == "account"
    assert table[4].split()[:3] == ["acme", "gw-3", "ABANDONED"]
    assert table[4].rstrip().endswith("1 of 1")
    await program("account", "create", "other")
    assert (await program("request", "list", "--account", "other", "--json")).json() == []
    assert len((await program("request", "list", "--json", PROVISION_ACCOUNT="")).json()) == 4
    assert "status" in (await program("request", "show", "gw-1")).out.splitlines()[2]


async def test_show_of_nothing(command: Program) -> None:
    done = await command("request", "show", "gw-9", "--json", status=INVALID)
    assert (done.out, done.problems()) == ("", {("client_id", "not_found")})
    done = await command.process("request", "show", "gw-9", status=INVALID)
    assert done.err == "client_id: there is no provision request for 'gw-9'\n"
