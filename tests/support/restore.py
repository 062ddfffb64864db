"""A cluster that is restored to an earlier moment: a base backup taken cold, and archived WAL."""

from __future__ import annotations

import os
import pwd
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from embedded import postgres
from embedded.processes import free_port


def _give(path: Path) -> None:
    """To whoever the server runs as."""
    user = postgres.server_user()
    if user:
        found = pwd.getpwnam(user)
        for each in (path, *path.rglob("*")):
            os.chown(each, found.pw_uid, found.pw_gid, follow_symlinks=False)


@dataclass(frozen=True, kw_only=True)
class Archived:
    """A running cluster, its base backup, and where its WAL goes."""

    cluster: postgres.Cluster
    base: Path
    archive: Path

    def query(self, statement: Any) -> Any:
        """The first value."""
        with psycopg.connect(self.cluster.url("postgres"), autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
        return row[0] if row else None

    def name_moment(self, name: str) -> None:
        """What `restore` goes back to."""
        self.query(f"SELECT pg_create_restore_point('{name}')")

    def lose(self) -> None:
        """All WAL is archived, then the server dies."""
        last = self.query("SELECT pg_walfile_name(pg_switch_wal())")
        while not (self.archive / last).exists():
            time.sleep(0.02)
        self.cluster.stop("immediate")

    def restore(self, name: str) -> postgres.Cluster:
        """Another cluster, with the base backup and the WAL up to a moment; it takes writes."""
        folder = self.base.parent / "restored"
        folder.mkdir(mode=0o700)
        restored = postgres.Cluster(
            folder=folder, port=free_port(), binaries=self.cluster.binaries, fast=self.cluster.fast
        )
        shutil.copytree(self.base, restored.data)
        shutil.copy(self.cluster.folder / "superuser-password", folder)
        (restored.data / "recovery.signal").touch()
        with (restored.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"restore_command = 'cp {self.archive}/%f %p'\n")
            settings.write(f"recovery_target_name = '{name}'\nrecovery_target_action = 'promote'\n")
        _give(folder)
        restored.start()
        with psycopg.connect(restored.url("postgres"), autocommit=True) as connection:
            while connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                time.sleep(0.02)
        return restored


def archived(cluster: postgres.Cluster) -> Archived:
    """Stop a cluster, keep its files, and start it again with its WAL archived."""
    base, archive = cluster.folder.parent / "base", cluster.folder.parent / "archive"
    archive.mkdir(mode=0o700)
    _give(archive)
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = 'on'")
        # Whole, or not there: who waits for a file must not find half of it.
        copy = f"cp %p {archive}/%f.part && mv {archive}/%f.part {archive}/%f"
        connection.execute(f"ALTER SYSTEM SET archive_command = '{copy}'".encode())
    cluster.stop()
    shutil.copytree(cluster.data, base)
    cluster.start()
    return Archived(cluster=cluster, base=base, archive=archive)
