"""
`python -m service hooks | responder | admin | migrate | cli`: one program, one process each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from service import log
from service.core.problems import InvalidInput
from service.db.pool import WrongSchema
from service.web.process import PortBusy

USAGE = """usage: python -m service COMMAND

  hooks       answer the brokers' questions
  responder   answer the devices' messages
  admin       the administrators' HTTP API
  migrate     up | down | status | verify | adopt
  cli         what `provision` does"""


def main() -> int:
    """Exit status: 0 ended as asked; 1 cannot run (the message says why); 2 not understood."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    commands: dict[str, Callable[[], int]] = {
        "hooks": lambda: _serve(_hooks),
        "responder": lambda: _serve(_responder),
        "admin": lambda: _serve(_admin),
        "migrate": _migrate,
        "cli": _cli,
    }
    if command not in commands:
        print(USAGE, file=sys.stderr)  # noqa: T201
        return 2
    return commands[command]()


async def _hooks() -> None:
    from service.settings import HooksSettings
    from service.web.hooks import HooksProcess

    settings = HooksSettings.from_env(os.environ)
    log.configure(settings.log_level)
    await HooksProcess(settings).run()


async def _responder() -> None:
    from service.mqtt.responder import ResponderProcess
    from service.settings import ResponderSettings

    settings = ResponderSettings.from_env(os.environ)
    log.configure(settings.log_level)
    await ResponderProcess(settings).run()


async def _admin() -> None:
    from service.settings import AdminSettings
    from service.web.admin_process import AdminProcess

    settings = AdminSettings.from_env(os.environ)
    log.configure(settings.log_level)
    await AdminProcess(settings).run()


def _serve(run: Callable[[], Awaitable[None]]) -> int:
    async def serve() -> None:
        await run()

    try:
        asyncio.run(serve())
    except InvalidInput as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201
        return 1
    except (WrongSchema, PortBusy) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _migrate() -> int:
    from service.cli.migrate import migrate

    migrate(sys.argv[2:], prog_name="python -m service migrate")
    return 0


def _cli() -> int:
    from service.cli.main import main as cli

    cli(sys.argv[2:], prog_name="provision")
    return 0


if __name__ == "__main__":
    sys.exit(main())
