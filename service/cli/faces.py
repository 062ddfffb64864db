"""Which commands have nothing to ask a server for; every other one works on the database and over HTTP alike."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import click

from service.cli.server import choice

# Command: what it works on instead. (`migrate` is a program of its own, and says the same.)
ON_THIS_MACHINE: Mapping[tuple[str, ...], str] = {
    ("ca", "create"): "makes files on this machine",
    ("ca", "issue"): "makes files on this machine",
    ("key", "create"): "makes a key on this machine",
    ("device", "run"): "is a device, and talks to brokers",
    ("request", "labels"): "makes a sheet from a file on this machine",
}


def refuse_server(group: click.Group) -> None:
    """Where `--server` is said to one of these, it says by name that it asks none; a setting alone is no mistake."""
    for words, what in ON_THIS_MACHINE.items():
        command: click.Command = group
        for word in words:
            assert isinstance(command, click.Group)
            command = command.commands[word]
        command.callback = _refusing(" ".join(words), what, command.callback)


def _refusing(name: str, what: str, callback: Any) -> Any:
    @functools.wraps(callback)
    def refused(*arguments: Any, **options: Any) -> Any:
        if choice().on_command_line:
            raise click.UsageError(f"{name} {what}: it has nothing to ask a server for, leave --server out")
        return callback(*arguments, **options)

    return refused
