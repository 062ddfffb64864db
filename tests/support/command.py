"""The `provision` command as its users meet it: in this process, as a process of its own, or at a terminal."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from click.testing import CliRunner

from service import log
from service.cli.main import main
from service.cli.migrate import migrate
from tests.support.database import Database

ROOT = Path(__file__).resolve().parents[2]
DONE, FAILED, INVALID, REFUSED, UNREACHABLE, UNTRUSTED, UNKNOWN_TOKEN, FORBIDDEN, TOO_MANY = range(9)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, which is one JSON document."""
        return json.loads(self.out)

    def problems(self) -> set[tuple[str, str]]:
        """Field and rule of each problem that was said as JSON."""
        return {(problem["field"], problem["rule"]) for problem in json.loads(self.err)["problems"]}


def settings(database: Database) -> dict[str, str]:
    """The command's settings for a database; account `acme` where none is named."""
    return {
        "PROVISION_ADMIN_DATABASE_URL": database.url("admin").reveal(),
        "PROVISION_PLATFORM_DATABASE_URL": database.url("platform").reveal(),
        "PROVISION_EVENT_KEY": base64.b64encode(database.event_key).decode(),
        "PROVISION_SEALING_KEYS": f"k1:{base64.b64encode(database.sealing_keys.keys[0][1]).decode()}",
        "PROVISION_BCRYPT_COST": "4",
        "PROVISION_ACCOUNT": "acme",
    }


@dataclass(frozen=True, kw_only=True)
class Program:
    """`python -m service cli` or `migrate` with an environment of its own; nothing of ours is passed on."""

    name: str
    environment: Mapping[str, str] = field(repr=False)
    # Whether `process` need not be one: where another face's tests start processes for the same cases.
    quick: bool = False

    def with_(self, **environment: str) -> Program:
        """The same with more in its environment, or other things."""
        return dataclasses.replace(self, environment={**self.environment, **environment})

    async def __call__(self, *arguments: str, status: int = DONE, stdin: str = "", **environment: str) -> Done:
        """Run it in this process, quickly. It must end with `status`, and never with a traceback."""
        done = await asyncio.to_thread(self._invoke, arguments, stdin, {**self.environment, **environment})
        return _judged(done, status, arguments)

    def _invoke(self, arguments: Sequence[str], stdin: str, environment: Mapping[str, str]) -> Done:
        foreign: dict[str, str | None] = {name: None for name in os.environ if name.startswith("PROVISION_")}
        group: click.Group = main if self.name == "cli" else migrate
        # Our services' logs in this process must not go to the command's standard error, which is closed afterwards.
        with patch.object(log, "configure"):
            result = CliRunner().invoke(
                # `color`: nothing is taken out of the output, as nothing is at a terminal.
                group,
                list(arguments),
                input=stdin,
                env={**foreign, **environment},
                prog_name="provision",
                color=True,
            )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(status=result.exit_code, out=result.stdout, err=result.stderr)

    def started(self, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any) -> Any:
        """A process, with pipes unless told otherwise."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-m", "service", self.name, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                **self.environment,
                **(environment or {}),
            },
            **{**streams, **options},
        )

    async def process(
        self, *arguments: str, status: int = DONE, stdin: str | None = None, cwd: Path | None = None, **environment: str
    ) -> Done:
        """Run it as its users do. It must end with `status`, and never with a traceback."""
        if self.quick and cwd is None:
            return await self(*arguments, status=status, stdin=stdin or "", **environment)
        options = {} if stdin is None else {"stdin": subprocess.PIPE}
        process = self.started(*arguments, environment=environment, cwd=cwd, **options)
        out, err = await asyncio.to_thread(process.communicate, None if stdin is None else stdin.encode())
        return _judged(Done(status=process.returncode, out=out.decode(), err=err.decode()), status, arguments)

    async def at_terminal(
        self, *arguments: str, typed: Sequence[str] = (), columns: int = 80, **environment: str
    ) -> Done:
        """Run it at a terminal of so many columns; each of `typed` is entered when the command waits for it."""
        return await asyncio.to_thread(self._at_terminal, arguments, typed, {"COLUMNS": str(columns), **environment})

    def _at_terminal(self, arguments: Sequence[str], typed: Sequence[str], environment: Mapping[str, str]) -> Done:
        ours, theirs = pty.openpty()
        try:
            # A session of its own: it must not find the terminal that the tests run at.
            process = self.started(
                *arguments,
                environment={"TERM": "xterm", "LINES": "24", **environment},
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
            os.close(theirs)
            seen = b""
            waiting = list(typed)
            while chunk := _read(ours):
                seen += chunk
                if waiting and seen.rstrip(b" ").endswith((b":", b"]:")):
                    os.write(ours, waiting.pop(0).encode() + b"\n")
            return Done(status=process.wait(), out=seen.decode().replace("\r\n", "\n"), err="")
        finally:
            os.close(ours)


def _read(terminal: int) -> bytes:
    """What comes next; nothing once the other side is gone."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


def _judged(done: Done, status: int, arguments: Sequence[str]) -> Done:
    assert done.status == status, (arguments, done)
    assert "Traceback" not in done.err, done.err
    if status == UNREACHABLE:
        assert "\n" not in done.err.strip(), done.err
    return done


def provision(database: Database, **environment: str) -> Program:
    """The command on a database."""
    return Program(name="cli", environment={**settings(database), **environment})


def migrator(url: str) -> Program:
    """`python -m service migrate` on a database."""
    return Program(name="migrate", environment={"PROVISION_MIGRATOR_DATABASE_URL": url})


async def contents(database: Database) -> dict[str, list[str]]:
    """Every row of every table, as text; but not when a token was used last, which a look may change."""
    tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    query = "SELECT (to_jsonb(t) - 'last_used_at')::text AS row FROM public.{} t"
    return {
        row["tablename"]: [found["row"] for found in await database.fetch(query.format(row["tablename"]))]
        for row in tables
    }


def leaves(group: click.Command, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Every command by its words."""
    if not isinstance(group, click.Group):
        return {path: group}
    return {words: leaf for name, each in group.commands.items() for words, leaf in leaves(each, (*path, name)).items()}


def elsewhere(url: str) -> str:
    """The same URL with a port that nobody listens on."""
    return re.sub(r":\d+/", ":1/", url)
