"""
`make schema`: write sql/schema.sql, the schema as the migrations leave it, which people read first.

It migrates a private cluster that is gone afterwards. What differs between two servers with the same schema (versions,
session settings) is left out, so any Postgres from 15 on writes the same file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from embedded import postgres
from embedded.processes import free_port
from service.db.migrations import Migrator
from service.keys import Secret
from service.paths import SQL

SCHEMA_FILE = SQL / "schema.sql"
HEADER = """\
-- The schema after the last migration: dumped; read first; do not edit; `make schema` writes it.
-- What each table, column and function is for stands in sql/migrations. A role's rights: sql/roles.sql.

"""
# The migrations' own bookkeeping is no part of the schema.
BOOKKEEPING = ("_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock", "migration_checksums")

_HEADING = re.compile(r"^--\n-- (?:Name: |PostgreSQL database dump).*\n--\n\n?", re.MULTILINE)
_NOISE = re.compile(r"^(?:-- Dumped .*|\\(?:un)?restrict .*|SET .*|SELECT pg_catalog\.set_config\(.*)\n", re.MULTILINE)
_POLICY = re.compile(r"^(CREATE POLICY .* TO )(\w+(?:, \w+)+)", re.MULTILINE)


def find_program(name: str, beside: Path | None = None) -> Path | None:
    """A client program of Postgres: beside the server's, else on PATH."""
    if beside is not None and (beside / name).exists():
        return beside / name
    found = shutil.which(name)
    return Path(found) if found else None


def client_environment(url: str) -> dict[str, str]:
    """What lets a client program connect: in its environment, as anybody may read its arguments."""
    words = conninfo_to_dict(url)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    given = {names[word]: str(value) for word, value in words.items() if word in names and value is not None}
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", **given}


def dump(url: str, pg_dump: Path) -> str:
    """The text of sql/schema.sql for the migrated database at `url`."""
    excluded = [f"--exclude-table={name}" for name in BOOKKEEPING]
    done = subprocess.run(
        [str(pg_dump), "--schema-only", *excluded],
        env=client_environment(url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"pg_dump failed:\n{done.stderr[-2000:]}")
    return HEADER + stable(done.stdout)


def stable(text: str) -> str:
    """A dump without what depends on the server and on the day. (pg_dump writes a policy's roles in any order.)"""
    text = _NOISE.sub("", _HEADING.sub("", text))
    text = _POLICY.sub(lambda found: found[1] + ", ".join(sorted(found[2].split(", "))), text)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def main() -> int:
    """Migrate a fresh cluster and write the file."""
    folder = Path(tempfile.mkdtemp(prefix="provisioning-schema-"))
    folder.chmod(0o755)
    binaries = postgres.find_binaries(folder / "binaries")
    pg_dump = find_program("pg_dump", binaries)
    if pg_dump is None:
        shutil.rmtree(folder)
        print("pg_dump was not found: install Debian's `postgresql-client`", file=sys.stderr)
        return 1
    cluster = postgres.Cluster(folder=folder / "postgres", port=free_port(), binaries=binaries, fast=True)
    try:
        cluster.create()
        cluster.start()
        superuser = cluster.url("postgres")
        postgres.create_roles(superuser, {"migrator": cluster.superuser_password()})
        postgres.create_database(superuser, "schema")
        Migrator(Secret(cluster.url("schema", "migrator", cluster.superuser_password()))).up()
        SCHEMA_FILE.write_text(dump(cluster.url("schema"), pg_dump), encoding="utf-8")
    finally:
        if cluster.exists() and cluster.is_running():
            cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
    print(f"wrote {SCHEMA_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
