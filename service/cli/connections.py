"""`provision device connection | connection-delete | delete`: who may have a client id."""

from __future__ import annotations

from typing import Any

import click

from service.cli import output
from service.cli.context import account_option, confirm, json_option, run, yes_option
from service.core.connections import ConnectionChanges
from service.core.requests import COUPLINGS, UNSET
from service.operations import connections
from service.operations.administration import Administration

NOBODY = "none"


@click.command("connection")
@click.argument("client_id")
@account_option
@click.option("--coupling", type=click.Choice(COUPLINGS), help="INHERITED takes the account's mode.")
@click.option(
    "--reserved-user", metavar="NAME", help=f"The only user that may have it, and may have no other; {NOBODY}: nobody."
)
@click.option(
    "--allow-user-change/--no-allow-user-change",
    "allow_user_change",
    default=None,
    help="Let a STRICT connection take another user, once.",
)
@json_option
def connection(
    client_id: str,
    account: str | None,
    coupling: str | None,
    reserved_user: str | None,
    allow_user_change: bool | None,
    as_json: bool,
) -> None:
    """
    Change a device connection, at once also for whoever is connected; without options, show it.
    """
    changes = ConnectionChanges(
        coupling=UNSET if coupling is None else coupling,
        reserved_user=UNSET if reserved_user is None else None if reserved_user == NOBODY else reserved_user,
        allow_user_change=UNSET if allow_user_change is None else allow_user_change,
    )

    async def operation(admin: Administration) -> dict[str, Any]:
        name = await _account(admin, account, client_id)
        notices: tuple[str, ...] = ()
        if changes.given():
            notices = (await connections.change_connection(admin, name, client_id, changes)).notices
        return {**await connections.show_connection(admin, name, client_id), "notices": notices}

    row = run(operation, as_json=as_json)
    if as_json:
        output.print_json(row)
        return
    for notice in row.pop("notices"):
        output.notice(notice)
    output.print_record(row)


async def _account(admin: Administration, account: str | None, client_id: str) -> str:
    return account or await connections.find_account_of_client(admin, client_id)


@click.command("connection-delete")
@click.argument("client_id")
@account_option
@yes_option
@json_option
def delete_connection(client_id: str, account: str | None, yes: bool, as_json: bool) -> None:
    """Forget a device connection with its coupling and reservation; the next login makes a new one."""
    confirm(f"Delete the device connection of {client_id}?", yes=yes)

    async def operation(admin: Administration) -> str:
        name = await _account(admin, account, client_id)
        await connections.delete_connection(admin, name, client_id)
        return name

    name = run(operation, as_json=as_json)
    text = f"deleted the device connection of {client_id}"
    output.say(text, {"account": name, "client_id": client_id, "deleted": True}, as_json=as_json)


@click.command("delete")
@click.argument("client_id")
@account_option
@yes_option
@json_option
def delete_device(client_id: str, account: str | None, yes: bool, as_json: bool) -> None:
    """Delete a device with its connection, and the generated users that deleted requests left behind."""
    confirm(f"Delete device {client_id} with its connection and users?", yes=yes)

    async def operation(admin: Administration) -> tuple[str, list[str]]:
        name = await _account(admin, account, client_id)
        return name, await connections.delete_device(admin, name, client_id)

    name, users = run(operation, as_json=as_json)
    text = f"deleted device {client_id}" + "".join(f", user {user}" for user in users)
    document = {"account": name, "client_id": client_id, "deleted": True, "deleted_users": users}
    output.say(text, document, as_json=as_json)
