"""`provision account | broker | service`: what concerns the platform and more than one account."""

from __future__ import annotations

import click

from service.cli import output, secret
from service.cli.calls import run
from service.cli.context import confirm, json_option, yes_option
from service.core import names
from service.operations import accounts


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
    body = {"name": name, "brokers": brokers, "device_connection_coupling": coupling}
    served_by = run(lambda call: call("create_account", body=body), as_json=as_json)["brokers"]
    document = {"name": name, "device_connection_coupling": coupling, "brokers": served_by}
    output.say(
        f"created account {name}, served by {', '.join(served_by) or 'no broker yet'}", document, as_json=as_json
    )


@account.command("list")
@json_option
def list_accounts(as_json: bool) -> None:
    """Every account."""
    rows = run(lambda call: call("list_accounts"), as_json=as_json)["items"]
    if as_json:
        output.print_json(rows)
    else:
        columns = ["name", "kind", "enabled", "device_connection_coupling", "mandatory_provisioning", "brokers"]
        output.print_table(rows, columns, empty="no accounts")


@account.command("show")
@click.argument("name")
@json_option
def show_account(name: str, as_json: bool) -> None:
    """One account, its settings and what it has."""
    row = run(lambda call: call("show_account", {"account": name}), as_json=as_json)
    if as_json:
        output.print_json(row)
    else:
        output.print_record(row)


@account.command("change")
@click.argument("name")
@click.option(
    "--coupling", type=click.Choice(["LOOSE", "STRICT"]), help="What INHERITED means for its device connections."
)
@click.option(
    "--mandatory-provisioning/--no-mandatory-provisioning",
    "mandatory",
    default=None,
    help="Without a completed provision request, no device.",
)
@json_option
def change_account(name: str, coupling: str | None, mandatory: bool | None, as_json: bool) -> None:
    """Change an account's settings, at once also for whoever is connected."""
    if coupling is None and mandatory is None:
        raise click.UsageError("name what to change: --coupling, --mandatory-provisioning")
    wanted = {"device_connection_coupling": coupling, "mandatory_provisioning": mandatory}
    changed = {field: value for field, value in wanted.items() if value is not None}
    row = run(lambda call: call("change_account", {"account": name}, body=changed), as_json=as_json)
    notices = row["notices"]
    if not as_json:
        for notice in notices:
            output.notice(notice)
    output.say(
        f"account {name}: {output.words(changed)}", {"name": name, **changed, "notices": notices}, as_json=as_json
    )


@account.command("disable")
@click.argument("name")
@json_option
def disable_account(name: str, as_json: bool) -> None:
    """Keep all its devices and persons out, at once."""
    _set_enabled(name, enabled=False, as_json=as_json)


@account.command("enable")
@click.argument("name")
@json_option
def enable_account(name: str, as_json: bool) -> None:
    """Let its devices and persons in again."""
    _set_enabled(name, enabled=True, as_json=as_json)


def _set_enabled(name: str, *, enabled: bool, as_json: bool) -> None:
    route = "enable_account" if enabled else "disable_account"
    run(lambda call: call(route, {"account": name}), as_json=as_json)
    text = f"account {name} is {'enabled' if enabled else 'disabled'}"
    output.say(text, {"name": name, "enabled": enabled}, as_json=as_json)


ca_option = click.option(
    "--ca-file", type=click.Path(), help="PEM file with the CA that devices must trust there (account brokers)."
)


def read_ca(path: str | None) -> str | None:
    """The file's text; whether it is a CA is judged by the operation."""
    return None if path is None else secret.read_file(path, "CA")


@click.group()
def broker() -> None:
    """Brokers: who may ask the hooks."""


@broker.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(accounts.ROLES), required=True, help="What it is for.")
@click.option("--endpoint", "urls", multiple=True, metavar="URL", help="Where devices reach it.")
@click.option("--serves", multiple=True, metavar="ACCOUNT", help="An account that it serves (account brokers).")
@ca_option
@secret.file_option
@json_option
def create_broker(
    name: str,
    role: str,
    urls: tuple[str, ...],
    serves: tuple[str, ...],
    ca_file: str | None,
    secret_file: str | None,
    as_json: bool,
) -> None:
    """Register a broker and make its secret."""
    body = {"name": name, "role": role, "endpoints": urls, "accounts": serves, "ca": read_ca(ca_file)}
    with secret.new_place(secret_file, as_json=as_json) as place:
        made = run(lambda call: call("create_broker", body=body), as_json=as_json)["secret"]
        document = {"name": name, "role": role, "endpoints": urls, "accounts": serves}
        place.hand_over(f"created broker {name}", document, secret=made, field="secret", what=f"the secret of {name}")


