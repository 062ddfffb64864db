"""`python -m service migrate up | down | status | verify | adopt`: what they print, how they end."""

from __future__ import annotations

import pytest

from service.cli.migrate import migrate
from service.db.levels import files
from tests.integration.conftest import Blank
from tests.support.command import FAILED, INVALID, TIME, UNREACHABLE, Program, elsewhere, leaves, migrator

ALL = [path.stem for path in files()]
EVERY = [(*words, *(["--yes"] if words == ("down",) else [])) for words in leaves(migrate)]


@pytest.fixture
def command(blank: Blank) -> Program:
    """The command on an empty database."""
    return migrator(blank.url("migrator"))


def level(blank: Blank) -> list[str]:
    return [row[0] for row in blank.fetch("SELECT schema_level()")]


async def test_up(blank: Blank, command: Program) -> None:
    done = await command.process("up", "--to", ALL[1])
    assert (done.out.splitlines(), done.err) == ([f"applied {name}" for name in ALL[:2]], "")
    assert (await command("up", "--json")).json() == {"applied": ALL[2:]}
    assert (await command("up")).out == "nothing to apply\n"
    assert (await command("up", "--json")).json() == {"applied": []}
    assert level(blank) == [ALL[-1]]


async def test_down_wants_a_yes(blank: Blank, command: Program) -> None:
    await command("up")
    unsure = await command.process("down", status=INVALID)
    assert "This deletes what the migrations made, with its data." in unsure.err
    both = await command("down", "--yes", "--steps", "2", "--to", ALL[1], status=INVALID)
    assert "--steps or --to, not both" in both.err
    await command("down", "--yes", "--steps", "0", status=INVALID)
    assert level(blank) == [ALL[-1]]
    assert (await command("down", "--yes")).out == f"took back {ALL[-1]}\n"
    assert (await command("down", "--yes", "--to", ALL[-4], "--json")).json() == {"taken_back": ALL[-2:-4:-1]}
    await command("down", "--yes", "--steps", "100")
    assert (await command("down", "--yes")).out == "nothing to take back\n"
    assert (await command("down", "--yes", "--json")).json() == {"taken_back": []}


async def test_down_asks_at_the_terminal(blank: Blank, command: Program) -> None:
    await command("up", "--to", ALL[0])
    done = await command.at_terminal("down", typed=["n"])
    assert (done.status, level(blank)) == (FAILED, [ALL[0]])
    done = await command.at_terminal("down", typed=["y"])
    assert (done.status, done.out.splitlines()[-1]) == (0, f"took back {ALL[0]}")


async def test_status(command: Program) -> None:
    await command("up", "--to", ALL[0])
    rows = (await command("status", "--json")).json()
    assert [row["migration"] for row in rows] == ALL
    assert all(row.keys() == {"migration", "applied_at", "applied_by", "remark"} for row in rows)
    assert TIME.fullmatch(rows[0]["applied_at"])
    assert rows[0]["applied_by"] == "provisioning_migrator"
    assert rows[1] == {"migration": ALL[1], "applied_at": None, "applied_by": None, "remark": None}
    lines = (await command.process("status")).out.splitlines()
    assert len(lines) == 1 + len(ALL)
    assert lines[2].split() == [ALL[1], "-", "-", "-"]


async def test_verify(blank: Blank, command: Program) -> None:
    done = await command.process("verify", status=FAILED)
    assert done.out == ""
    assert done.err.splitlines()[:-1] == [f"{name}: is not applied" for name in ALL]
    assert (await command("verify", "--json", status=FAILED)).json() == {"problems": done.err.splitlines()}
    await command("up")
    assert (await command("verify")).out == "the database is as the files say\n"
    assert (await command("verify", "--json")).json() == {"problems": []}
    blank.fetch(f"UPDATE migration_checksums SET sha256 = 'another' WHERE migration_id = '{ALL[0]}'")
    assert (await command("verify", status=FAILED)).err == f"{ALL[0]}: was edited after it was applied\n"
    assert "edited since" in (await command("status")).out
    assert "write a new migration instead" in (await command("up", status=FAILED)).err


async def test_adopt(blank: Blank, command: Program) -> None:
    assert (await command("adopt")).out == "nothing to note\n"
    await command("up")
    blank.fetch("DELETE FROM migration_checksums; DELETE FROM _yoyo_migration")
    done = await command.process("adopt")
    assert done.out.splitlines() == [f"noted as applied: {name}" for name in ALL]
    assert (await command("adopt", "--json")).json() == {"noted": []}
    assert (await command("verify")).out == "the database is as the files say\n"


async def test_nobody_at_the_databases_port(blank: Blank) -> None:
    """Exit status 4 and one line, as of every other command."""
    away = migrator(elsewhere(blank.url("migrator")))
    for words in EVERY:
        done = await away(*words, status=UNREACHABLE)
        assert done.out == ""
        assert done.err.startswith("Error: the database does not answer: connection failed: ")
        assert done.err.endswith("(PROVISION_MIGRATOR_DATABASE_URL)\n")
    await away.process("status", status=UNREACHABLE)


async def test_a_database_that_turns_us_away(blank: Blank) -> None:
    password = blank.server.passwords["migrator"]
    for url in (
        blank.url("migrator").replace(f"/{blank.name}", "/no_such_database"),
        blank.url("migrator").replace(password, "canary"),
    ):
        done = await migrator(url)("status", status=UNREACHABLE)
        assert "canary" not in done.err
        assert password not in done.err


async def test_a_role_without_the_right_is_refused(blank: Blank) -> None:
    done = await migrator(blank.url("hooks"))("up", status=FAILED)
    assert "permission denied" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("url", ["", "postgresql://u:canary@h:port/db", "postgresql://u:can/ary@h/db", "canary"])
async def test_a_setting_that_is_missing_or_wrong(url: str) -> None:
    for words in EVERY:
        done = await migrator(url)(*words, status=INVALID)
        assert done.err.startswith("PROVISION_MIGRATOR_DATABASE_URL: must be ")
        assert "can" not in done.err


async def test_every_command_prints_json_and_explains_itself() -> None:
    for words, command in leaves(migrate).items():
        assert "as_json" in [parameter.name for parameter in command.params], words
        assert command.help, words
