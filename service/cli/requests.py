"""`provision request`: provision requests, from creation to the reason why a device is not in yet."""

from __future__ import annotations

import datetime
from typing import Any

import click

from service.cli import output, secret
from service.cli.calls import Caller, check_account, run
from service.cli.context import account_option, confirm, json_option, yes_option
from service.cli.files import applications_option, check_standard_input, configuration_option, read_files
from service.core.requests import COUPLINGS, MAXIMUM_ATTEMPTS
from service.operations import explain


class _Moment(click.ParamType[datetime.datetime | None]):
    """A date and time; `never` where a field may be empty. That it has a time zone is a rule of requests."""

    name = "moment"

    def __init__(self, *, or_never: bool = False) -> None:
        self._or_never = or_never

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """To UTC where its time zone is known."""
        if value == "never" and self._or_never:
            return None
        try:
            moment = datetime.datetime.fromisoformat(value)
            return moment.astimezone(datetime.UTC) if moment.tzinfo else moment
        except (ValueError, OverflowError):
            self.fail("must be such as 2030-01-31T08:00:00Z" + " or never" * self._or_never, param, ctx)


MOMENT, MOMENT_OR_NEVER = _Moment(), _Moment(or_never=True)


@click.group()
def request() -> None:
    """Provision requests."""


_activation_key_file = click.option(
    "--activation-key-file",
    type=click.Path(),
    help="Write the activation key to this new file (0600) instead of showing it.",
)


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
@_activation_key_file
@click.option("--endpoint", metavar="URL", help="Provision endpoint (default: the account's only one).")
@click.option("--activates-on", type=MOMENT, help="Such as 2030-01-31T08:00:00Z (default: now).")
@click.option("--expires-on", type=MOMENT_OR_NEVER, help="A moment, or never (the default).")
@click.option(
    "--reserve-user/--no-reserve-user",
    default=True,
    show_default=True,
    help="Reserve the generated user to the device's connection.",
)
@click.option(
    "--coupling",
    type=click.Choice(COUPLINGS),
    default="INHERITED",
    show_default=True,
    help="Device connection coupling.",
)
@configuration_option
@applications_option
@click.option(
    "--maximum-attempts",
    type=int,
    default=MAXIMUM_ATTEMPTS,
    show_default=True,
    help="Failures until the request is ABANDONED.",
)
@click.option(
    "--start-on-birth",
    is_flag=True,
    help="A Kura gateway's BIRTH starts it, for gateways that send no PROV (no activation key is possible).",
)
@click.option(
    "--enabled/--disabled", default=True, show_default=True, help="Whether the device may connect to begin with."
)
@json_option
def create(
    client_id: str, account: str | None, username: str, password_file: str | None, as_json: bool, **options: Any
) -> None:
    """Create a provision request for the device that will connect as CLIENT_ID."""
    check_account(account)
    check_standard_input(options)
    password = secret.read_password(password_file, twice=True)

    async def work(call: Caller) -> dict[str, Any]:
        body = {
            "client_id": client_id,
            "provision_username": username,
            "provision_password": password,
            "generate_activation_key": options["activation_key"],
            "provision_endpoint": options["endpoint"],
            "activates_on": options["activates_on"],
            "expires_on": options["expires_on"],
            "reserve_user": options["reserve_user"],
            "device_connection_coupling": options["coupling"],
            "maximum_attempts": options["maximum_attempts"],
            "start_on_birth": options["start_on_birth"],
            "enabled": options["enabled"],
            **read_files(options),
        }
        made: dict[str, Any] = await call("create_request", {"account": await call.needed(account)}, body=body)
        return made

    with secret.new_place(options["activation_key_file"], as_json=as_json) as place:
        _report(run(work, as_json=as_json), place, "created")


def _report(made: dict[str, Any], place: secret.Place, done: str) -> None:
    client_id, notices = made["client_id"], made.get("notices", [])
    for text in notices:
        output.notice(text)
    document = {"account": made["account"], "client_id": client_id, "notices": notices}
    text = f"{done} the provision request of {client_id}"
    activation_key = made.get("activation_key_shown_once")
    if activation_key is None:
        place.stays_empty(text, document, what="activation key")
        return
    what = f"the activation key of {client_id}"
    place.hand_over(text, document, secret=activation_key, field="activation_key", what=what)


