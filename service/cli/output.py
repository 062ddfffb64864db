"""What commands print: tables for people, JSON for programs, problems by field. What strangers wrote stays text."""

from __future__ import annotations

import datetime
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import click
from rich import markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.core.problems import InvalidInput
from service.core.timeline import age

# Exit statuses of every command.
OK, FAILED, INVALID, REFUSED, UNREACHABLE = range(5)
# What a server of the administrators' API has to do with.
UNTRUSTED, UNKNOWN_TOKEN, FORBIDDEN, TOO_MANY = range(5, 9)

# Where nobody sees a terminal's width, no line is folded.
UNFOLDED = 100_000


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sits there; a closed stream is None."""
    return stream is not None and stream.isatty()


def show_every_character() -> None:
    """What a terminal or a file cannot show is escaped there, and does not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _console(*, stderr: bool = False) -> Console:
    """Neither markup nor emoji codes: the client id `00:ab:12` must not be shown as anything else."""
    width = None if is_terminal(sys.stderr if stderr else sys.stdout) else UNFOLDED
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def plain(value: Any) -> Any:
    """A value as JSON has it: times are UTC."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def print_json(value: Any, *, stderr: bool = False) -> None:
    """One JSON document; ASCII, so that it neither moves a cursor nor fails on any terminal."""
    click.echo(json.dumps(plain(value), indent=2), err=stderr)


def print_line(value: Any) -> None:
    """One JSON document on one line, at once: for programs that follow."""
    click.echo(json.dumps(plain(value)))


def print_xml(document: bytes) -> None:
    """The same document in ASCII, so that it moves no cursor either."""
    click.echo(document.decode().encode("ascii", "xmlcharrefreplace").decode().replace("\x7f", "&#127;"), nl=False)


def clean(text: str) -> str:
    """Text of strangers, less what would move the cursor, change colours or begin a new line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def escape(text: str) -> str:
    """`clean`, for where it stands within rich's markup."""
    return markup.escape(clean(text))


def cell(value: Any) -> str:
    """A value as a table shows it."""
    value = plain(value)
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else "-"
    return str(value)


def print_text(*parts: str | tuple[str, str], stderr: bool = False) -> None:
    """One line for people, of texts or (text, style); however long it is, it is not folded."""
    cleaned = [clean(part) if isinstance(part, str) else (clean(part[0]), part[1]) for part in parts]
    _console(stderr=stderr).print(Text.assemble(*cleaned), soft_wrap=True)


def say(text: str, document: Mapping[str, Any], *, as_json: bool) -> None:
    """What was done: a sentence for people, or the same as JSON."""
    if as_json:
        print_json(document)
    else:
        print_text(text)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Rows for people; some columns only. Where the terminal is narrow, names are folded and times are not."""
    if not rows:
        print_text(empty)
        return
    console = _console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        name = column.replace("_", " ")
        cells = [clean(cell(row.get(column))) for row in rows]
        table.add_column(name, overflow="fold", width=_fixed_width(name, cells) if console.is_terminal else None)
    for row in rows:
        table.add_row(*(Text(clean(cell(row.get(column)))) for column in columns))
    console.print(table)


def _fixed_width(name: str, cells: Sequence[str]) -> int | None:
    """Of a column whose values are as short as a time: they are shown whole, and names are folded instead."""
    longest = max(map(len, cells))
    return max(longest, *map(len, name.split())) if longest <= len("2030-01-31T08:00:00Z") else None


def print_record(record: Mapping[str, Any]) -> None:
    """One thing for people: a line for each of its fields, and for each part of one that has parts."""
    fields = [(clean(name), value) for name, value in _fields(record)]
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        print_text((name.ljust(width), "bold"), "  ", cell(value))


def _fields(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        words = name.replace("_", " ")
        if isinstance(value, Mapping) and value:
            yield from ((f"{words}: {part}", item) for part, item in value.items())
        else:
            yield words, value


def print_timeline(rows: Sequence[Mapping[str, Any]], *, now: datetime.datetime, empty: str) -> None:
    """What happened, a line each: when, what, why, what else is known of it, what it means, and how long ago it was."""
    if not rows:
        print_text(empty)
    for row in rows:
        # Whoever only follows a deployment is not told the last two.
        more = {**row["detail"], **{name: row.get(name) for name in ("by", "account", "correlation_id")}}
        reason = [("  ", ""), (row["reason"], "yellow")] if row["reason"] else []
        if row["until"] != row["at"]:
            more["until"] = row["until"]
        ago = age((now - row["until"]).total_seconds())
        said = f"  - {row['text']} ({ago})"
        print_text(cell(row["at"]), "  ", (row["what"], "bold"), *reason, ("  " + words(more), "dim"), said)


def words(values: Mapping[str, Any]) -> str:
    """`name=value` for each that is there."""
    return "  ".join(f"{name}={cell(value)}" for name, value in values.items() if value not in (None, {}, []))


def print_problems(error: InvalidInput, *, as_json: bool) -> None:
    """Every problem, on standard error: field, rule and text as JSON, field and text for people."""
    if as_json:
        problems = [{"field": p.field, "rule": p.rule, "text": p.text} for p in error.problems]
        print_json({"problems": problems}, stderr=True)
        return
    for problem in error.problems:
        print_text((problem.field, "bold red"), f": {problem.text}", stderr=True)


def print_error(text: str) -> None:
    """Why it did not work, in one line."""
    print_text(("Error", "bold red"), f": {text}", stderr=True)


def notice(text: str) -> None:
    """Something that the person should know, beside what was asked for."""
    print_text((text, "yellow"), stderr=True)


def print_names(verb: str, names: Iterable[str], *, empty: str) -> None:
    """A line for each name; a word where there is none."""
    lines = [f"{verb} {name}" for name in names] or [empty]
    for line in lines:
        print_text(line)
