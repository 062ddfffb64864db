"""The `provision` command's two faces: on the database, and over HTTP with a token. The same cases hold for both."""

from __future__ import annotations

import dataclasses
import secrets
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import structlog

from service.operations.administration import Administration
from service.web import admin as admin_web
from tests.support.api import serving
from tests.support.command import Program, provision
from tests.support.database import Database

DATABASE, SERVER = FACES = ("database", "server")
# Of cases that a command judges by itself, before it asks anybody; and of those that only a server has.
on_database = pytest.mark.parametrize("program", [DATABASE], indirect=True)
by_server = pytest.mark.parametrize("program", [SERVER], indirect=True)


def remote(url: str, token: str, folder: Path, **environment: str) -> Program:
    """The command with a server to ask, and none of the database's settings."""
    file = folder / "token"
    file.touch(mode=0o600)
    file.write_text(f"{token}\n")
    named = {"PROVISION_SERVER": url, "PROVISION_TOKEN_FILE": str(file), "PROVISION_ACCOUNT": "acme"}
    return Program(name="cli", environment={**named, **environment})


@asynccontextmanager
async def opened(face: str, admin: Administration, database: Database, **environment: str) -> AsyncIterator[Program]:
    """The command by a face, as a platform administrator; account `acme` where none is named."""
    if face == DATABASE:
        yield provision(database, **environment)
        return
    async with asked(admin) as program:
        yield dataclasses.replace(program.with_(**environment), quick=True)


@asynccontextmanager
async def asked(
    admin: Administration, *, tls: ssl.SSLContext | None = None, before: Any = None
) -> AsyncIterator[Program]:
    """The command over HTTP, with a server that it asks."""
    # The server's log must not come between what the command prints: both run in this process.
    silent = structlog.wrap_logger(structlog.ReturnLogger(), processors=[structlog.processors.KeyValueRenderer()])
    with tempfile.TemporaryDirectory() as folder, patch.object(admin_web, "_log", silent):
        async with serving(admin, tls=tls, before=before, name=f"root-{secrets.token_hex(4)}") as api:
            assert api.token is not None
            yield remote(api.url.removesuffix("/api/v1"), api.token, Path(folder))


__all__ = ["DATABASE", "FACES", "SERVER", "Mapping", "opened", "remote"]
