"""`provision device run`: a simulated device, every step on the screen."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import click

from service.cli import output
from service.cli.context import json_option
from service.core.endpoints import check_endpoint
from service.mqtt.device import FIRST_WAIT, Device, DeviceRefused, DeviceUnreached, Simulation


def _say_plain(step: str, **what: Any) -> None:
    words = "  ".join(f"{name}={output.cell(value)}" for name, value in what.items())
    output.console.print(f"[bold]{step}[/]" + (f"  [dim]{output.escape(words)}[/]" if words else ""), soft_wrap=True)


def _say_json(step: str, **what: Any) -> None:
    output.print_line({"step": step, **what})


@click.command("run")
@click.argument("client_id")
@click.option("--broker", required=True, metavar="URL", help="The provision broker: mqtt:// or mqtts://.")
@click.option("--username", required=True, help="Provision username.")
@click.option("--password-file", type=click.Path(), help="Provision password (or PROVISION_PASSWORD, or a prompt).")
@click.option("--activation-key-file", type=click.Path(), help="Activation key.")
@click.option("--seal", is_flag=True, help="Ask for a sealed answer (needs the activation key).")
@click.option("--store", type=click.Path(path_type=Path), help="Where the answer is kept [default: ./CLIENT_ID.json].")
@click.option("--mqtt-version", type=click.Choice(["3.1.1", "5"]), default="5", show_default=True)
@click.option("--ca-file", type=click.Path(), default="", help="CA that brokers' certificates must be signed by.")
@click.option("--serial", help="Told with the ask.")
@click.option("--patience", type=float, default=120.0, show_default=True, help="Seconds until it gives up.")
@click.option("--first-wait", type=float, default=FIRST_WAIT, show_default=True, help="Seconds until it asks again.")
@json_option
def device_run(
    client_id: str,
    broker: str,
    username: str,
    password_file: str | None,
    activation_key_file: str | None,
    seal: bool,
    store: Path | None,
    mqtt_version: str,
    ca_file: str,
    serial: str | None,
    patience: float,
    first_wait: float,
    as_json: bool,
) -> None:
    """
    Be the device CLIENT_ID: from its factory credentials to its account's broker, as docs/protocol.md says.

    Exit status: 0 it works at its account's broker, 3 refused, 4 not reached.
    """
    logging.getLogger("gmqtt").setLevel(logging.CRITICAL)
    for problem in check_endpoint(broker, "--broker"):
        raise click.UsageError(str(problem))
    key = None
    if activation_key_file is not None:
        key = output.read_secret(activation_key_file, "", "activation key").strip()
    if seal and key is None:
        raise click.UsageError("--seal needs --activation-key-file")
    device = Device(
        broker=broker,
        client_id=client_id,
        username=username,
        password=output.read_secret(password_file, "PROVISION_PASSWORD", "provision password"),
        activation_key=key,
        seal=seal,
        facts={"serial": serial} if serial else {},
        store=store or Path(f"{client_id}.json"),
        version=mqtt_version,
        ca_file=ca_file,
        patience=patience,
        first_wait=first_wait,
    )
    sys.exit(_run(device, as_json=as_json))


def _run(device: Device, *, as_json: bool) -> int:
    say = _say_json if as_json else _say_plain
    try:
        asyncio.run(Simulation(device, say).run())
    except DeviceRefused as refused:
        say("refused", why=str(refused), **{k: v for k, v in refused.answer.items() if k not in ("id", "result")})
        return output.REFUSED
    except DeviceUnreached as error:
        say("gave up", why=str(error))
        return output.UNREACHABLE
    except OSError as error:
        say("failed", why=error.strerror or "cannot write", file=str(device.store))
        return output.FAILED
    return output.OK
