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
- Every command works on the database, or with `provision --server URL --token-file FILE COMMAND ...` over the
  administrators' API ([api.md](api.md)): then it needs no database, no keys and no other settings, may do what the
  token's role may, and looks in the token's own account where none is named. `http://` is taken for loopback addresses
  only. The commands of `ca`, `key create`, `device run` and `request labels` ask no server, and say so; `migrate` has
  no such side.
- Every command takes `--json`: one document on standard output, and
  `{"problems": [{"field", "rule", "text"}]}` where something was wrong.
- A secret is read from a file, the environment or a prompt, never from the command line. A new one is shown once:
  alone on standard output, or written to a new file (0600).
- Exit status: 0 done, 1 failed, 2 not understood or not allowed (every problem is named by field), 3 refused by a
  broker or the responder, 4 not reached (a database, a broker, a server; or the server cannot reach its database).
  Of a server also: 5 its certificate is not trusted, 6 it does not know the token (any more), 7 the token's role may
  not do this, 8 too many wrong tokens came from here.
- A connection to a server that is cut is made again where that does no harm: for questions, and for creations, which
  have an `Idempotency-Key`. Of what is shown once and got lost the command says so; of other changes it says that it
  does not know whether they were made.
- Names of one account are looked up in the account of `--account`, or `PROVISION_ACCOUNT`.

## provision

| option | |
|---|---|
{options}"""


def render() -> str:
    """The whole page."""
    options = "".join(_render_options(provision))
    return INTRODUCTION.replace("{options}", options) + "".join(_render_group(provision, "provision"))


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
    rows = list(_render_options(command))
    if rows:
        yield "\n| option | |\n|---|---|\n"
    yield from rows


def _render_options(command: click.Command) -> Iterator[str]:
    options = [p for p in command.params if isinstance(p, click.Option) and p.name != "as_json"]
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
