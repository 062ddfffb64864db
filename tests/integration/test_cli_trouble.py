"""The `provision` command where something is wrong: no database, another schema, no settings, hostile names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from service.cli.faces import ON_THIS_MACHINE
from service.cli.main import main
from service.cli.migrate import migrate
from service.db.levels import expected_level
from service.operations import events
from service.operations.administration import Administration
from tests.integration.conftest import Blank
from tests.support.command import DONE, FAILED, INVALID, UNREACHABLE, Program, contents, elsewhere, leaves, provision
from tests.support.database import PASSWORD, Database, make_account, make_request
from tests.support.desk import ask
from tests.support.scene import PROVISION, Scene

# Arguments for every command that asks the database.
VECTORS = Path(__file__).resolve().parents[1] / "vectors"
ARGUMENTS: Mapping[tuple[str, str], Sequence[str]] = {
    ("account", "create"): ("acme",),
    ("account", "list"): (),
    ("account", "show"): ("acme",),
    ("account", "change"): ("acme", "--mandatory-provisioning"),
    ("account", "disable"): ("acme",),
    ("account", "enable"): ("acme",),
    ("broker", "create"): ("a-broker", "--role", "account"),
    ("broker", "list"): (),
    ("broker", "change"): ("a-broker", "--no-ca"),
    ("broker", "serve"): ("a-broker", "acme"),
    ("broker", "unserve"): ("a-broker", "acme", "--yes"),
    ("broker", "rotate"): ("a-broker",),
    ("token", "create"): ("ci-token", "--role", "auditor"),
    ("token", "list"): (),
    ("token", "revoke"): ("ci-token",),
    ("user", "create"): ("alice",),
    ("user", "list"): (),
    ("user", "grant"): ("alice", "data:view"),
    ("user", "disable"): ("alice",),
    ("user", "enable"): ("alice",),
    ("user", "delete"): ("alice", "--yes"),
    ("credential", "list"): (),
    ("credential", "show"): ("factory-gw-1",),
    ("credential", "rotate"): ("factory-gw-1",),
    ("credential", "finish"): ("factory-gw-1",),
    ("credential", "hold"): ("factory-gw-1",),
    ("credential", "lift"): ("factory-gw-1",),
    ("credential", "watch"): ("factory-gw-1", "--hold"),
    ("request", "create"): ("gw-1", "--username", "factory-gw-1"),
    ("request", "change"): ("gw-1", "--reserve-user"),
    ("request", "list"): (),
    ("request", "preview"): ("gw-1", "--diff", "gw-1"),
    ("request", "import"): (str(VECTORS / "import.csv"), "--dry-run"),
    ("request", "show"): ("gw-1",),
    ("request", "enable"): ("gw-1",),
    ("request", "disable"): ("gw-1",),
    ("request", "stop"): ("gw-1",),
    ("request", "reopen"): ("gw-1", "--yes"),
    ("request", "delete"): ("gw-1", "--yes"),
    ("request", "explain"): ("gw-1",),
    ("device", "list"): (),
    ("device", "release"): ("gw-1", "--to", "globex"),
    ("device", "releases"): (),
    ("device", "show"): ("gw-1",),
    ("device", "connection"): ("gw-1", "--coupling", "LOOSE"),
    ("device", "connection-delete"): ("gw-1", "--yes"),
    ("device", "delete"): ("gw-1", "--yes"),
    ("device", "disable"): ("gw-1",),
    ("device", "enable"): ("gw-1",),
    ("service", "responder-password"): (),
    ("recovery", "show"): (),
    ("recovery", "report"): ("--since", "2020-01-01"),
    ("issuing", "show"): (),
    ("issuing", "stop"): (),
    ("issuing", "start"): (),
    ("events", "list"): (),
    ("events", "verify"): (),
    ("events", "checkpoint"): (),
    ("events", "drop"): ("--before", "2020-01", "--yes"),
    ("recovery", "accept"): ("--yes",),
}
EVERY = [[*words, *arguments] for words, arguments in ARGUMENTS.items()]
URLS = ("PROVISION_ADMIN_DATABASE_URL", "PROVISION_PLATFORM_DATABASE_URL")
HOSTILE = "\x1b[31mred\x1b[2J\x9b2J[bold]x[/] [/nothing] \\[red] :cat: \u202e\n\rforged"


def test_the_commands_above_are_all_of_them() -> None:
    assert set(leaves(main)) - set(ARGUMENTS) == set(ON_THIS_MACHINE)


def test_what_asks_no_server_says_so_by_name() -> None:
    """On the command line; a setting alone is no mistake. `migrate` says the same."""
    for words in ON_THIS_MACHINE:
        leaf = leaves(main)[words]
        arguments = {"file": __file__, "string": "x", "text": "x", "path": __file__, "integer": "1"}
        given: list[str] = []
        for parameter in leaf.params:
            if parameter.required:
                value = arguments.get(parameter.type.name, "x")
                given += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
        done = CliRunner().invoke(main, ["--server", "https://api.example", *words, *given])
        assert done.exit_code == INVALID, (words, done.output)
        assert f"{' '.join(words)} {ON_THIS_MACHINE[words]}" in done.output, done.output
    assert (
        CliRunner().invoke(main, ["key", "create"], env={"PROVISION_SERVER": "https://api.example"}).exit_code == DONE
    )
    done = CliRunner().invoke(migrate, ["--server", "https://api.example", "status"])
    assert done.exit_code == INVALID
    assert "migrate works on the database alone" in done.output


def test_every_command_prints_json_and_explains_itself() -> None:
    for words, command in leaves(main).items():
        assert "as_json" in [parameter.name for parameter in command.params], words
        assert command.help, words
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.help, (words, parameter)


@pytest.mark.parametrize("as_json", [False, True])
async def test_nobody_at_the_databases_port(database: Database, as_json: bool) -> None:
    """Exit status 4 and one line that names the settings to look at."""
    away = {
        name: elsewhere(database.url(role).reveal()) for name, role in zip(URLS, ("admin", "platform"), strict=True)
    }
    command = provision(database, PROVISION_PASSWORD=PASSWORD, **away)
    for words in EVERY:
        done = await command(*words, *(["--json"] if as_json else []), status=UNREACHABLE)
        assert done.out == ""
        assert done.err.startswith("Error: the database does not answer: Connect call failed ('127.0.0.1', 1)")
        assert "PROVISION_PLATFORM_DATABASE_URL" in done.err
    done = await command.process("account", "list", status=UNREACHABLE)
    assert "Connect call failed" in done.err


async def test_only_one_of_the_databases_is_away(admin: Administration, database: Database) -> None:
    await make_account(admin)
    command = provision(database, PROVISION_ADMIN_DATABASE_URL=elsewhere(database.url("admin").reveal()))
    await command("user", "create", "alice", status=UNREACHABLE)


async def test_a_database_that_turns_us_away(database: Database) -> None:
    """A wrong password, a database that is not there."""
    url = database.url("platform").reveal()
    wrong = re.sub(r":[^:@/]+@", ":canary@", url)
    done = await provision(database, PROVISION_PLATFORM_DATABASE_URL=wrong)("account", "list", status=UNREACHABLE)
    assert "password authentication failed" in done.err
    assert "canary" not in done.err
    gone = url.replace(database.name, "no_such_database")
    done = await provision(database, PROVISION_PLATFORM_DATABASE_URL=gone)("account", "list", status=UNREACHABLE)
    assert "no_such_database" in done.err


async def test_a_role_without_the_right_is_refused(database: Database) -> None:
    hooks = database.url("hooks").reveal()
    command = provision(database, PROVISION_PLATFORM_DATABASE_URL=hooks)
    done = await command("account", "list", status=FAILED)
    assert done.err == "Error: the database refused: InsufficientPrivilegeError\n"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:canary@127.0.0.1:port/db",
        "postgresql://u:can/ary@127.0.0.1:5432/db",
        "postgresql://u:canary@[::1/db",
        "mysql://u:canary@127.0.0.1/db",
    ],
)
async def test_a_databases_url_that_is_not_understood(database: Database, url: str) -> None:
    """Said without a word of it: it holds a password."""
    for name in URLS:
        done = await provision(database, **{name: url})("account", "list", status=INVALID)
        assert done.err.startswith(f"{name}: must be ")
        assert "can" not in done.err


async def test_a_databases_url_with_a_wrong_parameter(database: Database) -> None:
    url = database.url("platform").reveal() + "?sslmode=canary"
    done = await provision(database, PROVISION_PLATFORM_DATABASE_URL=url)("account", "list", status=INVALID)
    assert "a database's URL has a parameter that is not understood" in done.err
    assert "canary" not in done.err


async def test_an_url_of_several_hosts_is_understood(database: Database) -> None:
    url = database.url("platform").reveal()
    several = re.sub(r"@([^/]+)/", r"@127.0.0.1:1,\1/", url)
    await provision(database, PROVISION_PLATFORM_DATABASE_URL=several)("account", "list")


async def test_settings_that_are_missing_are_all_named(database: Database) -> None:
    bare = Program(name="cli", environment={})
    for words in EVERY:
        done = await bare(*words, "--account" if "--account" in words else "--json", status=INVALID, **NAMED)
        assert done.out == ""
        assert {field for field, _ in done.problems()} == {
            *URLS,
            "PROVISION_EVENT_KEY",
            "PROVISION_SEALING_KEYS",
        }
    done = await bare.process(
        "account", "list", status=INVALID, PROVISION_EVENT_KEY="canary", PROVISION_BCRYPT_COST="99"
    )
    assert [line.split(":")[0] for line in done.err.splitlines()] == [
        *URLS,
        "PROVISION_EVENT_KEY",
        "PROVISION_SEALING_KEYS",
        "PROVISION_BCRYPT_COST",
    ]
    assert "canary" not in done.err


NAMED = {"PROVISION_ACCOUNT": "acme", "PROVISION_PASSWORD": PASSWORD}


@pytest.mark.parametrize(
    ("level", "advice"),
    [
        ("0003_devices", "run `python -m service migrate up`"),
        ("9999_later", f"run `python -m service migrate down --to {expected_level()}`"),
    ],
)
async def test_another_schema_level_says_what_to_run(database: Database, level: str, advice: str) -> None:
    await database.execute(
        f"CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '{level}' $$"
    )
    command = provision(database, PROVISION_PASSWORD=PASSWORD)
    for words in EVERY:
        done = await command(*words, status=FAILED)
        assert done.out == ""
        assert done.err == (
            f"Error: the database's schema is at {level}, this program needs {expected_level()}: {advice}\n"
        )


async def test_a_database_without_a_schema(blank: Blank, database: Database) -> None:
    urls = {name: blank.url(role) for name, role in zip(URLS, ("admin", "platform"), strict=True)}
    done = await provision(database, **urls).process("account", "list", status=FAILED)
    assert "the database's schema is at nothing" in done.err
    assert "run `python -m service migrate up`" in done.err


def is_harmless(text: str) -> bool:
    """Whether it moves no cursor, changes no colour, and begins no line that is not ours."""
    return all(character.isprintable() or character == "\n" for character in text) and "\nforged" not in text


async def test_hostile_arguments_stay_text(admin: Administration, database: Database) -> None:
    """Names that no rule allows, in every place that takes a name: refused, and quoted harmlessly."""
    await make_account(admin)
    command = provision(database, PROVISION_PASSWORD=PASSWORD)
    before = await contents(database)
    hostile = HOSTILE.replace("\n", " ")
    for words, arguments in ARGUMENTS.items():
        changed = [hostile if word in ("acme", "gw-1", "alice", "a-broker") else word for word in arguments]
        if changed != list(arguments) and words != ("request", "explain"):
            for as_json in ((), ("--json",)):
                done = await command(*words, *changed, *as_json, status=INVALID)
                assert is_harmless(done.out + done.err), (words, done)
        else:
            done = await command(*words, *changed, "--account", hostile, status=INVALID)
            assert is_harmless(done.out + done.err), (words, done)
    for strange in (["request", hostile], ["request", "show", "a", hostile], ["request", "show", f"--{hostile}"]):
        done = await command(*strange, status=INVALID)
        assert is_harmless(done.err), done
        assert "[bold]x[/]" in done.err
    assert (await contents(database)) == before


async def test_hostile_names_at_a_terminal_stay_text(database: Database) -> None:
    command = provision(database, PROVISION_ACCOUNT="")
    for words in (["request", "explain", HOSTILE], ["device", "show", HOSTILE], [HOSTILE]):
        done = await command.at_terminal(*words, columns=500)
        ours = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
        assert is_harmless(ours), done
        assert r"\x1b[31mred\x1b[2J\x9b2J[bold]x[/] [/nothing]" in ours.replace("\\\\", "\\")
        assert "\x1b[31mred" not in done.out
        assert ":cat:" in ours


async def test_hostile_deletions_are_asked_harmlessly(admin: Administration, database: Database) -> None:
    await make_account(admin)
    done = await provision(database).at_terminal("request", "delete", HOSTILE, typed=["n"], columns=500)
    assert is_harmless(re.sub(r"\x1b\[[0-9;]*m", "", done.out))
    assert "[bold]x[/]" in done.out


async def test_hostile_strangers_are_explained_harmlessly(scene: Scene, database: Database) -> None:
    """What a device said of itself, and names under which strangers knocked."""
    await scene.request()
    await ask(scene.desk, "gw-1", device={"serial": HOSTILE, "model": "[/]"})
    await scene.gate.connect(PROVISION, HOSTILE, "Some-Password", "gw-1")
    await scene.gate.store.count_refusals(scene.gate.admission.refusals.take())
    async with scene.admin.platform_transaction() as connection:
        author = scene.admin.author
        detail: dict[str, Any] = {"[red]\x1b[31m": HOSTILE}
        await events.append(connection, author, "tested", client_id="gw-1", reason=HOSTILE, **detail)
    command = provision(database, PROVISION_ACCOUNT="")
    done = await command("request", "explain", "gw-1")
    assert is_harmless(done.out)
    assert done.out.count(r"\x1b[31mred\x1b[2J\x9b2J[bold]x[/] [/nothing] \[red] :cat: \u202e") == 2
    assert r'device={"model": "[/]", "serial": "\u001b[31mred' in done.out
    as_json = await command("request", "explain", "gw-1", "--json")
    assert as_json.out.isascii()
    assert is_harmless(as_json.out)
    assert HOSTILE in [row["reason"] for row in as_json.json()]


async def test_an_output_that_cannot_show_a_character(scene: Scene, database: Database) -> None:
    await scene.request()
    await ask(scene.desk, "gw-1", device={"serial": "Zähler-数"})
    done = await provision(database).process("request", "explain", "gw-1", PYTHONIOENCODING="ascii")
    assert "run_started" in done.out
    assert "serial" in done.out


async def test_arguments_that_are_not_utf_8(admin: Administration, database: Database) -> None:
    """Not understood, and not as if the database were away."""
    await make_account(admin)
    command = provision(database)
    for words in (["request", "explain"], ["device", "show"], ["account", "disable"]):
        done = await command.process(*words, os.fsdecode(b"\xff\xfe"), status=INVALID)
        assert "a value is not UTF-8 text, or out of range" in done.err


@pytest.mark.parametrize(
    ("stream", "words", "status"),
    [
        (0, ("request", "delete", "gw-1"), INVALID),
        (0, ("request", "create", "gw-2", "--username", "factory-gw-2", "--configuration", "-"), INVALID),
        (1, ("account", "list"), DONE),
        (2, ("request", "show", "gw-9"), INVALID),
    ],
)
async def test_closed_streams(
    admin: Administration, database: Database, stream: int, words: Sequence[str], status: int
) -> None:
    """As under some schedulers: no traceback, and the exit status says what happened."""
    await make_account(admin)
    await make_request(admin)
    process = provision(database).started(*words, preexec_fn=lambda: os.close(stream))
    _, err = process.communicate()
    assert (process.returncode, b"Traceback" in err) == (status, False), err


async def test_a_reader_that_went_away(admin: Administration, database: Database, tmp_path: Path) -> None:
    """`provision request list | head -1`."""
    await make_account(admin)
    await make_request(admin)
    command = provision(database)
    for words in (["request", "list"], ["request", "list", "--json"], ["request", "show", "gw-1"]):
        ours, theirs = os.pipe()
        os.close(ours)
        process = command.started(*words, stdout=theirs)
        os.close(theirs)
        _, err = process.communicate()
        assert b"Traceback" not in err
        assert b"BrokenPipe" not in err


async def test_the_actor_is_the_operating_systems_user(admin: Administration, database: Database) -> None:
    """Whatever the environment says of it."""
    import pwd

    await provision(database).process("account", "create", "acme", LOGNAME="somebody", USER="somebody")
    actor = await database.value("SELECT actor FROM events WHERE kind = 'account_created'")
    assert actor == pwd.getpwuid(os.getuid()).pw_name
