"""`python -m service migrate`: the schema, by whoever owns it. Services never migrate by themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg

from service.cli import output
from service.cli.context import Commands, confirm, json_option, load, yes_option
from service.core.problems import InvalidInput
from service.db.migrations import MigrationFailed, Migrator
from service.settings import MigrateSettings


@contextmanager
def _migrator(*, as_json: bool) -> Iterator[Migrator]:
    """The migrator; on any trouble say it and exit."""
    try:
        yield Migrator(load(MigrateSettings).migrator_database_url)
    except InvalidInput as error:
        output.print_problems(error, as_json=as_json)
        sys.exit(output.INVALID)
    except MigrationFailed as error:
        if _is_unreachable(error.__cause__):
            _exit_unreachable(error)
        raise click.ClickException(str(error)) from error
    except psycopg.OperationalError as error:
        _exit_unreachable(error)
    except psycopg.Error as error:
        what = error.diag.message_primary or str(error).strip().partition("\n")[0]
        raise click.ClickException(f"the database refused: {what}") from error


def _is_unreachable(cause: BaseException | None) -> bool:
    """A connection that could not be made or was lost has no diagnosis of the server's, or one of class 08 or 57."""
    return isinstance(cause, psycopg.OperationalError) and (cause.sqlstate or "08")[:2] in ("08", "28", "3D", "57")


def _exit_unreachable(error: Exception) -> None:
    why = str(error).partition("\n")[0].removeprefix("the database cannot be reached: ")
    output.print_error(f"the database does not answer: {why} (PROVISION_MIGRATOR_DATABASE_URL)")
    sys.exit(output.UNREACHABLE)


def _refuse_server(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(
            "migrate works on the database alone: it has nothing to ask a server for, leave --server out"
        )


def _report(verb: str, names: list[str], *, field: str, empty: str, as_json: bool) -> None:
    if as_json:
        output.print_json({field: names})
    else:
        output.print_names(verb, names, empty=empty)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--server", hidden=True, expose_value=False, callback=_refuse_server)
def migrate() -> None:
    """
    Apply, take back and check the migrations in sql/migrations (PROVISION_MIGRATOR_DATABASE_URL).

    Exit status: 0 done, 1 failed, 2 not understood, 4 not reached.
    """


@migrate.command()
@click.option("--to", metavar="NAME", help="Stop after this migration.")
@json_option
def up(to: str | None, as_json: bool) -> None:
    """Apply what is missing."""
    with _migrator(as_json=as_json) as migrator:
        _report("applied", migrator.up(to), field="applied", empty="nothing to apply", as_json=as_json)


@migrate.command()
@click.option("--steps", type=click.IntRange(1), help="How many migrations [default: 1].")
@click.option("--to", metavar="NAME", help="Take back all after this migration.")
@yes_option
@json_option
def down(steps: int | None, to: str | None, yes: bool, as_json: bool) -> None:
    """Take back the last migrations: what they made is gone."""
    if steps is not None and to is not None:
        raise click.UsageError("--steps or --to, not both")
    confirm("This deletes what the migrations made, with its data. Go on?", yes=yes)
    with _migrator(as_json=as_json) as migrator:
        gone = migrator.down(steps or 1, to)
        _report("took back", gone, field="taken_back", empty="nothing to take back", as_json=as_json)


@migrate.command()
@json_option
def status(as_json: bool) -> None:
    """Every migration: when it was applied and by whom."""
    with _migrator(as_json=as_json) as migrator:
        rows = [
            {
                "migration": status.id,
                "applied_at": status.applied_at,
                "applied_by": status.applied_by,
                "remark": "edited since" if status.edited else "has no file" if status.missing else None,
            }
            for status in migrator.status()
        ]
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, ["migration", "applied_at", "applied_by", "remark"], empty="no migrations")


@migrate.command()
@json_option
def verify(as_json: bool) -> None:
    """Exit 1 unless every file is applied and unchanged."""
    with _migrator(as_json=as_json) as migrator:
        found = migrator.verify()
    if as_json:
        output.print_json({"problems": found})
    else:
        for line in found:
            output.print_text(line, stderr=True)
    if found:
        sys.exit(output.FAILED)
    if not as_json:
        output.print_text("the database is as the files say")


@migrate.command()
@json_option
def adopt(as_json: bool) -> None:
    """Take over a database whose files were run with psql: what it has is noted as applied."""
    with _migrator(as_json=as_json) as migrator:
        _report("noted as applied:", migrator.adopt(), field="noted", empty="nothing to note", as_json=as_json)
