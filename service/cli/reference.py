"""docs/commands.md, written from the commands themselves: `make docs`. A test compares it with the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from service.cli.main import main as provision

INTRODUCTION = """\
# The `provision` command

Written from the commands themselves by `make docs`; `provision COMMAND --help` says the same.

- Settings come from the environment ([settings.md](settings.md)); `make up` leaves them in `.run/env`.
- Every command takes `--json`: one document on standard output, and
  `{"problems": [{"field", "rule", "text"}]}` where something was wrong.
- A secret is read from a file, the environment or a prompt, never from the command line. A new one is shown once:
  alone on standard output, or written to a new file (0600).
- Exit status: 0 done, 1 failed, 2 not understood or not allowed (every problem is named by field), 3 refused by a
  broker or the responder, 4 not reached.
- Names of one account are looked up in the account of `--account`, or `PROVISION_ACCOUNT`.
"""


def render() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(_render_group(provision, "provision"))


def _render_group(group: click.Group, path: str) -> Iterator[str]:
    for name in sorted(group.commands):
        command = group.commands[name]
        if isinstance(command, click.Group):
            yield f"\n## {path} {name}\n\n{_text(command.help)}\n"
            yield from _render_group(command, f"{path} {name}")
        else:
            yield from _render_command(command, f"{path} {name}")


def _render_command(command: click.Command, path: str) -> Iterator[str]:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    usage = " ".join([path, *(argument.make_metavar(click.Context(command)) for argument in arguments)])
    yield f"\n### `{usage}`\n\n{_text(command.help)}\n"
    options = [p for p in command.params if isinstance(p, click.Option) and p.name != "as_json"]
    if options:
        yield "\n| option | |\n|---|---|\n"
    for option in options:
        names = " / ".join([*option.opts, *option.secondary_opts])
        needed = " Required." if option.required else ""
        yield f"| `{names}` | {_text(option.help)}{needed} |\n"


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def write(path: Path) -> None:
    """Write the page."""
    path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parents[2] / "docs" / "commands.md")
