"""`provision credential`: factory credentials, their rotation, their watch."""

from __future__ import annotations

import datetime
import re
from typing import Any, ClassVar

import click

from service.cli import output, secret
from service.cli.calls import Caller, check_account, run
from service.cli.context import account_option, json_option
from service.core.credentials import OVERLAP
from service.operations import credentials


class _Duration(click.ParamType[datetime.timedelta]):
    """A number and a unit."""

    name = "duration"
    _UNITS: ClassVar = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.timedelta:
        """`90s`, `15m`, `12h`, `30d`, or 0."""
        if isinstance(value, datetime.timedelta):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhd])", value, re.ASCII)
        if value != "0" and match is None:
            self.fail("must be such as 90s, 15m, 12h or 30d, or 0", param, ctx)
        return datetime.timedelta(**{self._UNITS[match[2]]: int(match[1])}) if match else datetime.timedelta()


@click.group()
def credential() -> None:
    """Factory credentials: provision usernames and their passwords, often shared by many devices."""


async def _ask(call: Caller, route: str, account: str | None, username: str, body: Any = None) -> tuple[str, Any]:
    """The account, and what a route of its credential answers."""
    whose = await call.needed(account)
    return whose, await call(route, {"account": whose, "username": username}, body=body)


async def _list(call: Caller, account: str | None) -> list[dict[str, Any]]:
    return await call.items("list_credentials", await call.needed(account))


@credential.command("list")
@account_option
@json_option
def list_credentials(account: str | None, as_json: bool) -> None:
    """An account's factory credentials, with what was counted of them in the last two hours."""
    check_account(account)
    rows = run(lambda call: _list(call, account), as_json=as_json)
    if as_json:
        output.print_json(rows)
        return
    for row in rows:
        row["rotation until"] = row["rotation"]["overlap_until"] if row["rotation"] else None
        row["unknown / keys / addresses"] = " / ".join(str(row["last_two_hours"][each]) for each in credentials.WATCHED)
    columns = ["name", "requests", "rotation until", "held_at", "suspected_at", "unknown / keys / addresses"]
    output.print_table(rows, columns, empty="no factory credentials")


@credential.command("show")
@click.argument("username")
@account_option
@json_option
def show(username: str, account: str | None, as_json: bool) -> None:
    """One credential: its rotation, who still comes with the old password, its hold, its watch."""
    check_account(account)
    _, row = run(lambda call: _ask(call, "show_credential", account, username), as_json=as_json)
    if as_json:
        output.print_json(row)
    else:
        output.print_record(row)


@credential.command("rotate")
@click.argument("username")
@account_option
@click.option(
    "--password-file", type=click.Path(), help="File with the new provision password (default: one is generated)."
)
@click.option(
    "--new-password-file",
    type=click.Path(),
    help="Write the generated password to this new file (0600) instead of showing it.",
)
@click.option(
    "--overlap",
    type=_Duration(),
    default=f"{OVERLAP.days}d",
    show_default=True,
    help="How long the old password is good beside it, such as 12h; 0: not at all.",
)
@json_option
def rotate(
    username: str,
    account: str | None,
    password_file: str | None,
    new_password_file: str | None,
    overlap: datetime.timedelta,
    as_json: bool,
) -> None:
    """Another password, for every request that shares the credential."""
    check_account(account)
    if password_file is not None and new_password_file is not None:
        raise click.UsageError("--password-file and --new-password-file exclude each other")
    chosen = secret.read_file(password_file, "provision password") if password_file is not None else None
    seconds = int(overlap.total_seconds())
    body = {"provision_password": chosen, "overlap_seconds": seconds}
    with secret.new_place(new_password_file, as_json=as_json) as place:
        name, made = run(lambda call: _ask(call, "rotate_credential", account, username, body), as_json=as_json)
        document = {"account": name, "username": username, "overlap_seconds": seconds}
        text = f"rotated the password of {username}"
        what = f"the provision password of {username}"
        password = made.get("provision_password")
        if password is None:
            place.stays_empty(text, document, what=what)
        else:
            place.hand_over(text, document, secret=password, field="provision_password", what=what)


def _do(route: str, username: str, account: str | None, done: str, *, as_json: bool, body: Any = None) -> None:
    """Do it, and say so, or show what came of it."""
    check_account(account)
    _, shown = run(lambda call: _ask(call, route, account, username, body), as_json=as_json)
    output.say(f"{username}: {done}", shown, as_json=as_json)


@credential.command("finish")
@click.argument("username")
@account_option
@click.option("--even-so", is_flag=True, help="Also where devices to be provisioned still come with the old password.")
@json_option
def finish(username: str, account: str | None, even_so: bool, as_json: bool) -> None:
    """End a rotation: the old password is good no more."""
    body = {"even_so": even_so}
    text = "the old password is good no more"
    _do("finish_credential_rotation", username, account, text, body=body, as_json=as_json)


@credential.command("hold")
@click.argument("username")
@account_option
@json_option
def hold(username: str, account: str | None, as_json: bool) -> None:
    """Answer its CONNECTs with "unavailable" until it is lifted; whoever is connected stays."""
    _do("hold_credential", username, account, "held", as_json=as_json)


@credential.command("lift")
@click.argument("username")
@account_option
@json_option
def lift(username: str, account: str | None, as_json: bool) -> None:
    """Lift a hold; what spoke for a leak is counted anew."""
    _do("lift_credential", username, account, "not held", as_json=as_json)


@credential.command("watch")
@click.argument("username")
@account_option
@click.option("--unknown-client-ids", type=int, help="So many client ids without a request (0: not watched).")
@click.option("--wrong-keys", type=int, help="So many wrong activation keys (0: not watched).")
@click.option("--addresses", type=int, help="So many distinct addresses (0: not watched).")
@click.option("--hold/--no-hold", default=None, help="Whether a suspected leak holds the credential.")
@json_option
def watch(username: str, account: str | None, hold: bool | None, as_json: bool, **most: int | None) -> None:
    """From how many in two hours a leak is suspected."""
    if hold is None and not any(value is not None for value in most.values()):
        raise click.UsageError("name what to watch: --unknown-client-ids, --wrong-keys, --addresses, --hold")
    body = {name: value for name, value in {**most, "hold": hold}.items() if value is not None}
    _do("watch_credential", username, account, "watched as said", body=body, as_json=as_json)
