"""`provision user | device`: an account's users and its device registry."""

from __future__ import annotations

import sys

import click

from service.cli import output
from service.cli.context import account_option, confirm, json_option, run, yes_option
from service.cli.device_run import device_run
from service.operations import devices, users
from service.operations.administration import Administration


def needed(account: str | None) -> str:
    """The account, where a command cannot do without."""
    if account is None:
        raise click.UsageError("name the account: --account, or PROVISION_ACCOUNT")
    return account


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
@click.option("--password-file", type=click.Path(), help="Write the password to this new file (0600).")
@json_option
def create_user(
    name: str, account: str | None, permissions: tuple[str, ...], password_file: str | None, as_json: bool
) -> None:
    """A user for a person; its password is generated."""
    name_of_account = needed(account)
    with output.secret_place(password_file, as_json=as_json) as hand_over:
        password = run(lambda admin: users.create_person(admin, name_of_account, name, permissions), as_json=as_json)
        hand_over(password, f"the password of {name}")


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
@click.argument("permissions", nargs=-1, metavar="PERMISSION...")
@account_option
def grant(name: str, permissions: tuple[str, ...], account: str | None) -> None:
    """Give a person these permissions, and no others (none at all: it cannot connect)."""
    name_of_account = needed(account)
    run(lambda admin: users.set_permissions(admin, name_of_account, name, permissions))


@user.command("disable")
@click.argument("name")
@account_option
def disable_user(name: str, account: str | None) -> None:
    """Keep a user out, at once."""
    name_of_account = needed(account)
    run(lambda admin: users.set_user_enabled(admin, name_of_account, name, enabled=False))


@user.command("enable")
@click.argument("name")
@account_option
def enable_user(name: str, account: str | None) -> None:
    """Let a user in again."""
    name_of_account = needed(account)
    run(lambda admin: users.set_user_enabled(admin, name_of_account, name, enabled=True))


@user.command("delete")
@click.argument("name")
@account_option
@yes_option
def delete_user(name: str, account: str | None, yes: bool) -> None:
    """Delete a person's user (a request's generated user goes with `request reopen` or `request delete`)."""
    name_of_account = needed(account)
    confirm(f"Delete user {name}?", yes=yes)
    run(lambda admin: users.delete_user(admin, name_of_account, name))


@click.group()
def device() -> None:
    """The device registry, and the simulated device."""


device.add_command(device_run)

_COLUMNS = ["account", "client_id", "enabled", "status", "last_login_at", "username", "reserved_user", "coupling"]


@device.command("list")
@account_option
@json_option
def list_devices(account: str | None, as_json: bool) -> None:
    """Devices of one account, or of all."""
    rows = run(lambda admin: devices.list_devices(admin, account), as_json=as_json)
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, _COLUMNS, empty="no devices")


@device.command("show")
@click.argument("client_id")
@account_option
@json_option
def show_device(client_id: str, account: str | None, as_json: bool) -> None:
    """One device with its connection."""
    rows = run(lambda admin: devices.list_devices(admin, account, client_id), as_json=as_json)
    if not rows:
        output.errors.print(f"there is no device {client_id!r}")
        sys.exit(output.INVALID)
    if as_json:
        output.print_json(rows[0])
    else:
        output.print_record(rows[0])


def _set_enabled(client_id: str, account: str | None, *, enabled: bool) -> None:
    async def operation(admin: Administration) -> None:
        name = account or await devices.find_account_of_device(admin, client_id)
        await devices.set_device_enabled(admin, name, client_id, enabled=enabled)

    run(operation)


@device.command("disable")
@click.argument("client_id")
@account_option
def disable_device(client_id: str, account: str | None) -> None:
    """Keep a device out of its account's brokers, at once."""
    _set_enabled(client_id, account, enabled=False)


@device.command("enable")
@click.argument("client_id")
@account_option
def enable_device(client_id: str, account: str | None) -> None:
    """Let a device in again."""
    _set_enabled(client_id, account, enabled=True)
