"""The `provision` command."""

from __future__ import annotations

import click

from service import keys
from service.cli import output
from service.cli.platform import account, broker, recovery_group, service
from service.cli.registry import device, user
from service.cli.requests import request


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """
    Device provisioning for Mosquitto.

    Settings come from the environment (docs/settings.md). Exit status: 0 done, 1 failed, 2 not understood or not
    allowed, 3 refused by a broker or the responder, 4 not reached.
    """


@click.group()
def key() -> None:
    """Keys of the services."""


@key.command("create")
@click.option("--kid", help="Make a sealing key with this kid.")
@click.option("--output", "path", type=click.Path(), help="Write it to this new file (0600).")
def create_key(kid: str | None, path: str | None) -> None:
    """Make 32 random bytes, as settings want them."""
    if kid is not None and (not kid.isalnum() or len(kid) > 32):
        raise click.UsageError("--kid must be 1 to 32 letters and digits")
    text = f"{kid}:{keys.new_key()}" if kid is not None else keys.new_key()
    with output.secret_place(path, as_json=False) as hand_over:
        hand_over(text, "the key")


for command in (account, broker, user, request, device, service, recovery_group, key):
    main.add_command(command)
