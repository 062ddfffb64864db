"""
`python -m service hooks | responder | admin | migrate | cli`: one program, one process each.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from service import log
from service.core.problems import InvalidInput
from service.db.pool import WrongSchema
from service.web.process import CannotRun, run

if TYPE_CHECKING:
    from service.settings import Settings

    # What a process runs, and with which settings.
    Service = tuple[Settings, Coroutine[Any, Any, None]]

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


def _hooks() -> Service:
    from service.settings import HooksSettings
    from service.web import several
    from service.web.hooks_process import HooksProcess

    settings = HooksSettings.from_env(os.environ)
    log.configure(settings.log_level)
    if settings.hooks_processes > 1:
        return settings, several.run(settings)
    return settings, HooksProcess(settings).run()


def _responder() -> Service:
    from service.mqtt.responder import ResponderProcess
    from service.settings import ResponderSettings

    settings = ResponderSettings.from_env(os.environ)
    log.configure(settings.log_level)
    return settings, ResponderProcess(settings).run()


def _admin() -> Service:
    from service.settings import AdminSettings
    from service.web.admin_process import AdminProcess

    settings = AdminSettings.from_env(os.environ)
    log.configure(settings.log_level)
    return settings, AdminProcess(settings).run()


def _serve(prepare: Callable[[], Service]) -> int:
    try:
        settings, main = prepare()
        run(main, settings.event_loop)
    except InvalidInput as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201
        return 1
    except (WrongSchema, CannotRun) as error:
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
