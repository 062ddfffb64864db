"""
`make up`: from nothing to a provisioned device on this machine, step by step; again, and it changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from embedded import brokers, postgres, services, state, tls
from embedded.processes import DidNotStart, accepts
from embedded.setup import CLIENT_ID, Place, console, demonstrate, make_keys, register, with_administration
from embedded.state import CannotGoOn, State
from service import log
from service.cli.output import escape
from service.db.migrations import MigrationFailed, Migrator
from service.keys import Secret
from service.mqtt.device import DeviceRefused, DeviceUnreached
from service.operations.administration import Administration


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
    place = Place(current.secrets)
    with step("plugin") as done:
        done("built" if services.build_plugin(current) else "as it was")
    _start_postgres(current)
    _migrate(current)
    with step("keys"):
        make_keys(place)
    _make_certificates(current)
    asyncio.run(with_administration(place, lambda admin: _register(current, admin)))
    for process in services.in_order(current):
        with step(process.name) as done:
            done(_start(current, process))
    services.write_environment(current)
    services.install_command()
    asyncio.run(with_administration(place, lambda admin: _demonstrate(current, admin)))
    _explain(current, time.monotonic() - began)
    return 0


def _start(current: State, process: Any) -> str:
    if process.pid() is not None:
        return "runs already"
    for setting, port in current.ports.items():
        mine = {"hooks": "HOOKS", "responder": "RESPONDER", "admin": "API"}.get(
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


def _make_certificates(current: State) -> None:
    with step("certificates") as done:
        made = ["a development CA"] if tls.make_ca(current.ca) else []
        for role in ("provision", "account"):
            if tls.make_certificate(current.ca, current.certificates(role), tls.HERE):
                made.append(f"{role}-broker")
                services.broker(current, role).signal(signal.SIGHUP)  # where it runs already, with the one before
        done(f"made {', '.join(made)}" if made else "as they were")


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
        applied = Migrator(Secret(Place(current.secrets).get("migrator-database-url"))).up()
        done(f"{len(applied)} migrations applied" if applied else "as it was")


async def _register(current: State, admin: Administration) -> None:
    with step("brokers and account") as done:
        made = await register(
            Place(current.secrets),
            admin,
            endpoint=f"mqtts://localhost:{current.ports['UP_ACCOUNT_TLS_PORT']}",
            ca=tls.ca_file(current.ca).read_text(encoding="ascii"),
            has_files=lambda role: (current.mosquitto / f"{role}.conf").exists(),
            write_files=lambda role, secret: services.write_broker_files(current, role, secret),
        )
        done(f"made {', '.join(made)}" if made else "as they were")


async def _demonstrate(current: State, admin: Administration) -> None:
    await demonstrate(
        admin,
        broker=f"mqtts://localhost:{current.ports['UP_PROVISION_TLS_PORT']}",
        ca_file=tls.ca_file(current.ca),
        store=current.secrets / "demo-answer.json",
        keeps=Place(current.secrets),
    )


def _explain(current: State, seconds: float) -> None:
    ports = current.ports
    console.print(
        f"""
[bold]Everything runs[/] ({seconds:.0f} s).

  provision broker  mqtts://localhost:{ports["UP_PROVISION_TLS_PORT"]}  (mqtt://127.0.0.1:{ports["UP_PROVISION_PORT"]})
  account broker    mqtts://localhost:{ports["UP_ACCOUNT_TLS_PORT"]}  (mqtt://127.0.0.1:{ports["UP_ACCOUNT_PORT"]})
  their CA          {tls.ca_file(current.ca)}
  hooks             {current.url("UP_HOOKS_METRICS_PORT")}  /livez /readyz /metrics
  responder         {current.url("UP_RESPONDER_METRICS_PORT")}  /livez /readyz /metrics
  API               {current.url("UP_API_PORT")}/api/v1/docs
  its first token   {current.secrets / "platform-token"}  (a platform administrator's)
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
