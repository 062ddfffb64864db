"""`provision user | device`: an account's users and its device registry."""

from __future__ import annotations

import datetime

import click

from service.cli import output, secret
from service.cli.connections import connection, delete_connection, delete_device
from service.cli.context import account_option, confirm, json_option, needed, run, yes_option
from service.cli.device_run import device_run
from service.cli.requests import MOMENT
from service.operations import devices, releases, users
from service.operations.administration import Administration


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
    name_of_account = needed(account)
    with secret.new_place(password_file, as_json=as_json) as place:
        made = run(lambda admin: users.create_person(admin, name_of_account, name, permissions), as_json=as_json)
        document = {"account": name_of_account, "name": name, "permissions": permissions}
        text = f"created user {name}"
        place.hand_over(text, document, secret=made, field="password", what=f"the password of {name}")


@user.command("list")
@account_option
@json_option
def list_users(account: str | None, as_json: bool) -> None:
    """Users of one account, or of all."""
    rows = run(lambda admin: users.list_users(admin, account), as_json=as_json)
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
    name_of_account = needed(account)
    run(lambda admin: users.set_permissions(admin, name_of_account, name, permissions), as_json=as_json)
    text = f"user {name} has {', '.join(permissions) or 'no permissions'}"
    output.say(text, {"account": name_of_account, "name": name, "permissions": permissions}, as_json=as_json)


@user.command("disable")
@click.argument("name")
@account_option
@json_option
def disable_user(name: str, account: str | None, as_json: bool) -> None:
    """Keep a user out, at once."""
    _set_user_enabled(name, needed(account), enabled=False, as_json=as_json)


@user.command("enable")
@click.argument("name")
@account_option
@json_option
def enable_user(name: str, account: str | None, as_json: bool) -> None:
    """Let a user in again."""
    _set_user_enabled(name, needed(account), enabled=True, as_json=as_json)


def _set_user_enabled(name: str, account: str, *, enabled: bool, as_json: bool) -> None:
    run(lambda admin: users.set_user_enabled(admin, account, name, enabled=enabled), as_json=as_json)
    text = f"user {name} is {'enabled' if enabled else 'disabled'}"
    output.say(text, {"account": account, "name": name, "enabled": enabled}, as_json=as_json)


@user.command("delete")
@click.argument("name")
@account_option
@yes_option
@json_option
def delete_user(name: str, account: str | None, yes: bool, as_json: bool) -> None:
    """Delete a person's user (a request's generated user goes with `request reopen` or `request delete`)."""
    name_of_account = needed(account)
    confirm(f"Delete user {name}?", yes=yes)
    run(lambda admin: users.delete_user(admin, name_of_account, name), as_json=as_json)
    output.say(f"deleted user {name}", {"account": name_of_account, "name": name, "deleted": True}, as_json=as_json)


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
    rows = run(lambda admin: devices.list_devices(admin, account, status=status, text=text), as_json=as_json)
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
    row = run(lambda admin: devices.show_device(admin, account, client_id), as_json=as_json)
    if as_json:
        output.print_json(row)
    else:
        history, birth = row.pop("releases"), row.pop("birth")
        output.print_record({**row, **{f"birth {name}": value for name, value in (birth or {}).items()}})
        if history:
            output.print_table(history, _RELEASE_COLUMNS, empty="")


def _set_enabled(client_id: str, account: str | None, *, enabled: bool, as_json: bool) -> None:
    async def operation(admin: Administration) -> str:
        name = account or await devices.find_account_of_device(admin, client_id)
        await devices.set_device_enabled(admin, name, client_id, enabled=enabled)
        return name

    name = run(operation, as_json=as_json)
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

    async def operation(admin: Administration) -> tuple[str, datetime.datetime]:
        name = account or await releases.find_holder(admin, client_id)
        return name, await releases.release_device(admin, name, client_id, to=to, until=until)

    name, expires_on = run(operation, as_json=as_json)
    text = f"released {client_id} from {name} to {to} until {output.plain(expires_on)}"
    document = {"account": name, "client_id": client_id, "to_account": to, "expires_on": expires_on}
    output.say(text, document, as_json=as_json)


def _cancel_release(client_id: str, account: str | None, *, as_json: bool) -> None:
    async def operation(admin: Administration) -> str:
        name = account or await releases.find_holder(admin, client_id)
        await releases.cancel_release(admin, name, client_id)
        return name

    name = run(operation, as_json=as_json)
    document = {"account": name, "client_id": client_id, "cancelled": True}
    output.say(f"cancelled the release of {client_id}", document, as_json=as_json)


@device.command("releases")
@click.argument("client_id", required=False)
@account_option
@json_option
def list_releases(client_id: str | None, account: str | None, as_json: bool) -> None:
    """Releases to and from an account, or all of them; of one client id, or of all."""
    rows = run(lambda admin: releases.list_releases(admin, account, client_id), as_json=as_json)
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, _RELEASE_COLUMNS, empty="no releases")
