"""`provision device run`: a simulated device, every step on the screen."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from service.cli import output, secret
from service.cli.context import json_option
from service.core.endpoints import check_endpoint
from service.core.names import PROVISION_ACCOUNT
from service.mqtt.client import NotUsable, trust
from service.mqtt.device import FIRST_WAIT, Device, DeviceRefused, DeviceUnreached, Simulation
from service.mqtt.kura_device import Gateway, KuraSimulation


def _say_plain(step: str, **what: Any) -> None:
    output.print_text((step, "bold"), ("  " + output.words(what) if what else "", "dim"))


def _say_json(step: str, **what: Any) -> None:
    output.print_line({"step": step, **what})


@click.command("run")
@click.argument("client_id")
@click.option(
    "--wire",
    type=click.Choice(["json", "kura"]),
    default="json",
    show_default=True,
    help="How it asks: as JSON, or as a Kura gateway.",
)
@click.option("--broker", required=True, metavar="URL", help="The provision broker: mqtt:// or mqtts://.")
@click.option("--username", required=True, metavar="NAME", help="Provision username.")
@click.option(
    "--password-file", type=click.Path(), help="File with the provision password (or PROVISION_PASSWORD, or a prompt)."
)
@click.option("--activation-key-file", type=click.Path(), help="File with the activation key.")
@click.option("--seal", is_flag=True, help="Ask for a sealed answer (needs the activation key).")
@click.option("--store", type=click.Path(path_type=Path), help="Where the answer is kept [default: ./CLIENT_ID.json].")
@click.option(
    "--mqtt-version", type=click.Choice(["3.1.1", "5"]), default="5", show_default=True, help="Spoken to both brokers."
)
@click.option(
    "--ca-file",
    type=click.Path(),
    default="",
    help="CA of an mqtts:// provision broker; and of the account's, where the answer brings none.",
)
@click.option("--serial", help="Told with the ask (JSON).")
@click.option("--only-birth", is_flag=True, help="Kura: say BIRTH and no PROV, as a stock gateway.")
@click.option(
    "--fail",
    "fails",
    type=(click.IntRange(min=1), click.IntRange(min=1)),
    multiple=True,
    metavar="N TIMES",
    help="Kura: the N-th application fails that many times.",
)
@click.option(
    "--provision-account",
    default=PROVISION_ACCOUNT,
    show_default=True,
    metavar="NAME",
    help="Kura: the account name in its provisioning topics.",
)
@click.option(
    "--patience", type=click.FloatRange(min=0), default=120.0, show_default=True, help="Seconds until it gives up."
)
@click.option(
    "--first-wait",
    type=click.FloatRange(min=0.1),
    default=FIRST_WAIT,
    show_default=True,
    help="Seconds until it asks again.",
)
@json_option
def device_run(client_id: str, as_json: bool, **options: Any) -> None:
    """
    Be the device CLIENT_ID: from its factory credentials to its account's broker, as docs/protocol.md says.

    Exit status: 0 it works at its account's broker, 3 refused, 4 not reached, or a certificate is not trusted.
    """
    logging.getLogger("gmqtt").setLevel(logging.CRITICAL)
    _check(client_id, options)
    key_file = options["activation_key_file"]
    device = Device(
        broker=options["broker"],
        client_id=client_id,
        username=options["username"],
        password=secret.read_password(options["password_file"], twice=False),
        activation_key=secret.read_file(key_file, "activation key").strip() if key_file is not None else None,
        seal=options["seal"],
        facts={"serial": options["serial"]} if options["serial"] else {},
        store=options["store"] or Path(f"{client_id}.json"),
        version=options["mqtt_version"],
        ca_file=options["ca_file"],
        patience=options["patience"],
        first_wait=options["first_wait"],
    )
    _check_kept(device.store)
    gateway = None
    if options["wire"] == "kura":
        gateway = Gateway(
            provision_account=options["provision_account"],
            only_birth=options["only_birth"],
            failures=dict(options["fails"]),
        )
    sys.exit(_run(device, gateway, as_json=as_json))


def _check(client_id: str, options: Mapping[str, Any]) -> None:
    """Raises click.UsageError for what no device could do."""
    for problem in check_endpoint(options["broker"], "--broker"):
        raise click.UsageError(str(problem))
    if not options["broker"].startswith(("mqtt://", "mqtts://")):
        raise click.UsageError("--broker: must begin with mqtt:// or mqtts://")
    for name, text in (("CLIENT_ID", client_id), ("--username", options["username"]), ("--serial", options["serial"])):
        if not is_text(text or ""):
            raise click.UsageError(f"{name}: must be text that fits into an MQTT message")
    if options["seal"] and options["wire"] == "kura":
        raise click.UsageError("--seal is for --wire json")
    if options["wire"] == "json" and (options["only_birth"] or options["fails"]):
        raise click.UsageError("--only-birth and --fail are for --wire kura")
    if options["seal"] and options["activation_key_file"] is None:
        raise click.UsageError("--seal needs --activation-key-file")
    if options["ca_file"]:
        try:
            trust(ca_file=options["ca_file"])
        except NotUsable as error:
            raise click.UsageError(f"--ca-file: {error}") from error


def is_text(text: str) -> bool:
    """Whether MQTT can carry it: UTF-8, of at most 65,535 bytes."""
    try:
        return len(text.encode("utf-8")) <= 65_535 and "\0" not in text
    except UnicodeEncodeError:
        return False


def _check_kept(store: Path) -> None:
    """Raises click.ClickException where the file is there and holds something else than a device's answer."""
    try:
        answer = json.loads(store.read_text(encoding="utf-8"))
        connection = answer["connection"]
        complete = isinstance(answer["confirmed"], bool) and all(
            isinstance(connection[name], str)
            for name in ("endpoint", "account", "client_id", "username", "password", *({"ca"} & connection.keys()))
        )
    except FileNotFoundError:
        return
    except OSError as error:
        raise click.ClickException(f"{store}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError):
        complete = False
    if not complete:
        raise click.ClickException(f"{store}: is not the kept answer of a device; name another file with --store")


_TOLD = ("code", "retry_after", "not_before", "server_time", "correlation_id")


def _run(device: Device, gateway: Gateway | None, *, as_json: bool) -> int:
    say = _say_json if as_json else _say_plain
    try:
        simulation = Simulation(device, say) if gateway is None else KuraSimulation(device, say, gateway)
        asyncio.run(simulation.run())
    except DeviceRefused as refused:
        say("refused", why=str(refused), **{name: refused.answer[name] for name in _TOLD if name in refused.answer})
        return output.REFUSED
    except DeviceUnreached as error:
        say("gave up", why=str(error))
        return output.UNREACHABLE
    except OSError as error:
        say("failed", why=error.strerror or "cannot write", file=str(device.store))
        return output.FAILED
    return output.OK