@request.command("change")
@click.argument("client_id")
@account_option
@click.option("--new-activation-key", is_flag=True, help="Make a new one, shown this once.")
@click.option("--remove-activation-key", is_flag=True, help="The device needs none any more.")
@_activation_key_file
@click.option("--endpoint", metavar="URL", help="Provision endpoint.")
@click.option("--activates-on", type=MOMENT, help="Such as 2030-01-31T08:00:00Z.")
@click.option("--expires-on", type=MOMENT_OR_NEVER, help="A moment, or never.")
@click.option(
    "--reserve-user/--no-reserve-user", default=None, help="Reserve the generated user to the device's connection."
)
@click.option("--coupling", type=click.Choice(COUPLINGS), help="Device connection coupling.")
@configuration_option
@applications_option
@click.option("--maximum-attempts", type=int, help="Failures until the request is ABANDONED.")
@click.option("--start-on-birth/--no-start-on-birth", default=None, help="Whether a Kura gateway's BIRTH starts it.")
@json_option
@click.pass_context
def change(context: click.Context, /, client_id: str, account: str | None, as_json: bool, **options: Any) -> None:
    """
    Change what may be changed; never the client id, the username or the password.

    A configuration, or a list of applications, replaces the one before as a whole.
    """
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    key_file = given.pop("activation_key_file", None)
    if not given:
        raise click.UsageError("say what to change")
    check_standard_input(options)

    async def work(call: Caller) -> dict[str, Any]:
        body = _changes(given)
        path = {"account": await call.account_of(client_id, account), "client_id": client_id}
        changed: dict[str, Any] = await call("change_request", path, body=body)
        return changed

    with secret.new_place(key_file, as_json=as_json) as place:
        _report(run(work, as_json=as_json), place, "changed")


_FIELDS = {"endpoint": "provision_endpoint", "coupling": "device_connection_coupling"}


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """Raises InvalidInput."""
    files = ("configuration", "applications")
    changes = {_FIELDS.get(name, name): value for name, value in given.items() if name not in files}
    return {**changes, **read_files(given)}


_COLUMNS = ["account", "client_id", "status", "activates_on", "expires_on", "attempts"]


@request.command("list")
@account_option
@json_option
def list_requests(account: str | None, as_json: bool) -> None:
    """Requests of one account, or of all."""
    query = {"whole": as_json, "sort": "client_id"}
    rows = run(lambda call: call.items("list_requests", account, query=query), as_json=as_json)
    if as_json:
        output.print_json(rows)
    else:
        shown = [{**row, "attempts": f"{row['attempts']} of {row['maximum_attempts']}"} for row in rows]
        output.print_table(shown, _COLUMNS, empty="no provision requests")


@request.command("show")
@click.argument("client_id")
@account_option
@json_option
def show(client_id: str, account: str | None, as_json: bool) -> None:
    """One request with its last run."""
    row = _done("show_request", client_id, account, as_json=as_json)
    if as_json:
        output.print_json(row)
    else:
        run_ = {f"run_{name}": value for name, value in (row.pop("run") or {}).items()}
        if "applications" in row:
            applications = enumerate(row["applications"], 1)
            row["applications"] = {str(place): output.words(each) for place, each in applications}
        output.print_record({"account": row["account"], "client_id": client_id, "status": row["status"], **row, **run_})


def _done(name: str, client_id: str, account: str | None, *, as_json: bool) -> dict[str, Any]:
    """What a route of a request answers, with the request's account."""

    async def work(call: Caller) -> dict[str, Any]:
        whose = await call.account_of(client_id, account)
        return {"account": whose, **(await call(name, {"account": whose, "client_id": client_id}) or {})}

    row: dict[str, Any] = run(work, as_json=as_json)
    return row


def _set_enabled(client_id: str, account: str | None, *, enabled: bool, as_json: bool) -> None:
    row = _done("enable_request" if enabled else "disable_request", client_id, account, as_json=as_json)
    text = f"the provision request of {client_id} is {'enabled' if enabled else 'disabled'}"
    output.say(text, {"account": row["account"], "client_id": client_id, "enabled": enabled}, as_json=as_json)


