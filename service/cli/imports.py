"""`provision request import` and `request labels`: many requests from a file, and their activation keys on paper."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from service import labels
from service.api.imports import MOST_ROWS, read_outcome, to_document
from service.bulk_import import BATCH, MOST_BATCH, Import, Refusal, Work
from service.cli import output, secret
from service.cli.calls import Caller, check_account, run
from service.cli.context import account_option, json_option
from service.core.imports import CHANGED, CREATED, REFUSED, UNCHANGED, Outcome, Row
from service.core.problems import InvalidInput, Problem
from service.import_file import FORMATS, Reader, tell_format
from service.import_results import ResultFile, read_labels

# Of one call's rows, in bytes: the server takes 2 MiB.
MOST_BYTES = 2 * 1024 * 1024 - 1024

# Rows that people are shown; programs get all of them.
MOST_SHOWN = 50


@dataclass(kw_only=True)
class _Told:
    """What came up while rows were checked and written: some of it for people, all of it for programs."""

    keep_all: bool
    report: TextIO | None
    refusals: list[Refusal] = field(default_factory=list)
    changes: list[Outcome] = field(default_factory=list)
    problems: int = 0
    changed: int = 0

    def refuse(self, refusal: Refusal) -> None:
        self.problems += 1
        if self.report is not None:
            self.report.write(json.dumps(refusal.to_document()) + "\n")
        if self.keep_all or len(self.refusals) < MOST_SHOWN:
            self.refusals.append(refusal)

    def change(self, outcome: Outcome) -> None:
        self.changed += 1
        if self.keep_all or len(self.changes) < MOST_SHOWN:
            self.changes.append(outcome)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@account_option
@click.option("--format", "format_", type=click.Choice(FORMATS), help="What FILE is (default: by its name).")
@click.option("--dry-run", is_flag=True, help="Check every row, and write nothing.")
@click.option("--accept-good-rows", is_flag=True, help="Write the good rows although others are bad.")
@click.option("--update", is_flag=True, help="Change requests that exist and are otherwise than their rows say.")
@click.option(
    "--result", type=click.Path(), help="File (0600) for the activation keys; the one of an interrupted import goes on."
)
@click.option("--username", metavar="NAME", help="Provision username of rows that give none.")
@click.option(
    "--password-file",
    type=click.Path(),
    help="File with the provision password of rows that give none (or PROVISION_PASSWORD).",
)
@click.option(
    "--batch", type=click.IntRange(1, MOST_BATCH), default=BATCH, show_default=True, help="Rows in one transaction."
)
@click.option("--report", type=click.Path(), help="Write every problem to this file, one JSON object a line.")
@json_option
def import_requests(file: str, account: str | None, as_json: bool, **options: Any) -> None:
    """
    Create a provision request for each row of FILE, CSV or NDJSON.

    Every row is checked before the first is written. The same file again changes nothing; an import that was
    interrupted goes on where it stopped (docs/import.md).
    """
    check_account(account)
    if options["result"] is None and not options["dry_run"]:
        raise click.UsageError("say where the activation keys are to go: --result (or --dry-run)")
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open(file, "rb"))
            reader = _reader(source, Path(file), options)
            report = stack.enter_context(_report_file(options["report"]))
        except InvalidInput as error:
            output.print_problems(error, as_json=as_json)
            sys.exit(output.INVALID)
        except OSError as error:
            raise click.ClickException(f"{error.filename}: {error.strerror}") from error
        told = _Told(keep_all=as_json, report=report)
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        header = {"source_sha256": digest, "username": options["username"]}
        tasks = _Tasks(shown=not as_json and output.is_terminal(sys.stderr))
        ended = run(lambda call: _run(call, account, reader, told, header, tasks, options), as_json=as_json)
        _warn_of_readers(Path(file), reader)
    _say(ended, told, options, as_json=as_json)


@contextmanager
def _report_file(path: str | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    with open(path, "w", encoding="ascii") as file:
        yield file


def _reader(source: BinaryIO, path: Path, options: dict[str, Any]) -> Reader:
    """Raises InvalidInput."""
    found = os.fstat(source.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput([Problem(field="file", rule="not_a_file", text=f"{path}: must be a file: it is read twice")])
    defaults = {}
    if options["username"] is not None:
        defaults["provision_username"] = options["username"]
    if options["password_file"] is not None:
        defaults["provision_password"] = secret.read_file(options["password_file"], "provision password")
    elif os.environ.get("PROVISION_PASSWORD"):
        defaults["provision_password"] = os.environ["PROVISION_PASSWORD"]
    told = tell_format(path, options["format_"])
    reader = Reader(file=source, format=told, folder=path.parent, defaults=defaults)
    reader.columns()
    return reader


def _warn_of_readers(path: Path, reader: Reader) -> None:
    """A CSV file without the column holds no password; what NDJSON holds is not known before."""
    mode = os.fstat(reader.file.fileno()).st_mode
    if mode & 0o077 and "provision_password" in (reader.columns() or ("provision_password",)):
        output.notice(f"{path} may hold passwords, and others than its owner may read it: chmod 600")


@dataclass(kw_only=True)
class _Tasks:
    """A bar for each pass, where a person looks on."""

    shown: bool

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), disable=not self.shown, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)


async def _run(
    call: Caller,
    account: str | None,
    reader: Reader,
    told: _Told,
    header: dict[str, Any],
    tasks: _Tasks,
    options: dict[str, Any],
) -> Import:
    """Check, and write where that is wanted and nothing stands against it."""
    whose = await call.needed(account)
    work = Import(
        account=whose,
        reader=reader,
        check_rows=_asking(call, "check_import_rows", whose, update=options["update"]),
        write_rows=_asking(call, "write_import_rows", whose, update=options["update"]),
        batch=options["batch"],
        refused=told.refuse,
        changed=told.change,
    )
    result = (
        None
        if options["dry_run"]
        else await asyncio.to_thread(ResultFile.open, options["result"], {"account": whose, **header})
    )
    wrote = False
    try:
        with tasks.task("checking", os.fstat(reader.file.fileno()).st_size) as work.advanced:
            await work.check(result.pending if result is not None else {})
        if result is not None and (not work.checked[REFUSED] or options["accept_good_rows"]):
            wrote = True
            with tasks.task("writing", work.to_write) as work.advanced:
                await work.write(result)
    except OSError as error:
        if error.errno is None or result is None:
            raise
        raise click.ClickException(
            f"{options['result']}: {error.strerror}; what is in it holds: make room, and import again"
        ) from error
    finally:
        if result is not None:
            result.close(discard=not wrote)
    return work


def _asking(call: Caller, route: str, account: str, *, update: bool) -> Work:
    """Have rows checked, or written, in as many calls as they need."""

    async def ask(rows: Sequence[Row]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for part in _in_calls(rows):
            if isinstance(part, Outcome):
                outcomes.append(part)
                continue
            answer = await call(route, {"account": account}, body={"rows": part, "update": update})
            outcomes += [read_outcome(document) for document in answer["items"]]
        return outcomes

    return ask


def _in_calls(rows: Sequence[Row]) -> Iterator[list[msgspec.Raw] | Outcome]:
    """Rows in their order, as many as a call takes; refused where one alone is too long."""
    part: list[msgspec.Raw] = []
    size = 0
    for row in rows:
        encoded = msgspec.json.encode(to_document(row))
        if part and (len(part) == MOST_ROWS or size + len(encoded) > MOST_BYTES or len(encoded) > MOST_BYTES):
            yield part
            part, size = [], 0
        if len(encoded) > MOST_BYTES:
            text = f"must have at most {MOST_BYTES} bytes as JSON"
            problems = (Problem(field="row", rule="too_large", text=text),)
            yield Outcome(line=row.line, client_id=row.new.client_id, outcome=REFUSED, problems=problems)
            continue
        part.append(msgspec.Raw(encoded))
        size += len(encoded) + 1
    if part:
        yield part


def _say(work: Import, told: _Told, options: dict[str, Any], *, as_json: bool) -> None:
    """What was done, or would be; and end with the status that says so."""
    stopped = bool(work.checked[REFUSED]) and not options["accept_good_rows"]
    written = not options["dry_run"] and not stopped
    counts = work.written if written else work.checked
    document = {
        "account": work.account,
        "dry_run": options["dry_run"],
        "written": written,
        "rows": sum(work.checked.values()),
        CREATED: counts[CREATED],
        CHANGED: counts[CHANGED],
        UNCHANGED: work.checked[UNCHANGED] + (work.written[UNCHANGED] if written else 0),
        REFUSED: work.checked[REFUSED] + (work.written[REFUSED] if written else 0),
        "keys_made": work.keys_made,
        "keys_reused": work.keys_reused,
    }
    if as_json:
        output.print_json(
            {
                **document,
                "changes": [{"line": o.line, "client_id": o.client_id, "fields": o.fields} for o in told.changes],
                "problems": [refusal.to_document() for refusal in told.refusals],
            }
        )
    else:
        _say_to_people(document, told, options, written=written)
    if work.written[REFUSED] or (work.checked[REFUSED] and (options["dry_run"] or stopped)):
        sys.exit(output.INVALID)


def _say_to_people(document: dict[str, Any], told: _Told, options: dict[str, Any], *, written: bool) -> None:
    for refusal in told.refusals:
        at = f"line {refusal.line}" + (f" ({refusal.client_id})" if refusal.client_id else "")
        text = f": {refusal.problem.field}: {refusal.problem.text} [{refusal.problem.rule}]"
        output.print_text((at, "bold red"), text, stderr=True)
    if told.problems > len(told.refusals):
        more = told.problems - len(told.refusals)
        output.print_text(f"... and {more} more problems: --report FILE or --json has them all", stderr=True)
    for outcome in told.changes:
        output.print_text(
            f"{'changed' if written else 'would change'} {outcome.client_id}: {', '.join(outcome.fields)}"
        )
    if told.changed > len(told.changes):
        output.print_text(f"... and {told.changed - len(told.changes)} more: --json has them all")
    counts = ", ".join(f"{document[name]} {name}" for name in (CREATED, CHANGED, UNCHANGED, REFUSED))
    if written:
        output.print_text(f"{document['rows']} rows: {counts}")
        if document["keys_made"] or document["keys_reused"]:
            output.notice(
                f"{document['keys_made'] + document['keys_reused']} activation keys are in {options['result']}"
            )
    else:
        output.print_text(f"{document['rows']} rows, nothing is written; it would be: {counts}")


@click.command("labels")
@click.argument("result_file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--output", "path", type=click.Path(), required=True, help="The new sheet (0600): *.html, for printing, or *.svg."
)
@json_option
def print_labels(result_file: str, path: str, as_json: bool) -> None:
    """Make a sheet of labels with QR codes from an import's result file: client id, account, activation key."""
    ending = Path(path).suffix.lower()
    if ending not in labels.FORMATS:
        raise click.UsageError(f"--output must end in {' or '.join(labels.FORMATS)}")
    try:
        found, pending = read_labels(result_file)
    except InvalidInput as error:
        output.print_problems(error, as_json=as_json)
        sys.exit(output.INVALID)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.writelines(labels.pieces(found, ending))
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    if pending:
        output.notice(f"{pending} keys are left out, their rows did not come to be as far as is known: import again")
    document = {"labels": len(found), "pending": pending, "output": path}
    output.say(f"made {len(found)} labels in {path}", document, as_json=as_json)
