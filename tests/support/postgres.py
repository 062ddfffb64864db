"""
A real Postgres for the tests: TEST_DATABASE_URL, else Docker through testcontainers, else the newest server programs
found, else the wheel's. Each test gets a database of its own from a migrated template.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from embedded import postgres
from embedded.processes import free_port
from service.db.migrations import Migrator
from service.keys import Secret

TEMPLATE = "provisioning_template"
ROOM = 4 * 2**30  # bytes of memory that a server may need, and several of them


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that tests may do with as they like. `cluster` is set where it is ours to stop."""

    superuser_url: str
    passwords: dict[str, str] = field(repr=False)
    cluster: postgres.Cluster | None = None

    def url(self, database: str, role: str | None = None) -> str:
        """A URL for the superuser, or for one of our roles."""
        parts = urlsplit(self.superuser_url)
        netloc = parts.netloc
        if role is not None:
            host = netloc.rpartition("@")[2]
            netloc = f"provisioning_{role}:{self.passwords[role]}@{host}"
        return urlunsplit((parts.scheme, netloc, f"/{database}", parts.query, ""))


@contextmanager
def running_server() -> Iterator[Server]:
    """Whatever real Postgres this machine can offer, with our roles in it."""
    with _server_url() as (url, cluster):
        passwords = {role: secrets.token_urlsafe(16) for role in postgres.ROLES}
        postgres.create_roles(url, passwords)
        yield Server(superuser_url=url, passwords=passwords, cluster=cluster)


@contextmanager
def _server_url() -> Iterator[tuple[str, postgres.Cluster | None]]:
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given, None
        return
    with suppress(_NoDocker):
        with _docker_url() as url:
            yield url, None
        return
    with private_cluster() as cluster:
        yield cluster.url("postgres"), cluster


class _NoDocker(Exception):
    """No Docker engine answers."""


@contextmanager
def _docker_url() -> Iterator[str]:
    import docker
    from testcontainers.community.postgres import PostgresContainer

    try:
        docker.from_env().ping()
    except Exception as error:
        raise _NoDocker from error
    with PostgresContainer("postgres:15", username="postgres", driver=None) as container:
        yield container.get_connection_url()


def _memory() -> Path | None:
    """
    Where files are kept in memory, if there is room for a server's.

    Each test has a database of 300 files and drops it: on ext4, which looks for a while at every inode that was freed
    just now before it gives one out, that took a fifth of all CPU.
    """
    folder = Path("/dev/shm")
    with suppress(OSError):
        if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM:
            return folder
    return None


@contextmanager
def private_cluster(*, fast: bool = True) -> Iterator[postgres.Cluster]:
    """A cluster of our own, gone afterwards. Not `fast`: as durable as in production."""
    folder = Path(tempfile.mkdtemp(prefix="provisioning-test-", dir=_memory() if fast else None))
    folder.chmod(0o755)
    cluster = postgres.Cluster(
        folder=folder / "postgres", port=free_port(), binaries=postgres.find_binaries(folder / "binaries"), fast=fast
    )
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        if cluster.exists() and cluster.is_running():
            cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def make_template(server: Server, name: str = TEMPLATE) -> str:
    """An empty migrated database that others are copied from."""
    drop_database(server, name)
    postgres.create_database(server.superuser_url, name)
    Migrator(Secret(server.url(name, "migrator"))).up()
    return name


def copy_database(server: Server, template: str, name: str) -> None:
    """A database of one's own."""
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER provisioning_migrator TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )


def drop_database(server: Server, name: str) -> None:
    """Whoever is connected there is cut off."""
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
