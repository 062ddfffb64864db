"""How a command reaches the operations: settings, pools, who acts; and how its errors end."""

from __future__ import annotations

import asyncio
import io
import os
import pwd
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import click

from service import log
from service.cli import output
from service.core.problems import InvalidInput, Problem, raise_problems
from service.db.pool import TRANSIENT, WrongSchema, check_schema, open_pool
from service.keys import Secret
from service.operations.administration import Administration
from service.settings import PREFIX, AdministratorSettings, Settings

Operation = Callable[[Administration], Awaitable[Any]]
AnySettings = TypeVar("AnySettings", bound=Settings)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
account_option = click.option(
    "--account", envvar="PROVISION_ACCOUNT", metavar="NAME", help="The account (or PROVISION_ACCOUNT)."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class Commands(click.Group):
    """Commands whose errors may quote what strangers wrote, such as a client id on the command line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Errors are said in text that moves no cursor."""
        output.show_every_character()
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            said = io.StringIO()
            error.show(said)
            for line in said.getvalue().rstrip().expandtabs(4).split("\n"):
                click.echo(output.clean(line), err=True)
            ctx.exit(error.exit_code)


def who() -> str:
    """Whom events name as the actor: the operating system's user, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def load(kind: type[AnySettings]) -> AnySettings:
    """A command's settings. Raises InvalidInput with every one that is missing or wrong."""
    settings = kind.from_env(os.environ)
    raise_problems(
        Problem(
            field=PREFIX + name.upper(),
            rule="setting",
            text="must be postgresql://user:password@host:port/database, special characters in it percent-encoded",
        )
        for name, value in vars(settings).items()
        if name.endswith("_database_url") and isinstance(value, Secret) and not _is_database_url(value.reveal())
    )
    return settings


_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(:[0-9]{1,5})?")


def _is_database_url(url: str) -> bool:
    """Whether its hosts can be told from its password: what drivers say of others quotes parts of them."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    except ValueError:
        return False
    return all(_HOST.fullmatch(host) for host in hosts)


def run(operation: Operation, *, as_json: bool) -> Any:
    """Run one operation on the database and return what it returns; on any trouble say it and exit."""
    try:
        settings = load(AdministratorSettings)
        log.configure(settings.log_level)
        return asyncio.run(_run(settings, operation))
    except InvalidInput as error:
        output.print_problems(error, as_json=as_json)
        sys.exit(output.INVALID)
    except WrongSchema as error:
        raise click.ClickException(str(error)) from error
    except asyncpg.DataError as error:
        raise click.UsageError("a value is not UTF-8 text, or out of range") from error
    except asyncpg.ClientConfigurationError as error:
        raise click.UsageError("a database's URL has a parameter that is not understood") from error
    except TRANSIENT as error:
        output.print_error(f"the database does not answer: {_why(error)} ({', '.join(_URLS)})")
        sys.exit(output.UNREACHABLE)
    except asyncpg.PostgresError as error:
        what = " ".join(filter(None, [type(error).__name__, getattr(error, "constraint_name", None)]))
        raise click.ClickException(f"the database refused: {what}") from error


_URLS = ("PROVISION_ADMIN_DATABASE_URL", "PROVISION_PLATFORM_DATABASE_URL")


def _why(error: BaseException) -> str:
    """Never the whole text: a database's details quote values."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0])
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


async def _run(settings: AdministratorSettings, operation: Operation) -> Any:
    admin_pool = await open_pool(settings.admin_database_url, name="provision", size=2, timeout=30)
    platform_pool = await open_pool(settings.platform_database_url, name="provision", size=2, timeout=30)
    try:
        await check_schema(platform_pool)
        administration = Administration.opened(settings, admin_pool, platform_pool, actor=who(), source="cli")
        return await operation(administration)
    finally:
        admin_pool.terminate()
        platform_pool.terminate()


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; without a terminal `--yes` is needed."""
    if yes:
        return
    if not output.is_terminal(sys.stdin):
        raise click.UsageError(f"{question} Say --yes.")
    click.confirm(output.clean(question), abort=True, err=True)


def needed(account: str | None) -> str:
    """The account, where a command cannot do without."""
    if account is None:
        raise click.UsageError("name the account: --account, or PROVISION_ACCOUNT")
    return account
