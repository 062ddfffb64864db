"""`python -m service migrate`: the schema, by whoever owns it. Services never migrate by themselves."""

from __future__ import annotations

import os
import sys

import click

from service.cli import output
from service.cli.context import confirm, json_option, yes_option
from service.core.problems import InvalidInput
from service.db.migrations import MigrationFailed, Migrator
from service.settings import MigrateSettings


def _migrator() -> Migrator:
    try:
        return Migrator(MigrateSettings.from_env(os.environ).migrator_database_url)
    except InvalidInput as error:
        output.print_problems(error, as_json=False)
        sys.exit(output.INVALID)


@click.group()
def migrate() -> None:
    """Apply, take back and check the migrations in sql/migrations (PROVISION_MIGRATOR_DATABASE_URL)."""


@migrate.command()
@click.option("--to", metavar="NAME", help="Stop after this migration.")
def up(to: str | None) -> None:
    """Apply what is missing."""
    try:
        applied = _migrator().up(to)
    except MigrationFailed as error:
        raise click.ClickException(str(error)) from error
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("nothing to apply")


@migrate.command()
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True, help="How many migrations.")
@click.option("--to", metavar="NAME", help="Take back all after this migration.")
@yes_option
def down(steps: int, to: str | None, yes: bool) -> None:
    """Take back the last migrations: what they made is gone."""
    confirm("This deletes what the migrations made, with its data. Go on?", yes=yes)
    try:
        for name in _migrator().down(steps, to):
            click.echo(f"took back {name}")
    except MigrationFailed as error:
        raise click.ClickException(str(error)) from error


@migrate.command()
@json_option
def status(as_json: bool) -> None:
    """Every migration: when it was applied and by whom."""
    try:
        rows = [
            {
                "migration": status.id,
                "applied_at": status.applied_at,
                "applied_by": status.applied_by,
                "remark": "edited since" if status.edited else "has no file" if status.missing else None,
            }
            for status in _migrator().status()
        ]
    except MigrationFailed as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        output.print_json(rows)
    else:
        output.print_table(rows, ["migration", "applied_at", "applied_by", "remark"], empty="no migrations")


@migrate.command()
def verify() -> None:
    """Exit 1 unless every file is applied and unchanged."""
    try:
        found = _migrator().verify()
    except MigrationFailed as error:
        raise click.ClickException(str(error)) from error
    for line in found:
        click.echo(line, err=True)
    if found:
        sys.exit(output.FAILED)
    click.echo("the database is as the files say")


@migrate.command()
def adopt() -> None:
    """Take over a database whose files were run with psql."""
    try:
        for name in _migrator().adopt():
            click.echo(f"noted {name} as applied")
    except MigrationFailed as error:
        raise click.ClickException(str(error)) from error