@broker.command("list")
@json_option
def list_brokers(as_json: bool) -> None:
    """Every broker."""
    rows = run(lambda call: call("list_brokers"), as_json=as_json)["items"]
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(
            rows, ["name", "role", "endpoints", "accounts", "rotating", "ca_expires_on"], empty="no brokers"
        )


def change_ca(name: str, ca_file: str | None, *, as_json: bool) -> None:
    """The CA that devices are told to trust at a broker; none without a file."""
    ca = read_ca(ca_file)
    run(lambda call: call("change_broker", {"broker": name}, body={"ca": ca}), as_json=as_json)
    text = f"devices are handed {'no CA' if ca is None else 'this CA'} for {name} from now on"
    output.say(text, {"name": name, "ca": ca is not None}, as_json=as_json)


@broker.command("serve")
@click.argument("name")
@click.argument("account_name", metavar="ACCOUNT")
@json_option
def serve(name: str, account_name: str, as_json: bool) -> None:
    """Let an account broker serve one more account."""
    run(lambda call: call("serve_account", {"broker": name}, body={"account": account_name}), as_json=as_json)
    text = f"broker {name} serves account {account_name}"
    output.say(text, {"name": name, "account": account_name}, as_json=as_json)


@broker.command("unserve")
@click.argument("name")
@click.argument("account_name", metavar="ACCOUNT")
@yes_option
@json_option
def unserve(name: str, account_name: str, yes: bool, as_json: bool) -> None:
    """Let an account broker serve an account no more, at once also whoever is connected."""
    confirm(f"Keep the clients of {account_name} off {name}?", yes=yes)
    run(lambda call: call("unserve_account", {"broker": name, "served": account_name}), as_json=as_json)
    text = f"broker {name} does not serve account {account_name} any more"
    output.say(text, {"name": name, "account": account_name, "serves": False}, as_json=as_json)


@broker.command("change")
@click.argument("name")
@click.option("--endpoint", "urls", multiple=True, metavar="URL", help="Where devices reach it; instead of all.")
@ca_option
@click.option("--no-ca", is_flag=True, help="Hand out no CA: devices trust what they trust already.")
@json_option
def change_broker(name: str, urls: tuple[str, ...], ca_file: str | None, no_ca: bool, as_json: bool) -> None:
    """
    Change a broker's endpoints (these and no others), or its CA.

    What a device was answered stays as it was; runs that begin from now on get the new.
    """
    if [bool(urls), ca_file is not None, no_ca].count(True) != 1:
        raise click.UsageError("say what to change: --endpoint, --ca-file or --no-ca, one at a time")
    if not urls:
        change_ca(name, ca_file, as_json=as_json)
        return
    changed = run(lambda call: call("change_broker", {"broker": name}, body={"endpoints": urls}), as_json=as_json)
    document = {"name": name, "endpoints": list(dict.fromkeys(urls)), "removed": changed["removed"]}
    output.say(f"broker {name} has the endpoints {', '.join(document['endpoints'])}", document, as_json=as_json)


@broker.command("rotate")
@click.argument("name")
@click.option("--finish", is_flag=True, help="End the rotation: the old secret is good no more.")
@secret.file_option
@json_option
def rotate(name: str, finish: bool, secret_file: str | None, as_json: bool) -> None:
    """Make a new secret; the old one stays good until --finish."""
    if finish and secret_file is not None:
        raise click.UsageError("--finish makes no secret: leave --secret-file out")
    if finish:
        run(lambda call: call("finish_broker_rotation", {"broker": name}), as_json=as_json)
        text = f"the old secret of {name} is good no more"
        output.say(text, {"name": name, "rotating": False}, as_json=as_json)
        return
    with secret.new_place(secret_file, as_json=as_json) as place:
        made = run(lambda call: call("begin_broker_rotation", {"broker": name}), as_json=as_json)["secret"]
        text = f"the old secret of {name} stays good until --finish"
        document = {"name": name, "rotating": True}
        place.hand_over(text, document, secret=made, field="secret", what=f"the new secret of {name}")


@click.group()
def service() -> None:
    """Our own users at the brokers."""


@service.command("responder-password")
@secret.file_option
@json_option
def responder_password(secret_file: str | None, as_json: bool) -> None:
    """Make a new password for ~responder; the one before is good no more."""
    name = names.RESPONDER
    with secret.new_place(secret_file, as_json=as_json) as place:
        made = run(lambda call: call("set_responder_password"), as_json=as_json)["password"]
        text = f"the password of {name} was changed"
        place.hand_over(text, {"name": name}, secret=made, field="password", what="the new password")
