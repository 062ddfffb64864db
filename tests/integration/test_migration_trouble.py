"""Migrations that fail, that cannot run in a transaction, or that somebody ran with psql."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from embedded.dump_schema import client_environment, find_program
from service.db.levels import files
from service.db.migrations import MigrationFailed, Migrator
from service.keys import Secret
from service.paths import MIGRATIONS
from tests.integration.conftest import Blank
from tests.support.catalog import describe, differences

ALL = [path.stem for path in files()]


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A copy of the migrations to add to."""
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


def add(folder: Path, name: str, text: str, rollback: str = "SELECT 1;\n") -> None:
    """One more migration."""
    (folder / f"{name}.sql").write_text(text)
    (folder / f"{name}.rollback.sql").write_text(rollback)


FAILS = {
    "constraint": (
        "CREATE TABLE of_ours (id bigint);\n\n-- a comment; with a semicolon\nINSERT INTO of_ours VALUES (1);\n"
        "ALTER TABLE of_ours ADD CHECK (id > 1);\n",
        5,
    ),
    "syntax": ("CREATE TABLE of_ours (id bigint);\n\nSELECT 1,\n    2,\n    nonsense FROM;\n", 5),
    "unknown_column": ("CREATE TABLE of_ours (id bigint);\nSELECT\n\n    no_such_column\nFROM of_ours;\n", 4),
    "in_a_function": (
        "CREATE TABLE of_ours (id bigint);\nDO $$\nBEGIN\n    PERFORM 1;\n    RAISE EXCEPTION 'no; never';\nEND\n$$;\n",
        2,
    ),
}


@pytest.mark.parametrize("case", FAILS)
def test_a_failing_file_leaves_nothing_behind(blank: Blank, own_files: Path, case: str) -> None:
    text, line = FAILS[case]
    blank.migrator(directory=own_files).up()
    before = describe(blank.url())
    add(own_files, "0099_fails", text, "DROP TABLE of_ours;\n")
    with pytest.raises(MigrationFailed, match=rf"^0099_fails\.sql:{line}: ") as failed:
        blank.migrator(directory=own_files).up()
    assert "\n" not in str(failed.value)
    assert differences(before, describe(blank.url())) == []
    for table in ("migration_checksums", "_yoyo_migration"):
        assert blank.column(f"SELECT migration_id FROM {table} WHERE migration_id LIKE '0099%'") == []
    (own_files / "0099_fails.sql").write_text("CREATE TABLE of_ours (id bigint);\n")
    assert blank.migrator(directory=own_files).up() == ["0099_fails"]


def test_a_failing_file_keeps_those_before_it(blank: Blank, own_files: Path) -> None:
    add(own_files, "0002_a_failure", "SELECT 1;\nSELECT 1 / 0;\n")
    with pytest.raises(MigrationFailed, match=r"0002_a_failure\.sql:2: division by zero"):
        blank.migrator(directory=own_files).up()
    assert blank.column("SELECT schema_level()") == [ALL[0]]


def test_a_failing_rollback_leaves_everything(blank: Blank, own_files: Path) -> None:
    add(own_files, "0099_stays", "CREATE TABLE of_ours (id bigint);\n", "DROP TABLE of_ours;\nDROP TABLE no_such;\n")
    blank.migrator(directory=own_files).up()
    before = describe(blank.url())
    with pytest.raises(MigrationFailed, match=r"^0099_stays\.rollback\.sql:2: "):
        blank.migrator(directory=own_files).down()
    assert differences(before, describe(blank.url())) == []
    assert blank.column("SELECT count(*) FROM migration_checksums WHERE migration_id = '0099_stays'") == [1]


def test_an_unreachable_database_is_said(blank: Blank) -> None:
    url = blank.url("migrator").replace(f"/{blank.name}", "/no_such_database")
    with pytest.raises(MigrationFailed, match="cannot be reached") as failed:
        Migrator(Secret(url)).up()
    assert blank.server.passwords["migrator"] not in str(failed.value)


CONCURRENTLY = (
    "-- transactional: false\nCREATE INDEX CONCURRENTLY refusals_by_reason ON refusals (reason);\n",
    "-- transactional: false\nDROP INDEX CONCURRENTLY refusals_by_reason;\n",
)


def test_an_index_may_be_built_concurrently(blank: Blank, own_files: Path) -> None:
    blank.migrator(directory=own_files).up()
    before = describe(blank.url())
    add(own_files, "0099_index", *CONCURRENTLY)
    migrator = blank.migrator(directory=own_files)
    assert migrator.up() == ["0099_index"]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('refusals_by_reason')"
    assert blank.column(valid) == [True]
    assert [status.id for status in migrator.status() if status.applied_at] == [*ALL, "0099_index"]
    assert migrator.down() == ["0099_index"]
    assert differences(before, describe(blank.url())) == []


def psql(blank: Blank, path: Path) -> None:
    """Run one file as an operator would."""
    folder = blank.server.cluster.binaries if blank.server.cluster else None
    program = find_program("psql", folder)
    assert program is not None, "psql was not found, neither beside the server's programs nor on PATH"
    subprocess.run(
        [str(program), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(path)],
        env=client_environment(blank.url("migrator")),
        stdin=subprocess.DEVNULL,
        check=True,
    )


def test_files_that_psql_ran_can_be_adopted(blank: Blank) -> None:
    for path in files():
        psql(blank, path)
    by_hand = describe(blank.url())
    assert "is not applied" in "".join(blank.migrator().verify())
    assert blank.migrator().adopt() == ALL
    assert blank.migrator().verify() == []
    assert blank.migrator().up() == []
    assert blank.migrator().adopt() == []
    blank.migrator().down(steps=len(ALL))
    blank.migrator().up()
    assert differences(by_hand, describe(blank.url())) == []


def test_some_files_that_psql_ran_can_be_adopted(blank: Blank) -> None:
    for path in files()[:3]:
        psql(blank, path)
    assert blank.migrator().adopt() == ALL[:3]
    assert blank.migrator().up() == ALL[3:]


def test_psql_takes_back_what_the_migrator_applied(blank: Blank) -> None:
    blank.migrator().up()
    for path in reversed(files()):
        psql(blank, path.with_suffix(".rollback.sql"))
    empty = describe(blank.url())
    assert (empty["columns"], empty["functions"]) == ([], [])


def test_nothing_is_adopted_where_nothing_was_run(blank: Blank) -> None:
    assert blank.migrator().adopt() == []
    assert blank.migrator().up() == ALL
