"""Files that commands read: an additional device configuration, applications. `-` is standard input."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from service import configuration_file
from service.configuration_file import MOST_BYTES
from service.core import applications, device_config
from service.core.problems import InvalidInput, Problem, raise_problems

configuration_option = click.option(
    "--configuration", metavar="FILE", help="Additional device configuration: JSON, or Kura's XML (- for stdin)."
)
applications_option = click.option(
    "--applications", metavar="FILE", help="What to install, in order: a JSON list (- for stdin)."
)


def check_standard_input(*paths: str | None) -> None:
    """Raises UsageError where two would be read from it."""
    if paths.count("-") > 1:
        raise click.UsageError("only one file can come from standard input")


def read_configuration(path: str | None) -> Mapping[str, Mapping[str, device_config.Value]]:
    """The additional device configuration. Raises InvalidInput."""
    if path is None:
        return {}
    configuration, problems = configuration_file.read(_read(path, device_config.FIELD))
    raise_problems(problems)
    return configuration


def read_applications(path: str | None) -> list[dict[str, Any]]:
    """The applications, each with the fields that the file gives it. Raises InvalidInput."""
    if path is None:
        return []
    found, problems = applications.parse(_read(path, applications.FIELD))
    raise_problems(problems)
    return found


def _read(path: str, field: str) -> bytes:
    """One byte more than may be, so that whoever reads it can tell. Raises InvalidInput."""
    try:
        if path == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1) if sys.stdin is not None else b""
        with open(path, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "cannot be read"
        raise InvalidInput([Problem(field=field, rule="unreadable", text=f"{path}: {why}")]) from error
