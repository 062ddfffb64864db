"""
Brokers that ours is compared with, made from the account broker's own file: one without any plugin, one with our plugin
over an empty handler; and, with GO_AUTH=/path/to/go-auth.so, mosquitto-go-auth.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.empty_hooks import LOOPS
from embedded import brokers
from embedded.processes import Managed, accepts, free_port
from service.operations import accounts
from tests.support.world import ROOT, World

_ENVIRONMENT = {"PATH": os.environ["PATH"]}
# Said anew for each peer, or no business of it.
_LISTENERS = ("listener", "certfile", "keyfile", "tls_version", "max_connections")


@dataclass(frozen=True, kw_only=True)
class Broker:
    """Where it listens, and its process."""

    port: int
    pid: int


def go_auth() -> Path | None:
    """Where GO_AUTH says that go-auth's plugin lies."""
    path = os.environ.get("GO_AUTH")
    return Path(path).resolve() if path else None


def own(world: World) -> Broker:
    """The account broker itself."""
    return Broker(port=world.account_port, pid=world.account_broker.pid() or 0)


def without(text: str, *words: str) -> list[str]:
    """The lines of a configuration that do not begin with one of these words."""
    return [line for line in text.splitlines() if not line.startswith(words)]


@asynccontextmanager
async def running(managed: Managed) -> AsyncIterator[int]:
    """Its process id, while it runs."""
    await asyncio.to_thread(managed.start)
    try:
        yield managed.pid() or 0
    finally:
        await asyncio.to_thread(managed.stop)


@asynccontextmanager
async def _broker(world: World, name: str, lines: Sequence[str]) -> AsyncIterator[Broker]:
    port = free_port()
    config = world.folder / f"{name}.conf"
    listener = [f"listener {port} 127.0.0.1", "max_connections 20000"]
    brokers.write_private(config, "\n".join([*listener, *lines]) + "\n")
    managed = Managed(
        name=name,
        command=[brokers.find_mosquitto(), "-c", str(config)],
        folder=world.folder,
        environment=_ENVIRONMENT,
        is_ready=lambda: accepts(port),
    )
    async with running(managed) as pid:
        yield Broker(port=port, pid=pid)


def _account_file(world: World) -> str:
    return (world.folder / "account.conf").read_text()


@asynccontextmanager
async def anonymous(world: World) -> AsyncIterator[Broker]:
    """Without a plugin."""
    lines = without(_account_file(world), *_LISTENERS, "plugin", "allow_anonymous")
    async with _broker(world, "anonymous-broker", [*lines, "allow_anonymous true"]) as broker:
        yield broker


@asynccontextmanager
async def over_hooks(world: World, name: str, hooks_port: int) -> AsyncIterator[Broker]:
    """With our plugin and all of its options, as the account broker that it calls itself, and hooks at this port."""
    lines = without(_account_file(world), *_LISTENERS, "plugin_opt_url")
    place = next(number for number, line in enumerate(lines) if line.startswith("plugin "))
    lines.insert(place + 1, f"plugin_opt_url http://127.0.0.1:{hooks_port}")
    async with _broker(world, name, lines) as broker:
        yield broker


@asynccontextmanager
async def over_empty_handler(world: World) -> AsyncIterator[tuple[Broker, int]]:
    """Our plugin before a handler that lets everybody in; and the handler's process id."""
    port = free_port()
    handler = Managed(
        name="empty-handler",
        command=[sys.executable, "-m", "bench.empty_hooks", str(port), LOOPS[-1]],
        folder=world.folder,
        environment={**_ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        is_ready=lambda: accepts(port),
    )
    async with running(handler) as handler_pid, over_hooks(world, "empty-handler-broker", port) as broker:
        yield broker, handler_pid


def _go_auth_lines(world: World, plugin: Path, words: dict[str, str]) -> list[str]:
    copy = world.folder / "go-auth.so"
    shutil.copy(plugin, copy)
    given = dict.fromkeys(
        ("PORT", "ADDRESS", "TLS_PORT", "TLS_ADDRESS", "CERTIFICATE_FILE", "KEY_FILE", "HOOKS_HOST", "HOOKS_PORT"), "-"
    )
    text = brokers.render("go-auth/account.conf", {**given, "BROKER": "-", "SECRET": "-", **words, "PLUGIN": str(copy)})
    return without(text, *_LISTENERS, "#")


@asynccontextmanager
async def go_auth_over_our_hooks(world: World, plugin: Path) -> AsyncIterator[Broker]:
    """go-auth as the shipped file sets it up, registered as an account broker of its own, before the same hooks."""
    name = "go-auth-broker"
    secret = await accounts.create_broker(world.admin, name, role="account", urls=["mqtt://127.0.0.1:1"])
    await accounts.serve_account(world.admin, name, "acme")
    words = {"BROKER": name, "SECRET": secret, "HOOKS_HOST": "127.0.0.1", "HOOKS_PORT": str(world.hooks_port)}
    async with _broker(world, name, _go_auth_lines(world, plugin, words)) as broker:
        yield broker


GO_AUTH_TABLE = "bench_go_auth"
# bcrypt at its least cost: go-auth has no fast hash for random passwords, and this is the least that it can pay.
_FILL_GO_AUTH = f"""
CREATE TABLE {GO_AUTH_TABLE} (username text PRIMARY KEY, password_hash text NOT NULL);
CREATE ROLE bench_go_auth LOGIN PASSWORD 'bench';
GRANT SELECT ON {GO_AUTH_TABLE} TO bench_go_auth;
"""


@asynccontextmanager
async def go_auth_over_postgres(
    world: World, plugin: Path, numbers: Sequence[int], username: Callable[[int], str], password: Callable[[int], str]
) -> AsyncIterator[Broker]:
    """go-auth with its own Postgres backend, one query a CONNECT, in the same database; with these users."""
    database = world.database
    assert database.server.cluster is not None
    await database.execute(_FILL_GO_AUTH.partition(";")[0])
    for statement in _FILL_GO_AUTH.split(";")[1:-1]:
        await database.execute(statement)
    await database.execute(
        f"INSERT INTO {GO_AUTH_TABLE} "
        "SELECT u, crypt(p, gen_salt('bf', 4)) FROM unnest($1::text[], $2::text[]) AS t (u, p)",
        [username(number) for number in numbers],
        [password(number) for number in numbers],
    )
    options = {
        "backends": "postgres",
        "hasher": "bcrypt",
        "hasher_cost": "4",
        "pg_host": "127.0.0.1",
        "pg_port": str(database.server.cluster.port),
        "pg_dbname": database.name,
        "pg_user": "bench_go_auth",
        "pg_password": "bench",
        "pg_sslmode": "disable",
        "pg_userquery": f"SELECT password_hash FROM {GO_AUTH_TABLE} WHERE username = $1 LIMIT 1",
        "disable_superuser": "true",
        "cache": "false",
        "log_level": "warn",
    }
    lines = [line for line in _go_auth_lines(world, plugin, {}) if not line.startswith("auth_opt_")]
    async with _broker(
        world, "go-auth-postgres", [*lines, *(f"auth_opt_{name} {value}" for name, value in options.items())]
    ) as broker:
        yield broker
