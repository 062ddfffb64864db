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


def check_standard_input(given: Mapping[str, Any]) -> None:
    """Raises UsageError where two files would be read from it."""
    if [given.get("configuration"), given.get("applications")].count("-") > 1:
        raise click.UsageError("only one file can come from standard input")


def read_files(given: Mapping[str, Any]) -> dict[str, Any]:
    """
    What the files of a command's options hold, by field, as a call's body has it: a configuration as its text.

    Raises InvalidInput with the problems of them all.
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for option, field, parse in (
        ("configuration", device_config.FIELD, configuration_file.read),
        ("applications", applications.FIELD, applications.parse),
    ):
        if given.get(option) is None:
            continue
        try:
            data = _read(given[option], field)
            parsed, wrong = parse(data)
            problems += wrong
            found[field] = parsed if field == applications.FIELD or wrong else data.decode("utf-8-sig")
        except InvalidInput as error:
            problems += error.problems
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
