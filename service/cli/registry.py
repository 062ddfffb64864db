"""`provision user | device`: an account's users and its device registry."""

from __future__ import annotations

import datetime
from typing import Any

import click

from service.cli import output, secret
from service.cli.calls import Caller, check_account, run
from service.cli.connections import connection, delete_connection, delete_device
from service.cli.context import account_option, confirm, json_option, yes_option
from service.cli.device_run import device_run
from service.cli.requests import MOMENT
from service.operations import devices, users


@click.group()
def user() -> None:
    """Users of an account."""


@user.command("create")
@click.argument("name")
@account_option
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    default=("broker:connect",),
    show_default=True,
    help=f"One of {', '.join(users.PERMISSIONS)}.",
)
@click.option(
    "--password-file",
    type=click.Path(),
    help="Write the generated password to this new file (0600) instead of showing it.",
)
@json_option
def create_user(
    name: str, account: str | None, permissions: tuple[str, ...], password_file: str | None, as_json: bool
) -> None:
    """A user for a person; its password is generated."""
    check_account(account)
    with secret.new_place(password_file, as_json=as_json) as place:
        body = {"name": name, "permissions": permissions}
        whose, made = run(lambda call: _of_account(call, "create_user", account, body=body), as_json=as_json)
        document = {"account": whose, "name": name, "permissions": permissions}
        text = f"created user {name}"
        place.hand_over(text, document, secret=made["password"], field="password", what=f"the password of {name}")


async def _of_account(
    call: Caller, route: str, account: str | None, *, body: Any = None, **path: str
) -> tuple[str, Any]:
    """The account, and what a route of it answers."""
    whose = await call.needed(account)
    return whose, await call(route, {"account": whose, **path}, body=body)


@user.command("list")
@account_option
@json_option
def list_users(account: str | None, as_json: bool) -> None:
    """Users of one account, or of all."""
    rows = run(lambda call: call.items("list_users", account), as_json=as_json)
    rows.sort(key=lambda row: (row["account"] or "~", row["kind"], row["name"]))
    if as_json:
        output.print_json(rows)
    else:
        columns = ["account", "name", "kind", "enabled", "permissions", "confirmed_at"]
        output.print_table(rows, columns, empty="no users")


@user.command("grant")
@click.argument("name")
@click.argument("permissions", nargs=-1, metavar="[PERMISSION]...")
@account_option
@json_option
def grant(name: str, permissions: tuple[str, ...], account: str | None, as_json: bool) -> None:
    """Give a person these permissions, and no others (none at all: it cannot connect)."""
    check_account(account)
    body = {"permissions": permissions}
    whose, _ = run(lambda call: _of_account(call, "grant_user", account, username=name, body=body), as_json=as_json)
    text = f"user {name} has {', '.join(permissions) or 'no permissions'}"
    output.say(text, {"account": whose, "name": name, "permissions": permissions}, as_json=as_json)


@user.command("disable")
@click.argument("name")
@account_option
@json_option
def disable_user(name: str, account: str | None, as_json: bool) -> None:
    """Keep a user out, at once."""
    _set_user_enabled(name, account, enabled=False, as_json=as_json)


@user.command("enable")
@click.argument("name")
@account_option
@json_option
def enable_user(name: str, account: str | None, as_json: bool) -> None:
    """Let a user in again."""
    _set_user_enabled(name, account, enabled=True, as_json=as_json)


def _set_user_enabled(name: str, account: str | None, *, enabled: bool, as_json: bool) -> None:
    check_account(account)
    route = "enable_user" if enabled else "disable_user"
    whose, _ = run(lambda call: _of_account(call, route, account, username=name), as_json=as_json)
    text = f"user {name} is {'enabled' if enabled else 'disabled'}"
    output.say(text, {"account": whose, "name": name, "enabled": enabled}, as_json=as_json)


@user.command("delete")
@click.argument("name")
@account_option
@yes_option
@json_option
def delete_user(name: str, account: str | None, yes: bool, as_json: bool) -> None:
    """Delete a person's user (a request's generated user goes with `request reopen` or `request delete`)."""
    check_account(account)
    confirm(f"Delete user {name}?", yes=yes)
    whose, _ = run(lambda call: _of_account(call, "delete_user", account, username=name), as_json=as_json)
    output.say(f"deleted user {name}", {"account": whose, "name": name, "deleted": True}, as_json=as_json)


@click.group()
def device() -> None:
    """The device registry, and the simulated device."""


for command in (device_run, connection, delete_connection, delete_device):
    device.add_command(command)

