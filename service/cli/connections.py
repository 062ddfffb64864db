"""`provision device connection | connection-delete | delete`: who may have a client id."""

from __future__ import annotations

from typing import Any

import click

from service.cli import output
from service.cli.calls import Caller, run
from service.cli.context import account_option, confirm, json_option, yes_option
from service.core.requests import COUPLINGS

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
    changes: dict[str, Any] = {"coupling": coupling, "reserved_user": reserved_user}
    changes = {name: value for name, value in changes.items() if value is not None}
    if reserved_user == NOBODY:
        changes["reserved_user"] = None
    if allow_user_change is not None:
        changes["allow_user_change"] = allow_user_change

    async def work(call: Caller) -> dict[str, Any]:
        path = {"account": await call.account_of(client_id, account, of="client"), "client_id": client_id}
        shown = await call("change_connection" if changes else "show_connection", path, body=changes)
        return {**shown, "notices": shown.get("notices", [])}

    row = run(work, as_json=as_json)
    if as_json:
        output.print_json(row)
        return
    for notice in row.pop("notices"):
        output.notice(notice)
    output.print_record(row)


def _delete(route: str, client_id: str, account: str | None, *, as_json: bool) -> tuple[str, Any]:
    """The account, and what was answered."""

    async def work(call: Caller) -> tuple[str, Any]:
        name = await call.account_of(client_id, account, of="client")
        return name, await call(route, {"account": name, "client_id": client_id})

    done: tuple[str, Any] = run(work, as_json=as_json)
    return done


@click.command("connection-delete")
@click.argument("client_id")
@account_option
@yes_option
@json_option
def delete_connection(client_id: str, account: str | None, yes: bool, as_json: bool) -> None:
    """Forget a device connection with its coupling and reservation; the next login makes a new one."""
    confirm(f"Delete the device connection of {client_id}?", yes=yes)

    name, _ = _delete("delete_connection", client_id, account, as_json=as_json)
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

    name, answer = _delete("delete_device", client_id, account, as_json=as_json)
    users = answer["deleted_users"]
    text = f"deleted device {client_id}" + "".join(f", user {user}" for user in users)
    document = {"account": name, "client_id": client_id, "deleted": True, "deleted_users": users}
    output.say(text, document, as_json=as_json)
