"""
`make up`: from nothing to a provisioned device on this machine, step by step; again, and it changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from embedded import brokers, postgres, services, state
from embedded.processes import DidNotStart, accepts
from embedded.state import CannotGoOn, State
from service import keys, log
from service.cli.output import cell, escape
from service.core.problems import NotPossible
from service.core.requests import Changes, NewRequest
from service.db.migrations import MigrationFailed, Migrator
from service.db.pool import open_pool
from service.keys import SealingKeys, Secret, parse_key
from service.mqtt.device import Device, DeviceRefused, DeviceUnreached, Simulation
from service.operations import accounts, requests, users
from service.operations.administration import Administration
from service.operations.events import Author

ACCOUNT = "demo"
CLIENT_ID = "demo-device"
USERNAME = "demo-factory"

console = Console(highlight=False, soft_wrap=True)


@contextmanager
def step(what: str) -> Iterator[Callable[[str], None]]:
    """One step: named while it lasts, timed when it is done. What is yielded says how it ended."""
    began = time.monotonic()
    outcome = ["done"]
    with console.status(f"{what} ..."):
        yield lambda text: outcome.__setitem__(0, text)
    console.print(f"[green]✓[/] {what}: {outcome[0]} [dim]({time.monotonic() - began:.1f} s)[/]")


def up() -> int:
    """Exit status. Raises CannotGoOn and DidNotStart."""
    began = time.monotonic()
    current = state.make(os.environ)
    with step("plugin") as done:
        done("built" if services.build_plugin(current) else "as it was")
    _start_postgres(current)
    _migrate(current)
    with step("keys and secrets"):
        _make_keys(current)
    asyncio.run(_with_administration(current, _register))
    for process in services.in_order(current):
        with step(process.name) as done:
            done(_start(current, process))
    services.write_environment(current)
    services.install_command()
    asyncio.run(_with_administration(current, _demonstrate))
    _explain(current, time.monotonic() - began)
    return 0


def _start(current: State, process: Any) -> str:
    if process.pid() is not None:
        return "runs already"
    for setting, port in current.ports.items():
        mine = {"hooks": "HOOKS", "responder": "RESPONDER"}.get(
            process.name, process.name.removesuffix("-broker").upper()
        )
        if f"UP_{mine}" in setting and accepts(port):
            raise CannotGoOn(
                f"port {port} is in use by somebody else: free it, or `make clean` and choose another {setting}"
            )
    process.start()
    return f"started, process {process.pid()}"


def _start_postgres(current: State) -> None:
    cluster = services.cluster(current)
    with step("Postgres") as done:
        if not cluster.exists():
            cluster.create()
        if cluster.is_running():
            done("runs already")
            return
        if accepts(cluster.port):
            raise CannotGoOn(f"port {cluster.port} is in use by somebody else (UP_POSTGRES_PORT)")
        cluster.start()
        done(f"started on 127.0.0.1:{cluster.port}")


def _migrate(current: State) -> None:
    cluster = services.cluster(current)
    with step("schema") as done:
        urls = {role: current.secrets / f"{role}-database-url" for role in postgres.ROLES}
        if not all(path.exists() for path in urls.values()):
            passwords = {role: secrets.token_urlsafe(32) for role in postgres.ROLES}
            postgres.create_roles(cluster.url("postgres"), passwords)
            postgres.create_database_once(cluster.url("postgres"), services.DATABASE)
            for role, path in urls.items():
                state.write_private(path, cluster.url(services.DATABASE, role, passwords[role]) + "\n")
        applied = Migrator(Secret(current.secret("migrator-database-url"))).up()
        done(f"{len(applied)} migrations applied" if applied else "as it was")


def _make_keys(current: State) -> None:
    current.secret("event-key", keys.new_key())
    current.secret("derivation-key", keys.new_key())
    current.secret("sealing-keys", f"k1:{keys.new_key()}")
    current.secret("demo-password", f"Demo-{keys.new_secret()[:24]}aA-")


Action = Callable[[State, Administration], Awaitable[None]]


async def _with_administration(current: State, action: Action) -> None:
    async with _administration(current) as admin:
        await action(current, admin)


@asynccontextmanager
async def _administration(current: State) -> AsyncIterator[Administration]:
    """The same operations as the `provision` command."""
    pools = [
        await open_pool(Secret(current.secret(f"{role}-database-url")), name="make-up", size=2, timeout=30)
        for role in ("admin", "platform")
    ]
    try:
        yield Administration(
            admin_pool=pools[0],
            platform_pool=pools[1],
            author=Author(actor="make up", source="cli", event_key=parse_key(current.secret("event-key"))),
            sealing_keys=SealingKeys.parse(current.secret("sealing-keys")),
        )
    finally:
        for pool in pools:
            pool.terminate()


async def _register(current: State, admin: Administration) -> None:
    """Both brokers, the account, and our own user; each only where it is missing."""
    with step("brokers and account") as done:
        made = []
        known = {row["name"] for row in await accounts.list_brokers(admin)}
        for role in ("provision", "account"):
            name = f"{role}-broker"
            urls = [f"mqtt://127.0.0.1:{current.ports['UP_ACCOUNT_PORT']}"] if role == "account" else []
            if name not in known:
                secret = await accounts.create_broker(admin, name, role=role, urls=urls)
                services.write_broker_files(current, role, secret)
                made.append(name)
            elif not (current.mosquitto / f"{role}.conf").exists():
                # The step before was cut off between the two writes: a new secret, and only that.
                secret = await _replace_secret(admin, name)
                services.write_broker_files(current, role, secret)
        if ACCOUNT not in {row["name"] for row in await accounts.list_accounts(admin)}:
            await accounts.create_account(admin, ACCOUNT)
            made.append(f"account {ACCOUNT}")
        if not (current.secrets / "responder-password").exists():
            state.write_private(
                current.secrets / "responder-password", await users.put_responder_password(admin) + "\n"
            )
        done(f"made {', '.join(made)}" if made else "as they were")


async def _replace_secret(admin: Administration, broker: str) -> str:
    with suppress(NotPossible):
        await accounts.finish_rotation(admin, broker)
    secret = await accounts.begin_rotation(admin, broker)
    await accounts.finish_rotation(admin, broker)
    return secret


async def _demonstrate(current: State, admin: Administration) -> None:
    """A provision request, and a device that it fits."""
    key_file, store = current.secrets / "demo-activation-key", current.secrets / "demo-answer.json"
    found = await requests.list_requests(admin, ACCOUNT, CLIENT_ID)
    if found and found[0]["status"] == "PROVISIONED":
        console.print(f"[green]✓[/] the device {CLIENT_ID} is provisioned already")
        return
    with step("provision request") as done:
        if not found:
            await _request(current, admin, key_file)
        elif not key_file.exists():
            # Created by a run that was cut off before it kept the key: another one.
            created = await requests.change_request(admin, ACCOUNT, CLIENT_ID, Changes(new_activation_key=True))
            state.write_private(key_file, f"{created.activation_key}\n")
        else:
            done("as it was")
    console.print(f"\n[bold]The device {CLIENT_ID}[/], from its factory credentials to its account's broker:")
    device = Device(
        broker=f"mqtt://127.0.0.1:{current.ports['UP_PROVISION_PORT']}",
        client_id=CLIENT_ID,
        username=USERNAME,
        password=current.secret("demo-password"),
        activation_key=key_file.read_text(encoding="ascii").strip(),
        seal=True,
        facts={"serial": "0001", "model": "simulated"},
        store=store,
        patience=60,
        first_wait=5,
    )
    await Simulation(device, _say).run()
    status = (await requests.list_requests(admin, ACCOUNT, CLIENT_ID))[0]["status"]
    console.print(f"\nThe provision request of {CLIENT_ID} is [bold]{status}[/].")


async def _request(current: State, admin: Administration, key_file: Path) -> None:
    new = NewRequest(
        client_id=CLIENT_ID,
        provision_username=USERNAME,
        provision_password=current.secret("demo-password"),
        generate_activation_key=True,
    )
    created = await requests.create_request(admin, ACCOUNT, new)
    assert created.activation_key is not None
    state.write_private(key_file, created.activation_key + "\n")


def _say(what: str, **details: Any) -> None:
    words = "  ".join(f"{name}={cell(value)}" for name, value in details.items())
    console.print(f"  [cyan]→[/] {what}" + (f"  [dim]{escape(words)}[/]" if words else ""), soft_wrap=True)


def _explain(current: State, seconds: float) -> None:
    ports = current.ports
    console.print(
        f"""
[bold]Everything runs[/] ({seconds:.0f} s).

  provision broker  mqtt://127.0.0.1:{ports["UP_PROVISION_PORT"]}
  account broker    mqtt://127.0.0.1:{ports["UP_ACCOUNT_PORT"]}
  hooks             {current.url("UP_HOOKS_METRICS_PORT")}  /livez /readyz /metrics
  responder         {current.url("UP_RESPONDER_METRICS_PORT")}  /livez /readyz /metrics
  state and logs    {current.folder}

Go on:

  . .run/env                                  use this installation from your shell
  provision request explain {CLIENT_ID}       what happened to the device, and why
  provision request create my-device --username my-factory --activation-key
  make logs | make down | make clean          watch, stop, forget
""",
        soft_wrap=True,
    )


TROUBLE = (
    CannotGoOn,
    DidNotStart,
    DeviceRefused,
    DeviceUnreached,
    MigrationFailed,
    brokers.NoBroker,
    postgres.NoServer,
    postgres.CommandFailed,
)


def run() -> int:
    """`up`, with its troubles in words."""
    log.configure("error")
    try:
        return up()
    except TROUBLE as error:
        console.print(f"[bold red]✗[/] {escape(str(error))}")
        return 1
