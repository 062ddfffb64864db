"""What commands print: tables for people, JSON for programs, problems by field, secrets once."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from service.core.problems import InvalidInput

# Exit statuses of every command.
OK, FAILED, INVALID, REFUSED, UNREACHABLE = range(5)

# Where nobody sees a terminal's width, lines are not folded at 80 characters.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def print_json(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(plain(value), ensure_ascii=False, indent=2))


def print_line(value: Any) -> None:
    """One JSON document on one line, at once: for programs that follow."""
    click.echo(json.dumps(plain(value), ensure_ascii=False))


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


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Rows for people; some columns only."""
    if not rows:
        console.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell(row.get(column))) for column in columns))
    console.print(table)


def print_record(record: Mapping[str, Any]) -> None:
    """One thing for people: a line for each of its fields."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in record.items():
        table.add_row(name.replace("_", " "), escape(cell(value)))
    console.print(table)


def print_timeline(rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """What happened, a line each: when, what, why, and what else is known of it."""
    if not rows:
        console.print(empty)
    for row in rows:
        more = {**row["detail"], "by": row["by"], "correlation_id": row["correlation_id"]}
        words = "  ".join(f"{name}={cell(value)}" for name, value in more.items() if value not in (None, {}, []))
        reason = f"  [yellow]{escape(row['reason'])}[/]" if row["reason"] else ""
        console.print(
            f"{cell(row['at'])}  [bold]{escape(row['what'])}[/]{reason}  [dim]{escape(words)}[/]", soft_wrap=True
        )


def escape(text: str) -> str:
    """Text of strangers, which must neither be markup nor move the cursor."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text).replace("[", r"\[")


def print_problems(error: InvalidInput, *, as_json: bool) -> None:
    """Every problem: field and rule."""
    if as_json:
        print_json({"problems": [{"field": p.field, "rule": p.rule, "text": p.text} for p in error.problems]})
        return
    for problem in error.problems:
        errors.print(f"[bold red]{escape(problem.field)}[/]: {escape(problem.text)}")


def notice(text: str) -> None:
    """Something that the person should know, beside what was asked for."""
    errors.print(f"[yellow]{escape(text)}[/]")


@contextmanager
def secret_place(path: str | None, *, as_json: bool) -> Iterator[Callable[[str, str], None]]:
    """
    Where a secret goes that is shown this once: `hand_over(secret, what it is)` inside the context.

    A new file that only its owner can read, made before anything else happens, so that no secret is made that cannot
    be kept; or the screen. Raises click.ClickException where the file exists.
    """
    if path is None:
        yield lambda secret, what: _show(secret, what, as_json=as_json)
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    written = False

    def write(secret: str, what: str) -> None:
        nonlocal written
        os.write(handle, secret.encode("utf-8") + b"\n")
        os.fsync(handle)
        written = True
        notice(f"{what} is in {path}")

    try:
        yield write
    finally:
        os.close(handle)
        if not written:
            os.unlink(path)


def _show(secret: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"secret": secret})
    else:
        notice(f"{what}, shown this once:")
        click.echo(secret)


def read_secret(path: str | None, variable: str, prompt: str) -> str:
    """A secret from a file (less the end of its line), the environment or a prompt; never from the command line."""
    if path is not None:
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise click.ClickException(f"{path}: {error.strerror}") from error
    if os.environ.get(variable):
        return os.environ[variable]
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, confirmation_prompt=True))
    raise click.UsageError(f"{prompt} is needed: by file, by {variable}, or at a prompt")
