"""`provision recovery | issuing`: after a restore, and the switch that stops issuing."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from service.cli import output
from service.cli.calls import Caller, run
from service.cli.context import confirm, json_option, yes_option
from service.cli.events import Moment
from service.core.problems import InvalidInput, Problem
from service.core.recovery import Word, last_words, parse_journal

# So many words are sent at once.
AT_ONCE = 5000
_FIELDS = tuple(Word.__dataclass_fields__)

journal_option = click.option(
    "--journal",
    "journals",
    type=click.Path(exists=True, dir_okay=False),
    multiple=True,
    help="The file that PROVISION_ACCESS_JOURNAL names; several where it was moved away, in any order.",
)
since_option = click.option(
    "--since",
    type=Moment(),
    help="When the database was restored to (default: when hooks were seen last before that).",
)


@click.group("recovery")
def recovery_group() -> None:
    """After a restore: no deadline passes until an operator says that this is the database to go on with."""


@recovery_group.command("show")
@json_option
def show_recovery(as_json: bool) -> None:
    """Whether deadlines stand still."""
    state = run(lambda call: call("show_recovery"), as_json=as_json)
    if as_json:
        output.print_json(state)
    else:
        output.print_record(state)


def _read(journals: Sequence[str]) -> list[Word]:
    """Every word of these files. Raises InvalidInput with each line that cannot be read."""
    words: list[Word] = []
    problems = []
    for path in journals:
        found, unreadable = parse_journal(Path(path).read_bytes())
        words += found
        problems += [
            Problem(field="journal", rule="unreadable", text=f"{path}: line {number} cannot be read")
            for number in unreadable
        ]
    if problems:
        raise InvalidInput(problems)
    return words


async def _since(call: Caller, given: datetime.datetime | None) -> datetime.datetime | None:
    if given is not None:
        return given
    held: datetime.datetime | None = (await call("show_recovery"))["held_since"]
    return held


def _bodies(words: Sequence[Word], since: datetime.datetime | None) -> Iterator[dict[str, Any]]:
    """What is sent, in parts: the last word on each thing; at least one part, so that problems are said."""
    last = last_words(words, since) if since is not None else []
    for start in range(0, max(1, len(last)), AT_ONCE):
        part = [{name: getattr(word, name) for name in _FIELDS} for word in last[start : start + AT_ONCE]]
        yield {"words": part, "since": since}


async def _report(call: Caller, journals: Sequence[str], given: datetime.datetime | None) -> dict[str, Any]:
    words, since = _read(journals), await _since(call, given)
    whole: dict[str, Any] = {}
    for body in _bodies(words, since):
        part = await call("report_recovery", body=body)
        for name in ("revoke", "reissue", "changed", "missing"):
            part[name] = whole.get(name, []) + part[name]
        whole = part
    return whole


@recovery_group.command("report")
@journal_option
@since_option
@json_option
def report_recovery(journals: tuple[str, ...], since: datetime.datetime | None, as_json: bool) -> None:
    """Who was revoked, provisioned or changed after the moment that was restored to, and who was refused since."""
    found = run(lambda call: _report(call, journals, since), as_json=as_json)
    if as_json:
        output.print_json(found)
        return
    for name, title, columns in _SECTIONS:
        click.echo(title)
        output.print_table(found[name], columns, empty="  none")


_WORD = ["kind", "account", "name", "state", "at"]
_SECTIONS = (
    ("revoke", "To be kept out again (`provision recovery accept --journal`):", _WORD),
    ("reissue", "To be provisioned again:", ["account", "client_id", "username", "request"]),
    ("changed", "Changed since, look after them:", _WORD),
    ("missing", "Made since, and not here:", _WORD),
    ("refused", "Refused at account brokers as unknown:", ["client_id", "username", "times", "last_at"]),
)


async def _accept(call: Caller, journals: Sequence[str], given: datetime.datetime | None) -> dict[str, Any]:
    if not journals:
        accepted: dict[str, Any] = await call("accept_recovery")
        return accepted
    words, since = _read(journals), await _since(call, given)
    revoked: list[dict[str, Any]] = []
    for body in _bodies(words, since):
        revoked += (await call("revoke_again", body=body))["items"]
    return {**await call("accept_recovery"), "revoked": revoked}


@recovery_group.command("accept")
@journal_option
@since_option
@yes_option
@json_option
def accept_recovery(journals: tuple[str, ...], since: datetime.datetime | None, yes: bool, as_json: bool) -> None:
    """Go on with this database: keep out again whom --journal says is out, then let time count again."""
    without = "" if journals else " Without --journal whoever was revoked since is in again."
    confirm(f"Runs that were not confirmed will expire again.{without} Go on?", yes=yes)
    done = run(lambda call: _accept(call, journals, since), as_json=as_json)
    if as_json:
        output.print_json(done)
        return
    if journals:
        output.print_table(done["revoked"], _WORD, empty="nobody had to be kept out again")
    click.echo("time counts again" if done["accepted"] else "nothing was held: time counted already")


@click.group("issuing")
def issuing_group() -> None:
    """The switch for everything at once: while issuing is stopped no device gets new credentials."""


def _say(state: dict[str, Any], *, as_json: bool) -> None:
    since = f"stopped since {output.plain(state['stopped_at'])} by {state['stopped_by']}"
    output.say(f"issuing is {since if state['stopped'] else 'not stopped'}", state, as_json=as_json)


@issuing_group.command("show")
@json_option
def show_issuing(as_json: bool) -> None:
    """Whether issuing is stopped."""
    _say(run(lambda call: call("show_issuing"), as_json=as_json), as_json=as_json)


@issuing_group.command("stop")
@json_option
def stop_issuing(as_json: bool) -> None:
    """Let no run begin, at once. Runs under way and provisioned devices go on."""
    _say(run(lambda call: call("stop_issuing"), as_json=as_json), as_json=as_json)


@issuing_group.command("start")
@json_option
def start_issuing(as_json: bool) -> None:
    """Let runs begin again."""
    _say(run(lambda call: call("start_issuing"), as_json=as_json), as_json=as_json)
