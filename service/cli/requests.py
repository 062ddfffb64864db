"""`provision request`: provision requests, from creation to the reason why a device is not in yet."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from service.cli import output
from service.cli.context import account_option, confirm, json_option, run, yes_option
from service.cli.registry import needed
from service.core import device_config
from service.core.problems import InvalidInput, Problem
from service.core.requests import COUPLINGS, MAXIMUM_ATTEMPTS, UNSET, Changes, NewRequest
from service.operations import explain, moves, requests
from service.operations.administration import Administration


class _Moment(click.ParamType[datetime.datetime | None]):
    """A date and time with its time zone; `never` where a field may be empty."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "never":
            return None
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail("must be such as 2030-01-31T08:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail("must have a time zone, such as 2030-01-31T08:00:00Z", param, ctx)
        return moment


MOMENT = _Moment()


def _read_configuration(path: str | None) -> dict[str, dict[str, device_config.Value]]:
    """The additional device configuration from a file (`-`: standard input). Raises InvalidInput."""
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        text_of = getattr(error, "strerror", None) or "is not UTF-8"
        raise InvalidInput(
            [Problem(field=device_config.FIELD, rule="unreadable", text=f"{path}: {text_of}")]
        ) from error
    configuration, problems = device_config.parse(text)
    if problems:
        raise InvalidInput(problems)
    return configuration


@click.group()
def request() -> None:
    """Provision requests."""


@request.command("create")
@click.argument("client_id")
@account_option
@click.option("--username", required=True, metavar="NAME", help="Provision username.")
@click.option(
    "--password-file", type=click.Path(), help="File with the provision password (or PROVISION_PASSWORD, or a prompt)."
)
@click.option(
    "--activation-key/--no-activation-key",
    default=None,
    help="Generate an activation key (default: only where the provision username is shared).",
)
@click.option("--activation-key-file", type=click.Path(), help="Write the activation key to this new file (0600).")
@click.option("--endpoint", metavar="URL", help="Provision endpoint (default: the account's only one).")
@click.option("--activates-on", type=MOMENT, help="Default: now.")
@click.option("--expires-on", type=MOMENT, help="Default: never.")
@click.option("--reserve-user/--no-reserve-user", default=True, show_default=True)
@click.option("--coupling", type=click.Choice(COUPLINGS), default="INHERITED", show_default=True)
@click.option("--configuration", metavar="FILE", help="Additional device configuration: JSON (- for standard input).")
@click.option("--maximum-attempts", type=int, default=MAXIMUM_ATTEMPTS, show_default=True)
@click.option("--enabled/--disabled", default=True, show_default=True)
@json_option
def create(
    client_id: str,
    account: str | None,
    username: str,
    password_file: str | None,
    activation_key: bool | None,
    activation_key_file: str | None,
    endpoint: str | None,
    activates_on: datetime.datetime | None,
    expires_on: datetime.datetime | None,
    reserve_user: bool,
    coupling: str,
    configuration: str | None,
    maximum_attempts: int,
    enabled: bool,
    as_json: bool,
) -> None:
    """Create a provision request for the device that will connect as CLIENT_ID."""
    name = needed(account)
    password = output.read_secret(password_file, "PROVISION_PASSWORD", "provision password")

    async def operation(admin: Administration) -> requests.Created:
        new = NewRequest(
            client_id=client_id,
            provision_username=username,
            provision_password=password,
            generate_activation_key=activation_key,
            provision_endpoint=endpoint,
            activates_on=activates_on,
            expires_on=expires_on,
            reserve_user=reserve_user,
            device_connection_coupling=coupling,
            additional_device_configuration=_read_configuration(configuration),
            maximum_attempts=maximum_attempts,
            enabled=enabled,
        )
        return await requests.create_request(admin, name, new)

    with output.secret_place(activation_key_file, as_json=False) as hand_over:
        _report(run(operation, as_json=as_json), hand_over, activation_key_file, as_json=as_json)


def _report(
    created: requests.Created, hand_over: Callable[[str, str], None], key_file: str | None, *, as_json: bool
) -> None:
    for text in created.notices:
        output.notice(text)
    if as_json:
        document: dict[str, Any] = {"client_id": created.client_id, "notices": list(created.notices)}
        if created.activation_key is not None and key_file is None:
            document["activation_key"] = created.activation_key
        output.print_json(document)
    else:
        output.console.print(f"provision request for {created.client_id}")
    if created.activation_key is not None and (key_file is not None or not as_json):
        hand_over(created.activation_key, f"the activation key of {created.client_id}")


@request.command("change")
@click.argument("client_id")
@account_option
@click.option("--new-activation-key", is_flag=True, help="Make a new one, shown this once.")
@click.option("--remove-activation-key", is_flag=True)
@click.option("--activation-key-file", type=click.Path(), help="Write the activation key to this new file (0600).")
@click.option("--endpoint", metavar="URL")
@click.option("--activates-on", type=MOMENT)
@click.option("--expires-on", type=MOMENT, help="A moment, or never.")
@click.option("--reserve-user/--no-reserve-user", default=None)
@click.option("--coupling", type=click.Choice(COUPLINGS))
@click.option("--configuration", metavar="FILE", help="Replaces the additional device configuration.")
@click.option("--maximum-attempts", type=int)
@json_option
@click.pass_context
def change(context: click.Context, /, client_id: str, account: str | None, as_json: bool, **options: Any) -> None:
    """Change what may be changed; never the client id, the username or the password."""

    def given(name: str) -> Any:
        source = context.get_parameter_source(name)
        return options[name] if source is click.core.ParameterSource.COMMANDLINE else UNSET

    async def operation(admin: Administration) -> requests.Created:
        name = account or await requests.find_account_of(admin, client_id)
        configuration = given("configuration")
        changes = Changes(
            new_activation_key=options["new_activation_key"],
            remove_activation_key=options["remove_activation_key"],
            provision_endpoint=given("endpoint"),
            activates_on=given("activates_on"),
            expires_on=given("expires_on"),
            reserve_user=given("reserve_user"),
            device_connection_coupling=given("coupling"),
            additional_device_configuration=UNSET if configuration is UNSET else _read_configuration(configuration),
            maximum_attempts=given("maximum_attempts"),
        )
        return await requests.change_request(admin, name, client_id, changes)

    key_file = options["activation_key_file"]
    with output.secret_place(key_file, as_json=False) as hand_over:
        _report(run(operation, as_json=as_json), hand_over, key_file, as_json=as_json)


_COLUMNS = ["account", "client_id", "status", "activates_on", "expires_on", "attempts", "maximum_attempts"]


@request.command("list")
@account_option
@json_option
def list_requests(account: str | None, as_json: bool) -> None:
    """Requests of one account, or of all."""
    rows = run(lambda admin: requests.list_requests(admin, account), as_json=as_json)
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, _COLUMNS, empty="no provision requests")