@request.command("enable")
@click.argument("client_id")
@account_option
@json_option
def enable(client_id: str, account: str | None, as_json: bool) -> None:
    """Let the device connect to the provision broker again."""
    _set_enabled(client_id, account, enabled=True, as_json=as_json)


@request.command("disable")
@click.argument("client_id")
@account_option
@json_option
def disable(client_id: str, account: str | None, as_json: bool) -> None:
    """Refuse the factory login, and stop a run; a provisioned device works on."""
    _set_enabled(client_id, account, enabled=False, as_json=as_json)


@request.command("stop")
@click.argument("client_id")
@account_option
@json_option
def stop(client_id: str, account: str | None, as_json: bool) -> None:
    """Stop the run under way; the request is OPEN and disabled."""
    name = _done("stop_request", client_id, account, as_json=as_json)["account"]
    text = f"stopped the run of {client_id}; its provision request is disabled until `request enable`"
    output.say(text, {"account": name, "client_id": client_id, "enabled": False}, as_json=as_json)


@request.command("reopen")
@click.argument("client_id")
@account_option
@yes_option
@json_option
def reopen(client_id: str, account: str | None, yes: bool, as_json: bool) -> None:
    """Let a PROVISIONED or ABANDONED request be used again; its generated user is deleted."""
    confirm(f"The generated user of {client_id} will be deleted, and the device provisioned anew. Go on?", yes=yes)
    row = _done("reopen_request", client_id, account, as_json=as_json)
    name, gone = row["account"], row["deleted_users"]
    text = f"reopened the provision request of {client_id}" + "".join(f"; deleted user {user}" for user in gone)
    output.say(text, {"account": name, "client_id": client_id, "deleted_users": gone}, as_json=as_json)


@request.command("delete")
@click.argument("client_id")
@account_option
@yes_option
@json_option
def delete(client_id: str, account: str | None, yes: bool, as_json: bool) -> None:
    """Delete a request; a provisioned device and its user stay."""
    confirm(f"Delete the provision request of {client_id}?", yes=yes)
    name = _done("delete_request", client_id, account, as_json=as_json)["account"]
    text = f"deleted the provision request of {client_id}"
    output.say(text, {"account": name, "client_id": client_id, "deleted": True}, as_json=as_json)


@request.command("explain")
@click.argument("client_id", required=False)
@account_option
@click.option("--correlation-id", metavar="ID", help="Instead of CLIENT_ID: what a device or a log was given.")
@click.option("--since", type=MOMENT, help="From this moment on.")
@click.option("--until", type=MOMENT, help="Before this moment.")
@click.option(
    "--limit",
    type=click.IntRange(1, explain.HIGHEST_LIMIT),
    default=explain.MOST_ROWS,
    show_default=True,
    help="Rows, the newest ones.",
)
@json_option
def explain_client(
    client_id: str | None,
    account: str | None,
    correlation_id: str | None,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """What happened to CLIENT_ID, and why it was refused; also for one that no request knows."""
    if (client_id is None) == (correlation_id is None):
        raise click.UsageError("give either CLIENT_ID or --correlation-id")
    for name, moment in (("--since", since), ("--until", until)):
        if moment is not None and moment.tzinfo is None:
            raise click.UsageError(f"{name} must name its offset, like 2030-01-31T08:00:00Z")
    query = {"since": since, "until": until, "limit": limit}

    async def work(call: Caller) -> list[dict[str, Any]]:
        path = {"client_id": client_id} if client_id is not None else {"correlation_id": str(correlation_id)}
        name = "explain" if client_id is not None else "explain_correlation_id"
        rows: list[dict[str, Any]] = (await call.within(name, account, path, query=query))["items"]
        return rows

    rows = run(work, as_json=as_json)
    if as_json:
        output.print_json(rows)
    else:
        now = datetime.datetime.now(datetime.UTC)
        output.print_timeline(rows, now=now, empty=f"nothing is known of {client_id or correlation_id}")
