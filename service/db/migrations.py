"""
Migrations: plain SQL files that psql can run too, applied by yoyo in order, each with its bookkeeping.

Ours are the check that an applied file was not edited, the place of an error, and an advisory lock around yoyo's own:
a session lock goes with its process, so a killed migrator blocks nobody.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yoyo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import Migration, MigrationList, default_migration_table

from service.db.levels import expected_level, files
from service.keys import Secret
from service.paths import MIGRATIONS

LOCK = 7_305_808_868_114_243_950  # any number, ours alone
LOCK_PAUSE = 0.2


class MigrationFailed(Exception):
    """A migration cannot be applied or taken back. The message names file, line and cause; nothing of it remains."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """One migration: whether it is applied, and whether its file is still what was applied."""

    id: str
    applied_at: str | None
    applied_by: str | None
    edited: bool = False
    missing: bool = False


def checksum(path: Path) -> str:
    """SHA-256 of a migration and of its rollback."""
    rollback = path.with_suffix(".rollback.sql")
    content = path.read_bytes() + b"\0" + (rollback.read_bytes() if rollback.exists() else b"")
    return hashlib.sha256(content).hexdigest()


class _Cursor(psycopg.Cursor[Any]):
    """Remembers the statement that failed, which is all that yoyo keeps from us."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> _Cursor:
        try:
            return super().execute(query, params, **options)
        except psycopg.Error as error:
            error.failed_statement = str(query)  # type: ignore[attr-defined]
            raise


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's backend, with a migration's steps and its bookkeeping on one connection, so in one transaction."""

    def connect(self, dburi: Any) -> Any:
        connection = super().connect(dburi)
        connection.cursor_factory = _Cursor
        return connection

    def init_database(self) -> None:
        self.has_transactional_ddl = True
        self.execute(self.format_sql(self.create_lock_table_sql).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
        self.execute(
            "CREATE TABLE IF NOT EXISTS migration_checksums (migration_id text PRIMARY KEY, sha256 text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), applied_by text NOT NULL DEFAULT session_user)"
        )
        self.ensure_internal_schema_updated()

    def copy(self) -> AbstractContextManager[_Backend]:
        return nullcontext(self)

    def _whole(self, migration: Migration) -> AbstractContextManager[Any]:
        migration.load()
        whole: AbstractContextManager[Any] = self.transaction() if migration.use_transactions else nullcontext()
        return whole

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        with self._whole(migration):
            super().apply_one(migration, force, mark)
            self.note_checksum(migration)

    def rollback_one(self, migration: Migration, force: bool = False) -> None:
        with self._whole(migration):
            super().rollback_one(migration, force)
            self.execute("DELETE FROM migration_checksums WHERE migration_id = :id", {"id": migration.id})

    def note_checksum(self, migration: Migration) -> None:
        self.execute(
            "INSERT INTO migration_checksums (migration_id, sha256) VALUES (:id, :sha256)",
            {"id": migration.id, "sha256": checksum(Path(migration.path))},
        )


class Migrator:
    """Applies and takes back the files of one directory. Two at once take turns."""

    def __init__(self, url: Secret, directory: Path = MIGRATIONS, *, lock_timeout: float = 60.0) -> None:
        self._url = url
        self._directory = directory
        self._lock_timeout = lock_timeout

    def up(self, to: str | None = None) -> list[str]:
        """Apply what is missing, up to and including `to`. Returns the names. Raises MigrationFailed."""
        with self._locked() as backend:
            self._refuse_edited(backend)
            self._refuse_unknown(to)
            wanted = [m for m in self._migrations() if to is None or m.id <= to]
            return self._each(backend.to_apply(MigrationList(wanted)), backend.apply_one)

    def down(self, steps: int = 1, to: str | None = None) -> list[str]:
        """Take back the last `steps` migrations, or all after `to`. Returns the names. Raises MigrationFailed."""
        with self._locked() as backend:
            self._refuse_unknown(to)
            applied = list(backend.to_rollback(self._migrations()))
            chosen = [m for m in applied if m.id > to] if to is not None else applied[:steps]
            return self._each(chosen, backend.rollback_one)

    def status(self) -> list[Status]:
        """Every migration that has a file or was applied."""
        with self._backend() as backend:
            return list(self._status(backend))

    def verify(self) -> list[str]:
        """What is wrong: edited, missing or unapplied files, a level that does not fit. Empty: all is well."""
        with self._backend() as backend:
            found = []
            for status in self._status(backend):
                if status.edited:
                    found.append(f"{status.id}: was edited after it was applied")
                if status.missing:
                    found.append(f"{status.id}: was applied, but has no file here")
                if status.applied_at is None:
                    found.append(f"{status.id}: is not applied")
            level, expected = self._level(backend), expected_level(self._directory)
            if level != expected:
                found.append(f"schema_level() is {level}, the files end at {expected}")
            return found

    def adopt(self) -> list[str]:
        """Take over a database whose files were run with psql: note every file up to its schema_level() as applied."""
        with self._locked() as backend:
            level = self._level(backend) or ""
            chosen = [m for m in backend.to_apply(self._migrations()) if m.id <= level]

            def note(migration: Migration) -> None:
                with backend.transaction():
                    backend.mark_one(migration)
                    backend.note_checksum(migration)

            return self._each(chosen, note)

    @contextmanager
    def _backend(self) -> Iterator[Any]:
        url = self._url.reveal()
        try:
            with _Backend(
                parse_uri(f"postgresql+psycopg://{url.split('://', 1)[1]}"), default_migration_table
            ) as backend:
                backend.execute("SET client_min_messages = warning")
                yield backend
        except psycopg.OperationalError as error:
            raise MigrationFailed(f"the database cannot be reached: {str(error).splitlines()[0]}") from error

    @contextmanager
    def _locked(self) -> Iterator[Any]:
        with self._backend() as backend:
            self._wait_for_lock(backend)
            backend.init_database()
            # Whoever left a row in yoyo's own lock did not live to delete it: we hold the other one.
            backend.break_lock()
            with backend.lock():
                yield backend

    def _wait_for_lock(self, backend: Any) -> None:
        """Poll: a process that waits inside pg_advisory_lock() would deadlock with CREATE INDEX CONCURRENTLY."""
        deadline = time.monotonic() + self._lock_timeout
        while not backend.execute("SELECT pg_try_advisory_lock(:lock)", {"lock": LOCK}).fetchone()[0]:
            if time.monotonic() > deadline:
                raise MigrationFailed(f"another migration is running for more than {self._lock_timeout:.0f} s")
            time.sleep(LOCK_PAUSE)

    def _migrations(self) -> MigrationList:
        return yoyo.read_migrations(str(self._directory))

    def _each(self, chosen: Any, action: Any) -> list[str]:
        done = []
        for migration in list(chosen):
            try:
                action(migration)
            except psycopg.Error as error:
                raise MigrationFailed(
                    f"{_place(migration, error, action)}: {error.diag.message_primary or error}"
                ) from error
            done.append(migration.id)
        return done

    def _refuse_unknown(self, name: str | None) -> None:
        """A slip of the pen must not take back more than was meant."""
        if name is not None and name not in {path.stem for path in files(self._directory)}:
            raise MigrationFailed(f"{name}: is no migration here")

    def _refuse_edited(self, backend: Any) -> None:
        edited = [status.id for status in self._status(backend) if status.edited]
        if edited:
            raise MigrationFailed(
                f"{', '.join(edited)}: was edited after it was applied; write a new migration instead"
            )

    def _status(self, backend: Any) -> Iterator[Status]:
        exists = backend.execute("SELECT to_regclass('migration_checksums')").fetchone()[0] is not None
        rows = (
            exists
            and backend.execute(
                "SELECT migration_id, sha256,"
                " to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), applied_by"
                " FROM migration_checksums ORDER BY migration_id"
            ).fetchall()
        )
        applied = {row[0]: row[1:] for row in rows or ()}
        by_id = {path.stem: path for path in files(self._directory)}
        for name in sorted(applied.keys() | by_id.keys()):
            sha256, applied_at, applied_by = applied.get(name, (None, None, None))
            path = by_id.get(name)
            yield Status(
                id=name,
                applied_at=applied_at,
                applied_by=applied_by,
                edited=bool(path and sha256 and checksum(path) != sha256),
                missing=path is None,
            )

    def _level(self, backend: Any) -> str | None:
        if backend.execute("SELECT to_regprocedure('schema_level()')").fetchone()[0] is None:
            return None
        level: str = backend.execute("SELECT schema_level()").fetchone()[0]
        return level


def _place(migration: Migration, error: psycopg.Error, action: Any) -> str:
    """`file:line` of the statement that failed, to the line within it where Postgres tells."""
    path = Path(migration.path)
    if action.__name__ == "rollback_one":
        path = path.with_suffix(".rollback.sql")
    text = path.read_text(encoding="utf-8")
    start = text.find(getattr(error, "failed_statement", "\0"))
    if start < 0:
        return path.name
    start += int(error.diag.statement_position or 1) - 1
    return f"{path.name}:{text.count(chr(10), 0, start) + 1}"
