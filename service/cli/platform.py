"""`provision account | broker | service | recovery`: what concerns the platform and more than one account."""

from __future__ import annotations

import click

from service.cli import output
from service.cli.context import confirm, json_option, run, yes_option
from service.operations import accounts, recovery, users

secret_file = click.option(
    "--secret-file", type=click.Path(), help="Write the secret to this new file (0600) instead of showing it."
)


@click.group()
def account() -> None:
    """Accounts: the tenants."""


@account.command("create")
@click.argument("name")
@click.option("--broker", "brokers", multiple=True, help="An account broker that serves it (default: the only one).")
@click.option(
    "--coupling",
    type=click.Choice(["LOOSE", "STRICT"]),
    default="STRICT",
    show_default=True,
    help="What INHERITED means for its device connections.",
)
@json_option
def create_account(name: str, brokers: tuple[str, ...], coupling: str, as_json: bool) -> None:
    """Create an account."""
    served_by = run(
        lambda admin: accounts.create_account(admin, name, brokers=brokers, coupling=coupling), as_json=as_json
    )
    if as_json:
        output.print_json({"name": name, "brokers": served_by})
    else:
        output.console.print(f"account {name}, served by {', '.join(served_by) or 'no broker yet'}")


@account.command("list")
@json_option
def list_accounts(as_json: bool) -> None:
    """Every account."""
    rows = run(accounts.list_accounts, as_json=as_json)
    if as_json:
        output.print_json(rows)
    else:
        columns = ["name", "kind", "enabled", "device_connection_coupling", "brokers", "created_at"]
        output.print_table(rows, columns, empty="no accounts")


@account.command("disable")
@click.argument("name")
def disable_account(name: str) -> None:
    """Keep all its devices and persons out, at once."""
    run(lambda admin: accounts.set_account_enabled(admin, name, enabled=False))


@account.command("enable")
@click.argument("name")
def enable_account(name: str) -> None:
    """Let its devices and persons in again."""
    run(lambda admin: accounts.set_account_enabled(admin, name, enabled=True))


@click.group()
def broker() -> None:
    """Brokers: who may ask the hooks."""


@broker.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(accounts.ROLES), required=True)
@click.option("--endpoint", "urls", multiple=True, metavar="URL", help="Where devices reach it.")
@click.option("--serves", multiple=True, metavar="ACCOUNT", help="An account that it serves (account brokers).")
@secret_file
@json_option
def create_broker(
    name: str, role: str, urls: tuple[str, ...], serves: tuple[str, ...], secret_file: str | None, as_json: bool
) -> None:
    """Register a broker and make its secret."""
    with output.secret_place(secret_file, as_json=as_json) as hand_over:
        secret = run(
            lambda admin: accounts.create_broker(admin, name, role=role, urls=urls, serves=serves), as_json=as_json
        )
        hand_over(secret, f"the secret of broker {name}")


@broker.command("list")
@json_option
def list_brokers(as_json: bool) -> None:
    """Every broker."""
    rows = run(accounts.list_brokers, as_json=as_json)
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, ["name", "role", "endpoints", "accounts", "rotating"], empty="no brokers")


@broker.command("serve")
@click.argument("name")
@click.argument("account_name", metavar="ACCOUNT")
def serve(name: str, account_name: str) -> None:
    """Let an account broker serve one more account."""
    run(lambda admin: accounts.serve_account(admin, name, account_name))


@broker.command("rotate")
@click.argument("name")
@click.option("--finish", is_flag=True, help="End the rotation: the old secret is good no more.")
@secret_file
@json_option
def rotate(name: str, finish: bool, secret_file: str | None, as_json: bool) -> None:
    """Make a new secret; the old one stays good until --finish."""
    if finish:
        run(lambda admin: accounts.finish_rotation(admin, name), as_json=as_json)
        return
    with output.secret_place(secret_file, as_json=as_json) as hand_over:
        secret = run(lambda admin: accounts.begin_rotation(admin, name), as_json=as_json)
        hand_over(secret, f"the new secret of broker {name}")


@click.group()
def service() -> None:
    """Our own users at the brokers."""


@service.command("responder-password")
@secret_file
@json_option
def responder_password(secret_file: str | None, as_json: bool) -> None:
    """Make a new password for ~responder; the one before is good no more."""
    with output.secret_place(secret_file, as_json=as_json) as hand_over:
        password = run(users.put_responder_password, as_json=as_json)
        hand_over(password, "the password of ~responder")


@click.group("recovery")
def recovery_group() -> None:
    """After a restore: no deadline passes until an operator says that this is the database to go on with."""


@recovery_group.command("show")
@json_option
def show_recovery(as_json: bool) -> None:
    """Whether deadlines stand still."""
    state = run(recovery.show, as_json=as_json)
    if as_json:
        output.print_json(state)
    else:
        output.print_record(state)


@recovery_group.command("accept")
@yes_option
def accept_recovery(yes: bool) -> None:
    """Go on with this database: time counts again."""
    confirm("Runs that were not confirmed will expire again. Go on?", yes=yes)
    output.console.print("time counts again" if run(recovery.accept) else "nothing was held")
