"""`provision request preview`: what a device would be sent."""

from __future__ import annotations

from typing import Any

import click

from service.cli import output
from service.cli.context import account_option, json_option, run
from service.core.preview import WIRES, differences
from service.operations.administration import Administration
from service.operations.preview import Previewed, as_document, preview_request


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

    async def operation(admin: Administration) -> list[Previewed]:
        wanted = [client_id] if other is None else [client_id, other]
        return [await preview_request(admin, account, each, wire=wire) for each in wanted]

    previewed = run(operation, as_json=as_json)
    for each in previewed:
        _warn(each)
    if other is not None:
        _print_differences(*previewed, as_json=as_json)
    elif as_json:
        output.print_json(as_document(previewed[0]))
    elif wire == "json":
        output.print_json(previewed[0].preview.to_json())
    else:
        output.print_xml(previewed[0].preview.to_xml())


def _warn(previewed: Previewed) -> None:
    if previewed.bytes > previewed.limit:
        client_id = previewed.preview.client_id
        output.notice(f"{client_id}: the answer has {previewed.bytes} bytes, at most {previewed.limit} are sent")


def _print_differences(this: Previewed, other: Previewed, *, as_json: bool) -> None:
    differ, untold = differences(this.preview, other.preview)
    rows: list[dict[str, Any]] = [vars(difference) for difference in differ]
    if as_json:
        secret = [{"component": component, "parameter": parameter} for component, parameter in untold]
        names = {"account": this.preview.account, "client_id": this.preview.client_id, "wire": this.preview.wire}
        output.print_json(
            {**names, "other": other.preview.client_id, "differences": rows, "secret_on_both_sides": secret}
        )
        return
    shown = [{**row, "this": _shown(row["this"]), "other": _shown(row["other"])} for row in rows]
    output.print_table(shown, ["component", "parameter", "this", "other"], empty="nothing differs")
    for component, parameter in untold:
        output.notice(f"{component}.{parameter} is secret on both sides, and not compared")


def _shown(part: Any) -> Any:
    """A value without its type, which only JSON has place for."""
    return part["value"] if isinstance(part, dict) and part.keys() == {"type", "value"} else part
