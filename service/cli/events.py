"""`provision events`: list, verify, checkpoint, drop."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

from service.cli import output
from service.cli.context import account_option, confirm, json_option, run, yes_option
from service.core.event_chain import Broken
from service.operations import event_log
from service.operations.administration import Administration

# Of the broken chains so many are named, the rest is counted.
MOST_NAMED = 1000


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
@click.option(
    "--limit", type=click.IntRange(1, event_log.MOST_LISTED), default=100, show_default=True, help="At most so many."
)
@click.option("--after", metavar="PLACE", help="Go on where a page ended.")
@json_option
def list_events(account: str | None, as_json: bool, **conditions: Any) -> None:
    """Events, newest first. Without an account those of the whole platform."""
    wanted = event_log.Filter(**conditions)
    rows, following = run(lambda admin: event_log.list_events(admin, account, wanted), as_json=as_json)
    if as_json:
        output.print_json({"events": rows, "next": following})
        return
    columns = ["at", "kind", "account", "client_id", "actor", "source", "reason", "detail"]
    output.print_table(rows, columns, empty="no events")
    if following is not None:
        output.notice(f"there are more: --after {following}")


class _Listener:
    """Prints broken chains as they are found, and at a terminal how far it is."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.named: list[dict[str, Any]] = []

    def found(self, broken: Broken) -> None:
        """One broken chain."""
        if len(self.named) == MOST_NAMED:
            return
        self.named.append({**vars(broken), "text": broken.text})
        if not self.as_json:
            chain = f"request {broken.request_id}" if broken.request_id else f"account {broken.account_id or 'none'}"
            client_id = f" ({broken.client_id})" if broken.client_id else ""
            output.print_text(
                (f"{chain}{client_id}", "bold red"), f": event {broken.number}: {broken.fault}: {broken.text}"
            )

    def progress(self, done: int, total: int, count: int) -> None:
        """How far it is."""
        if output.is_terminal(sys.stderr):
            click.echo(f"\r{100 * done // total} %, {count} events", nl=done == total, err=True)


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
    listener = _Listener(as_json=as_json)
    with _opened(path) as file:

        async def operation(admin: Administration) -> event_log.Report:
            return await event_log.verify(
                admin, account, client_id, checkpoint=file, found=listener.found, progress=listener.progress
            )

        report = run(operation, as_json=as_json)
    document = {**vars(report), "whole": report.broken == 0, "faults": listener.named}
    text = f"{report.events} events in {report.chains} chains: " + (
        f"{report.broken} faults" if report.broken else "all whole"
    )
    output.say(text, document, as_json=as_json)
    if report.broken:
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
    listener = _Listener(as_json=as_json)

    async def operation(admin: Administration) -> dict[str, Any]:
        noted = await event_log.checkpoint_chains(admin, found=listener.found, progress=listener.progress)
        return noted if file is None else {**noted, "file_sha256": await event_log.write_checkpoint(admin, file)}

    with _new(path) as file:
        noted = run(operation, as_json=as_json)
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
    listener = _Listener(as_json=as_json)
    dropped = run(
        lambda admin: event_log.drop(admin, before, found=listener.found, progress=listener.progress), as_json=as_json
    )
    if as_json:
        output.print_json({"before": f"{before:%Y-%m}", "dropped": dropped})
    else:
        output.print_names("dropped", dropped, empty="there is nothing to drop")
