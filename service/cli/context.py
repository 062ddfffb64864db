"""How a command reaches the operations: settings, pools, who acts; and how its errors end."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import click

from service import log
from service.cli import output
from service.core.problems import InvalidInput
from service.core.requests import Limits
from service.db.pool import TRANSIENT, WrongSchema, check_schema, open_pool
from service.operations.administration import Administration
from service.operations.events import Author
from service.settings import AdministratorSettings

Operation = Callable[[Administration], Awaitable[Any]]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
account_option = click.option(
    "--account", envvar="PROVISION_ACCOUNT", metavar="NAME", help="The account (or PROVISION_ACCOUNT)."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def who() -> str:
    """Whom events name as the actor: the operating system's user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def run(operation: Operation, *, as_json: bool = False) -> Any:
    """Run one operation on the database and return what it returns; on any trouble say it and exit."""
    try:
        settings = AdministratorSettings.from_env(os.environ)
        log.configure(settings.log_level)
        return asyncio.run(_run(settings, operation))
    except InvalidInput as error:
        output.print_problems(error, as_json=as_json)
        sys.exit(output.INVALID)
    except WrongSchema as error:
        raise click.ClickException(str(error)) from error
    except TRANSIENT as error:
        output.errors.print(f"the database cannot be reached: {type(error).__name__}")
        sys.exit(output.UNREACHABLE)
    except asyncpg.PostgresError as error:
        raise click.ClickException(f"the database refused: {type(error).__name__}") from error


async def _run(settings: AdministratorSettings, operation: Operation) -> Any:
    admin_pool = await open_pool(settings.admin_database_url, name="provision", size=2, timeout=30)
    platform_pool = await open_pool(settings.platform_database_url, name="provision", size=2, timeout=30)
    try:
        await check_schema(platform_pool)
        administration = Administration(
            admin_pool=admin_pool,
            platform_pool=platform_pool,
            author=Author(actor=who(), source="cli", event_key=settings.event_key),
            sealing_keys=settings.sealing_keys,
            limits=Limits(client_id_length=settings.client_id_length, answer_bytes=settings.answer_limit),
            bcrypt_cost=settings.bcrypt_cost,
            provision_account=settings.provision_account,
        )
        return await operation(administration)
    finally:
        admin_pool.terminate()
        platform_pool.terminate()


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; without a terminal `--yes` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes.")
    click.confirm(question, abort=True)
