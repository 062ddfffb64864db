"""A backup as its own role is whole, and comes back as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from embedded.dump_schema import client_environment, find_program
from embedded.postgres import create_database
from service.db.levels import files
from tests.integration.conftest import Blank
from tests.support import postgres
from tests.support.catalog import describe, differences
from tests.support.database import Database, new_name
from tests.support.scene import Scene


def program(server: postgres.Server, name: str) -> Path:
    """A client program that can read the server."""
    found = find_program(name, server.cluster.binaries if server.cluster else None)
    assert found is not None, f"{name} was not found, neither beside the server's programs nor on PATH"
    return found


def run(server: postgres.Server, name: str, url: str, *arguments: str) -> str:
    """Its output."""
    done = subprocess.run(
        [str(program(server, name)), *arguments],
        env=client_environment(url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def rows(database: Database) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {
        name: sorted(row[0] for row in await database.fetch(f"SELECT t::text FROM {name} t"))
        for name in (table["tablename"] for table in tables)
    }


async def test_a_backup_comes_back(scene: Scene, tmp_path: Path) -> None:
    server, database = scene.database.server, scene.database
    await scene.provision("gw-1", generate_activation_key=True)
    await scene.request("gw-2")
    dump = tmp_path / "dump.sql"
    dump.write_text(run(server, "pg_dump", database.url("backup").reveal()))
    name = new_name("restored")
    create_database(server.superuser_url, name)
    try:
        restored = Database(server=server, name=name, event_key=database.event_key)
        run(server, "psql", restored.url().reveal(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(dump))
        assert await rows(restored) == await rows(database)
        assert differences(describe(database.url().reveal()), describe(restored.url().reveal())) == []
        await restored.check_invariants()
    finally:
        postgres.drop_database(server, name)


@pytest.mark.parametrize("with_psql", [False, True])
def test_the_backup_role_reads_every_table(blank: Blank, with_psql: bool) -> None:
    """Also the migrations' bookkeeping, however it came there."""
    if with_psql:
        for path in files():
            run(blank.server, "psql", blank.url("migrator"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(path))
        blank.migrator().adopt()
    else:
        blank.migrator().up()
    assert "migration_checksums" in run(blank.server, "pg_dump", blank.url("backup"))
