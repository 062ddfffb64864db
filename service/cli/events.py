"""`provision events`: list, verify, checkpoint, drop."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import click

from service.api.events import MOST_NAMED
from service.cli import checkpoints, output
from service.cli.calls import MOST_ROWS, Caller, run
from service.cli.context import account_option, confirm, json_option, yes_option

MOST_LISTED = 1000


class Moment(click.ParamType[datetime.datetime]):
    """A time in RFC 3339, with its offset; or a day, from its first moment in UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        """As a time with an offset."""
        if isinstance(value, datetime.datetime):
            return value
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail("must be like 2030-01-31 or 2030-01-31T08:00:00Z", param, ctx)
        if moment.tzinfo is None:
            if len(value) > len("2030-01-31"):
                self.fail("must name its offset, like 2030-01-31T08:00:00Z", param, ctx)
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment


class Month(click.ParamType[datetime.datetime]):
    """A month, from its first moment in UTC."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        """Its first moment."""
        if isinstance(value, datetime.datetime):
            return value
        try:
            return datetime.datetime.strptime(value, "%Y-%m").replace(tzinfo=datetime.UTC)
        except ValueError:
            self.fail("must be like 2030-01", param, ctx)


@click.group()
def events() -> None:
    """What happened: the events, and that nobody changed them."""


@events.command("list")
@account_option
@click.option("--client-id", help="Of this client id only.")
@click.option("--since", type=Moment(), help="From this time on.")
@click.option("--until", type=Moment(), help="Before this time.")
@click.option("--kind", "kinds", multiple=True, help="Of this kind (again for more).")
@click.option("--text", help="Containing this text, in upper or lower case.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=100, show_default=True, help="At most so many.")
@click.option("--after", metavar="PLACE", help="Go on where a page ended.")
@json_option
def list_events(account: str | None, as_json: bool, **conditions: Any) -> None:
    """Events, newest first. Without an account those of the whole platform."""
    limit, after = conditions.pop("limit"), conditions.pop("after")
    query = {
        **{name: conditions[name] for name in ("since", "until", "text")},
        "client_id": [conditions["client_id"]] if conditions["client_id"] is not None else None,
        "kind": list(conditions["kinds"]) or None,
        "sort": "-at",
    }
    rows, following = run(lambda call: _fetch(call, account, query, limit, after), as_json=as_json)
    if as_json:
        output.print_json({"events": rows, "next": following})
        return
    columns = ["at", "kind", "account", "client_id", "actor", "source", "reason", "detail"]
    output.print_table(rows, columns, empty="no events")
    if following is not None:
        output.notice(f"there are more: --after {following}")


async def _fetch(
    call: Caller, account: str | None, query: Mapping[str, Any], limit: int, after: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """So many events, and where the next ones begin."""
    rows: list[dict[str, Any]] = []
    while len(rows) < limit:
        wanted = {**query, "limit": min(limit - len(rows), MOST_ROWS), "after": after}
        page = await call.within("list_events", account, query=wanted)
        rows += page["items"]
        after = page["next"]
        if after is None:
            break
    return rows, after


def _progress(done: int, total: int, count: int) -> None:
    if output.is_terminal(sys.stderr):
        click.echo(f"\r{100 * done // total} %, {count} events", nl=done == total, err=True)


def _name(broken: Mapping[str, Any]) -> None:
    """One broken chain."""
    chain = f"request {broken['request_id']}" if broken["request_id"] else f"account {broken['account_id'] or 'none'}"
    client_id = f" ({broken['client_id']})" if broken["client_id"] else ""
    said = f": event {broken['number']}: {broken['fault']}: {broken['text']}"
    output.print_text((f"{chain}{client_id}", "bold red"), said)


@events.command("verify")
@click.option("--account", metavar="NAME", help="Only this account's (PROVISION_ACCOUNT is not looked at).")
@click.option("--client-id", help="Only the requests of this client id.")
@click.option("--checkpoint", "path", type=click.Path(), help="Also against this file of `events checkpoint`.")
@json_option
def verify(account: str | None, client_id: str | None, path: str | None, as_json: bool) -> None:
    """
    Verify that no event was removed, added or edited.

    Names each broken chain with the first bad number, and ends with status 1 if there is one.
    """
    with _opened(path) as file:

        async def work(call: Caller) -> dict[str, Any]:
            if file is not None:
                checkpoints.check(file)
            query = {"client_id": client_id}
            report: dict[str, Any] = await call.within("verify_events", account, query=query, watch=_progress)
            for page in checkpoints.pages(file) if file is not None else ():
                lines = [dict(zip(("account_id", "request_id", "count", "head"), line, strict=True)) for line in page]
                body = {"lines": lines, "account": await call.account(account), "client_id": client_id}
                found = (await call("fit_checkpoint_lines", body=body))["items"]
                report["broken"] += len(found)
                report["named"] += found[: max(0, MOST_NAMED - len(report["named"]))]
            return report

        report = run(work, as_json=as_json)
    named = report.pop("named")
    if not as_json:
        for broken in named:
            _name(broken)
    document = {**report, "whole": report["broken"] == 0, "faults": named}
    text = f"{report['events']} events in {report['chains']} chains: " + (
        f"{report['broken']} faults" if report["broken"] else "all whole"
    )
    output.say(text, document, as_json=as_json)
    if report["broken"]:
        sys.exit(output.FAILED)


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, encoding="utf-8", errors="replace"))
        except OSError as error:
            raise click.UsageError(f"the checkpoint's file cannot be read: {error.strerror}") from error
        yield file


@events.command("checkpoint")
@click.option("--output", "path", type=click.Path(), help="Write it to this new file as well: keep that elsewhere.")
@json_option
def checkpoint(path: str | None, as_json: bool) -> None:
    """Verify everything, and note each chain's end: older months may then be dropped."""

    async def work(call: Caller) -> dict[str, Any]:
        noted: dict[str, Any] = await call("checkpoint_events", watch=_progress)
        return noted if file is None else {**noted, "file_sha256": await checkpoints.write(call, file, noted)}

    with _new(path) as file:
        noted = run(work, as_json=as_json)
    output.say(f"checkpoint of {noted['chains']} chains, digest {noted['digest']}", noted, as_json=as_json)


@contextlib.contextmanager
def _new(path: str | None) -> Iterator[TextIO | None]:
    """A new file, gone again where nothing came of it."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.UsageError(f"the file cannot be made: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
    except BaseException:
        os.unlink(path)
        raise


@events.command("drop")
@click.option("--before", type=Month(), required=True, help="The first month to keep, like 2030-01.")
@yes_option
@json_option
def drop(before: datetime.datetime, yes: bool, as_json: bool) -> None:
    """Drop the events of older months, once they are verified and checkpointed."""
    confirm(f"Drop all events before {before:%Y-%m}?", yes=yes)
    body = {"before": f"{before:%Y-%m}"}
    dropped = run(lambda call: call("drop_events", body=body, watch=_progress), as_json=as_json)["dropped"]
    if as_json:
        output.print_json({"before": f"{before:%Y-%m}", "dropped": dropped})
    else:
        output.print_names("dropped", dropped, empty="there is nothing to drop")