@request.command("show")
@click.argument("client_id")
@account_option
@json_option
def show(client_id: str, account: str | None, as_json: bool) -> None:
    """One request with its last run."""
    rows = run(lambda admin: requests.list_requests(admin, account, client_id), as_json=as_json)
    if not rows:
        output.errors.print(f"there is no provision request for {client_id!r}")
        sys.exit(output.INVALID)
    if as_json:
        output.print_json(rows[0])
    else:
        output.print_record(rows[0])


Move = Callable[[Administration, str, str], Awaitable[Any]]


def _move(client_id: str, account: str | None, move: Move) -> Any:
    async def operation(admin: Administration) -> Any:
        name = account or await requests.find_account_of(admin, client_id)
        return await move(admin, name, client_id)

    return run(operation)


@request.command("enable")
@click.argument("client_id")
@account_option
def enable(client_id: str, account: str | None) -> None:
    """Let the device connect to the provision broker again."""
    _move(client_id, account, lambda admin, name, cid: moves.set_enabled(admin, name, cid, enabled=True))


@request.command("disable")
@click.argument("client_id")
@account_option
def disable(client_id: str, account: str | None) -> None:
    """Refuse the factory login, and stop a run; a provisioned device works on."""
    _move(client_id, account, lambda admin, name, cid: moves.set_enabled(admin, name, cid, enabled=False))


@request.command("stop")
@click.argument("client_id")
@account_option
def stop(client_id: str, account: str | None) -> None:
    """Stop the run under way; the request is OPEN and disabled."""
    _move(client_id, account, moves.stop_request)


@request.command("reopen")
@click.argument("client_id")
@account_option
@yes_option
def reopen(client_id: str, account: str | None, yes: bool) -> None:
    """Let a PROVISIONED or ABANDONED request be used again; its generated user is deleted."""
    confirm(f"The generated user of {client_id} will be deleted, and the device provisioned anew. Go on?", yes=yes)
    for name in _move(client_id, account, moves.reopen_request):
        output.console.print(f"deleted user {name}")


@request.command("delete")
@click.argument("client_id")
@account_option
@yes_option
def delete(client_id: str, account: str | None, yes: bool) -> None:
    """Delete a request; a provisioned device and its user stay."""
    confirm(f"Delete the provision request of {client_id}?", yes=yes)
    _move(client_id, account, moves.delete_request)


@request.command("explain")
@click.argument("client_id")
@account_option
@json_option
def explain_client(client_id: str, account: str | None, as_json: bool) -> None:
    """What happened to CLIENT_ID, and why it was refused; also for one that no request knows."""
    rows = run(lambda admin: explain.explain(admin, client_id, account), as_json=as_json)
    if as_json:
        output.print_json(rows)
    else:
        output.print_timeline(rows, empty=f"nothing is known of {client_id}")