_RELEASE_COLUMNS = ["account", "to_account", "client_id", "status", "expires_on", "used_at"]
_COLUMNS = ["account", "client_id", "enabled", "status", "status_at", "last_login_at"]


@device.command("list")
@account_option
@click.option("--status", type=click.Choice(devices.STATUSES), help="Only those whose connection is so.")
@click.option("--text", help="Only those with this text in client id, display name or username.")
@json_option
def list_devices(account: str | None, status: str | None, text: str | None, as_json: bool) -> None:
    """Devices of one account, or of all."""
    query = {"status": [status] if status else None, "text": text, "sort": "client_id"}
    rows = run(lambda call: call.items("list_devices", account, query=query), as_json=as_json)
    rows.sort(key=lambda row: row["account"])
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, _COLUMNS, empty="no devices")


@device.command("show")
@click.argument("client_id")
@account_option
@json_option
def show_device(client_id: str, account: str | None, as_json: bool) -> None:
    """One device with its connection, what it said of itself (BIRTH), its releases to and from other accounts."""
    _, row = run(lambda call: _of_device(call, "show_device", client_id, account), as_json=as_json)
    if as_json:
        output.print_json(row)
    else:
        history, birth = row.pop("releases"), row.pop("birth")
        output.print_record({**row, **{f"birth {name}": value for name, value in (birth or {}).items()}})
        if history:
            output.print_table(history, _RELEASE_COLUMNS, empty="")


async def _of_device(
    call: Caller, route: str, client_id: str, account: str | None, *, of: str = "device", body: Any = None
) -> tuple[str, Any]:
    """The account that has the client id, and what a route of it answers."""
    whose = await call.account_of(client_id, account, of=of)
    return whose, await call(route, {"account": whose, "client_id": client_id}, body=body)


def _set_enabled(client_id: str, account: str | None, *, enabled: bool, as_json: bool) -> None:
    route = "enable_device" if enabled else "disable_device"
    name, _ = run(lambda call: _of_device(call, route, client_id, account), as_json=as_json)
    text = f"device {client_id} is {'enabled' if enabled else 'disabled'}"
    output.say(text, {"account": name, "client_id": client_id, "enabled": enabled}, as_json=as_json)


@device.command("disable")
@click.argument("client_id")
@account_option
@json_option
def disable_device(client_id: str, account: str | None, as_json: bool) -> None:
    """Keep a device out of its account's brokers, at once."""
    _set_enabled(client_id, account, enabled=False, as_json=as_json)


@device.command("enable")
@click.argument("client_id")
@account_option
@json_option
def enable_device(client_id: str, account: str | None, as_json: bool) -> None:
    """Let a device in again."""
    _set_enabled(client_id, account, enabled=True, as_json=as_json)


@device.command("release")
@click.argument("client_id")
@click.option("--to", metavar="ACCOUNT", help="The account that the device moves to.")
@click.option("--until", type=MOMENT, help="Such as 2030-01-31T08:00:00Z (default: in 30 days).")
@click.option("--cancel", is_flag=True, help="Call the release off instead.")
@account_option
@json_option
def release(
    client_id: str, to: str | None, until: datetime.datetime | None, cancel: bool, account: str | None, as_json: bool
) -> None:
    """Let CLIENT_ID move to another account; at its first login there the old device is disabled, not before."""
    if cancel == (to is not None) or (cancel and until is not None):
        raise click.UsageError("say --to ACCOUNT (and --until), or --cancel")
    if to is None:
        _cancel_release(client_id, account, as_json=as_json)
        return

    body = {"to": to, "until": until}
    name, released = run(
        lambda call: _of_device(call, "release_device", client_id, account, of="claim", body=body), as_json=as_json
    )
    expires_on = released["until"]
    text = f"released {client_id} from {name} to {to} until {output.plain(expires_on)}"
    document = {"account": name, "client_id": client_id, "to_account": to, "expires_on": expires_on}
    output.say(text, document, as_json=as_json)


def _cancel_release(client_id: str, account: str | None, *, as_json: bool) -> None:
    name, _ = run(lambda call: _of_device(call, "cancel_release", client_id, account, of="claim"), as_json=as_json)
    document = {"account": name, "client_id": client_id, "cancelled": True}
    output.say(f"cancelled the release of {client_id}", document, as_json=as_json)


@device.command("releases")
@click.argument("client_id", required=False)
@account_option
@json_option
def list_releases(client_id: str | None, account: str | None, as_json: bool) -> None:
    """Releases to and from an account, or all of them; of one client id, or of all."""
    query = {"client_id": client_id}
    rows = run(lambda call: call.within("list_releases", account, query=query), as_json=as_json)["items"]
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, _RELEASE_COLUMNS, empty="no releases")
