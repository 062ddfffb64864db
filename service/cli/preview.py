"""`provision request preview`: what a device would be sent."""

from __future__ import annotations

from typing import Any

import click

from service.cli import output
from service.cli.calls import Caller, run
from service.cli.context import account_option, json_option
from service.core.preview import WIRES


@click.command("preview")
@click.argument("client_id")
@account_option
@click.option(
    "--wire", type=click.Choice(WIRES), default="json", show_default=True, help="JSON as sent, or Kura's XML."
)
@click.option("--diff", "other", metavar="CLIENT_ID", help="Only what differs from this one's.")
@json_option
def preview(client_id: str, account: str | None, wire: str, other: str | None, as_json: bool) -> None:
    """
    Print the configuration that a device would be sent, merged, secrets as ***.

    What provisioning overrides is marked: in JSON under "overridden", in XML by comments.
    """

    wanted = [client_id] if other is None else [client_id, other]

    async def work(call: Caller) -> tuple[list[dict[str, Any]], Any]:
        made = []
        for each in wanted:
            path = {"account": await call.account_of(each, account), "client_id": each}
            made.append(await call("preview_request", path, query={"wire": wire}))
        if other is None:
            return made, None
        path = {"account": made[0]["account"], "client_id": client_id}
        query = {"wire": wire, "diff": other, "diff_account": made[1]["account"]}
        return made, await call("preview_request", path, query=query)

    previewed, differences = run(work, as_json=as_json)
    for each in previewed:
        if each["bytes"] > each["limit"]:
            output.notice(
                f"{each['client_id']}: the answer has {each['bytes']} bytes, at most {each['limit']} are sent"
            )
    if differences is not None:
        _print_differences(differences, as_json=as_json)
    elif as_json:
        output.print_json(previewed[0])
    elif wire == "json":
        output.print_json(previewed[0]["answer"])
    else:
        output.print_xml(previewed[0]["answer"].encode())


def _print_differences(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    shown = [{**row, "this": _shown(row["this"]), "other": _shown(row["other"])} for row in found["differences"]]
    output.print_table(shown, ["component", "parameter", "this", "other"], empty="nothing differs")
    for place in found["secret_on_both_sides"]:
        output.notice(f"{place['component']}.{place['parameter']} is secret on both sides, and not compared")


def _shown(part: Any) -> Any:
    """A value without its type, which only JSON has place for."""
    return part["value"] if isinstance(part, dict) and part.keys() == {"type", "value"} else part
