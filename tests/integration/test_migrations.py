"""Migrations up, down, twice, at once, and what their bookkeeping notices."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from service.db.levels import expected_level, files
from service.db.migrations import LOCK, MigrationFailed, checksum
from service.paths import MIGRATIONS
from tests.integration.conftest import Blank
from tests.support.catalog import describe, differences

ROOT = Path(__file__).resolve().parents[2]
ALL = [path.stem for path in files()]
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A copy of the migrations to change."""
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


def test_up_from_nothing_and_again(blank: Blank) -> None:
    assert blank.migrator().up() == ALL
    assert blank.migrator().verify() == []
    before = describe(blank.url())
    assert blank.migrator().up() == []
    assert differences(before, describe(blank.url())) == []
    assert blank.column("SELECT schema_level()") == [ALL[-1]]
    assert [status.id for status in blank.migrator().status()] == ALL
    assert all(s.applied_at and s.applied_by == "provisioning_migrator" for s in blank.migrator().status())


def test_up_to_a_migration_and_on(blank: Blank) -> None:
    assert blank.migrator().up(to=ALL[2]) == ALL[:3]
    assert blank.column("SELECT schema_level()") == [ALL[2]]
    problems = blank.migrator().verify()
    assert [f"{name}: is not applied" for name in ALL[3:]] == problems[:-1]
    assert problems[-1] == f"schema_level() is {ALL[2]}, the files end at {ALL[-1]}"
    assert blank.migrator().up() == ALL[3:]


def test_down_to_nothing_and_up_again(blank: Blank) -> None:
    blank.migrator().up()
    full = describe(blank.url())
    assert blank.migrator().down(steps=len(ALL)) == ALL[::-1]
    empty = describe(blank.url())
    for what in ("columns", "constraints", "indexes", "triggers", "policies", "functions"):
        assert empty[what] == [], f"{what} that the rollbacks leave behind"
    assert blank.column("SELECT count(*) FROM migration_checksums") == [0]
    assert blank.migrator().down() == []
    assert blank.migrator().up() == ALL
    assert differences(full, describe(blank.url())) == []


@pytest.mark.parametrize("steps", range(1, len(ALL)))
def test_each_rollback_leaves_what_was_before(blank: Blank, steps: int) -> None:
    blank.migrator().up(to=ALL[steps - 1])
    before = describe(blank.url())
    blank.migrator().up(to=ALL[steps])
    assert blank.migrator().down() == [ALL[steps]]
    after = describe(blank.url())
    for description in (before, after):  # what isolation closed to everybody need not be opened again
        description["functions"] = [
            (*row[:-1], str(row[-1]).replace(" PUBLIC=EXECUTE", "")) for row in description["functions"]
        ]
    assert differences(before, after) == []


@pytest.mark.parametrize("wrong", ["0003", "0005_event", "nothing_like_it"])
def test_a_name_that_is_no_migration_is_refused(blank: Blank, wrong: str) -> None:
    """A slip of the pen must not delete a table: `down --to 0005` would else take back 0005_events as well."""
    blank.migrator().up()
    with pytest.raises(MigrationFailed, match=wrong):
        blank.migrator().down(to=wrong)
    assert blank.column("SELECT schema_level()") == [ALL[-1]]
    with pytest.raises(MigrationFailed, match=wrong):
        blank.migrator().up(to=wrong)


@pytest.mark.parametrize("how_many", [2, 4])
def test_several_migrators_at_once_are_safe(blank: Blank, how_many: int) -> None:
    command = [sys.executable, "-m", "service", "migrate", "up"]
    environment = {"PATH": "/usr/bin:/bin", "PROVISION_MIGRATOR_DATABASE_URL": blank.url("migrator")}
    started = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(how_many)
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * how_many, said
    assert sorted("".join(said).splitlines()) == sorted(
        [f"applied {name}" for name in ALL] + ["nothing to apply"] * (how_many - 1)
    )
    assert blank.migrator().verify() == []


def test_two_migrators_in_one_process_are_safe(blank: Blank) -> None:
    with ThreadPoolExecutor(2) as threads:
        started = [threads.submit(lambda: blank.migrator().up()) for _ in range(2)]
    assert sorted(future.result() for future in started) == [[], ALL]


