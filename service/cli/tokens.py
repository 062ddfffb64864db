"""`provision token`: tokens of the administrators' API."""

from __future__ import annotations

from typing import Any

import click

from service.cli import output, secret
from service.cli.calls import Caller, has_server, run
from service.cli.context import account_option, json_option
from service.core.access import Role
from service.operations import tokens

_COLUMNS = ["name", "role", "expires_on", "expired", "last_used_at", "created_by"]
_platform_option = click.option("--platform", is_flag=True, help="The platform administrators' own, of no account.")


@click.group()
def token() -> None:
    """Tokens of the administrators' API."""


def _whose(account: str | None, platform: bool) -> str | None:
    """The account that was named; None for the platform, and where a server knows whose token asks."""
    if platform:
        return None
    if account is None and not has_server():
        raise click.UsageError("say whose: --account (or PROVISION_ACCOUNT), or --platform alone")
    return account


async def _ask(
    call: Caller, verb: str, account: str | None, *, platform: bool, body: Any = None, **path: str
) -> tuple[str | None, Any]:
    """Whose tokens they are, and what is answered."""
    what = "tokens" if verb == "list" else "token"
    if platform:
        return None, await call(f"{verb}_platform_{what}", path, body=body)
    whose = await call.needed(account)
    return whose, await call(f"{verb}_{what}", {"account": whose, **path}, body=body)


@token.command("create")
@click.argument("name")
@account_option
@_platform_option
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role if role is not Role.PLATFORM_ADMINISTRATOR]),
    help="What it may do in the account (docs/access.md).",
)
@click.option("--days", type=int, default=tokens.DAYS, show_default=True, help="How long it is good for.")
@click.option("--token-file", type=click.Path(), help="Write the token to this new file (0600) instead of showing it.")
@json_option
def create(
    name: str, account: str | None, platform: bool, role: str | None, days: int, token_file: str | None, as_json: bool
) -> None:
    """Create a token; it is shown this once."""
    account = _whose(account, platform)
    if (role is None) != platform:
        raise click.UsageError("an account's token has a --role, the platform's has none to choose")
    chosen = role or Role.PLATFORM_ADMINISTRATOR.value
    with secret.new_place(token_file, as_json=as_json) as place:
        body = {"name": name, "days": days} | ({} if platform else {"role": chosen})
        whose, made = run(lambda call: _ask(call, "create", account, platform=platform, body=body), as_json=as_json)
        document = {"name": name, "account": whose, "role": chosen, "expires_on": made["expires_on"]}
        place.hand_over(f"created the token {name}", document, secret=made["token"], field="token", what="the token")


@token.command("list")
@account_option
@_platform_option
@json_option
def list_tokens(account: str | None, platform: bool, as_json: bool) -> None:
    """Tokens of an account, or the platform's own; never their text."""
    account = _whose(account, platform)
    _, answer = run(lambda call: _ask(call, "list", account, platform=platform), as_json=as_json)
    rows = answer["items"]
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, _COLUMNS, empty="no tokens")


@token.command("revoke")
@click.argument("name")
@account_option
@_platform_option
@json_option
def revoke(name: str, account: str | None, platform: bool, as_json: bool) -> None:
    """It is good no more, at once."""
    account = _whose(account, platform)
    whose, _ = run(lambda call: _ask(call, "revoke", account, platform=platform, token=name), as_json=as_json)
    output.say(f"revoked the token {name}", {"name": name, "account": whose}, as_json=as_json)
