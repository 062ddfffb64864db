"""The `provision` command."""

from __future__ import annotations

import click

from service import keys
from service.cli import secret
from service.cli.authority import ca
from service.cli.context import Commands, json_option
from service.cli.credentials import credential
from service.cli.events import events
from service.cli.faces import refuse_server
from service.cli.imports import import_requests, print_labels
from service.cli.platform import account, broker, service
from service.cli.preview import preview
from service.cli.recovery import issuing_group, recovery_group
from service.cli.registry import device, user
from service.cli.requests import request
from service.cli.server import Choice
from service.cli.tokens import token


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--server",
    envvar="PROVISION_SERVER",
    metavar="URL",
    help="Ask the administrators' API there (or PROVISION_SERVER), instead of the database.",
)
@click.option(
    "--token-file",
    envvar="PROVISION_TOKEN_FILE",
    type=click.Path(),
    help="File (0600) with the API's token (or PROVISION_TOKEN_FILE).",
)
@click.option(
    "--server-ca",
    envvar="PROVISION_SERVER_CA",
    type=click.Path(),
    help="PEM file with the CA of --server (or PROVISION_SERVER_CA; default: the system's).",
)
@click.pass_context
def main(context: click.Context, /, server: str | None, token_file: str | None, server_ca: str | None) -> None:
    """
    Device provisioning for Mosquitto (docs/commands.md).

    Settings come from the environment (docs/settings.md). Exit status: 0 done, 1 failed, 2 not understood or not
    allowed, 3 refused by a broker or the responder, 4 not reached; of a server: 5 its certificate is not trusted, 6 it
    does not know the token, 7 the token may not do this, 8 too many wrong tokens.
    """
    named = context.get_parameter_source("server") is click.core.ParameterSource.COMMANDLINE
    context.obj = Choice(server=server, token_file=token_file, ca_file=server_ca, on_command_line=named)


@click.group()
def key() -> None:
    """Keys of the services."""


@key.command("create")
@click.option("--kid", help="Make a sealing key with this kid.")
@click.option("--output", "path", type=click.Path(), help="Write it to this new file (0600) instead of showing it.")
@json_option
def create_key(kid: str | None, path: str | None, as_json: bool) -> None:
    """Make 32 random bytes, as settings want them."""
    if kid is not None and (not kid.isalnum() or len(kid) > 32):
        raise click.UsageError("--kid must be 1 to 32 letters and digits")
    text = f"{kid}:{keys.new_key()}" if kid is not None else keys.new_key()
    with secret.new_place(path, as_json=as_json) as place:
        place.hand_over("made a key", {"kid": kid}, secret=text, field="key", what="the key")


for command in (preview, import_requests, print_labels):
    request.add_command(command)
for command in (
    account, broker, user, credential, request, device, service, issuing_group, recovery_group, key, ca, token, events,
):  # fmt: skip
    main.add_command(command)
refuse_server(main)