def test_a_second_migrator_gives_up_with_a_message(blank: Blank) -> None:
    with psycopg.connect(blank.url()) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        with pytest.raises(MigrationFailed, match="another migration is running"):
            blank.migrator(lock_timeout=0.3).up()
    assert blank.migrator().up() == ALL


def test_a_killed_migrator_blocks_nobody(blank: Blank) -> None:
    """Killed in the middle of a migration, it leaves a row in yoyo's lock table, and half of nothing."""
    blank.migrator().up(to=ALL[4])
    with psycopg.connect(blank.url()) as other:
        other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")  # what 0006 waits for
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "migrate", "up"],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "PROVISION_MIGRATOR_DATABASE_URL": blank.url("migrator")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
            while not blank.fetch(waiting):
                assert process.poll() is None
        finally:
            process.kill()
            process.wait()
    assert blank.column("SELECT count(*) FROM yoyo_lock") == [1]
    assert blank.migrator().up() == ALL[5:]
    assert blank.column("SELECT count(*) FROM yoyo_lock") == [0]
    assert blank.migrator().verify() == []


def test_a_strangers_row_in_the_lock_table_blocks_nobody(blank: Blank) -> None:
    blank.migrator().up(to=ALL[0])
    blank.fetch("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 999999)")
    assert blank.migrator().up() == ALL[1:]


def test_looking_changes_nothing(blank: Blank) -> None:
    assert [status.applied_at for status in blank.migrator().status()] == [None] * len(ALL)
    assert len(blank.migrator().verify()) == len(ALL) + 1
    assert blank.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


@pytest.mark.parametrize("suffix", [".sql", ".rollback.sql"])
def test_an_edited_file_is_noticed(blank: Blank, own_files: Path, suffix: str) -> None:
    blank.migrator(directory=own_files).up(to=ALL[-2])
    edited = own_files / f"{ALL[1]}{suffix}"
    edited.write_text(edited.read_text() + "\n-- a thought that came later\n")
    migrator = blank.migrator(directory=own_files)
    assert [status.id for status in migrator.status() if status.edited] == [ALL[1]]
    assert f"{ALL[1]}: was edited after it was applied" in migrator.verify()
    with pytest.raises(MigrationFailed, match=f"{ALL[1]}: was edited"):
        migrator.up()
    assert blank.column("SELECT schema_level()") == [ALL[-2]]
    assert blank.migrator().up() == [ALL[-1]]


def test_a_missing_file_is_noticed(blank: Blank, own_files: Path) -> None:
    blank.migrator().up()
    for path in own_files.glob(f"{ALL[-1]}*"):
        path.unlink()
    migrator = blank.migrator(directory=own_files)
    assert [status.id for status in migrator.status() if status.missing] == [ALL[-1]]
    assert f"{ALL[-1]}: was applied, but has no file here" in migrator.verify()


@pytest.mark.parametrize("path", files(), ids=ALL)
def test_files_say_their_level(path: Path) -> None:
    """What `schema_level()` returns after a file, and after its rollback."""
    assert re.fullmatch(r"\d{4}_[a-z0-9_]+", path.stem)
    number = ALL.index(path.stem)
    assert int(path.stem[:4]) == number + 1
    level = re.compile(r"FUNCTION schema_level\(\) .* AS \$\$ SELECT '([^']+)' \$\$")
    assert level.findall(path.read_text()) == [path.stem]
    rollback = path.with_suffix(".rollback.sql")
    assert level.findall(rollback.read_text()) == ALL[number - 1 : number]
    for file in (path, rollback):
        assert "SET lock_timeout" in file.read_text()


def test_every_sql_file_is_a_migration_or_its_rollback() -> None:
    found = {path.name for path in MIGRATIONS.iterdir()}
    assert found == {f"{name}{suffix}" for name in ALL for suffix in (".sql", ".rollback.sql")}
    assert expected_level() == ALL[-1]
    assert len({checksum(path) for path in files()}) == len(ALL)
