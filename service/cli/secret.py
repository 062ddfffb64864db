"""Secrets of commands: read from a file, the environment or a prompt, handed over once; never on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from service.cli import output

file_option = click.option(
    "--secret-file", type=click.Path(), help="Write the secret to this new file (0600) instead of showing it."
)


@dataclass(kw_only=True)
class Place:
    """Where a secret goes that is shown this once: a new file of its owner's, or the screen."""

    path: str | None
    as_json: bool
    handle: int | None = field(default=None, repr=False)
    written: bool = False

    def hand_over(self, text: str, document: Mapping[str, Any], *, secret: str, field: str, what: str) -> None:
        """
        Say what was done, and hand over the secret that came of it.

        On the screen the secret stands alone on standard output, so that `$(...)` catches it and nothing else; as JSON
        it is the document's `field`.
        """
        if self.path is not None:
            self._write(secret, what)
            output.say(text, document, as_json=self.as_json)
            output.notice(f"{what} is in {self.path}")
        elif self.as_json:
            output.print_json({**document, field: secret})
        else:
            output.notice(f"{text}; {what}, shown this once:")
            click.echo(secret)

    def stays_empty(self, text: str, document: Mapping[str, Any], *, what: str) -> None:
        """Say what was done, where no secret came of it."""
        output.say(text, document, as_json=self.as_json)
        if self.path is not None:
            output.notice(f"no {what} was made: {self.path} is not written")

    def _write(self, secret: str, what: str) -> None:
        assert self.handle is not None
        content = secret.encode("utf-8") + b"\n"
        try:
            if os.write(self.handle, content) != len(content):
                raise OSError(0, "was not written whole")
            os.fsync(self.handle)
        except OSError as error:
            raise click.ClickException(
                f"{self.path}: {error.strerror}. {what} was made, but is lost: make another one"
            ) from error
        self.written = True


@contextmanager
def new_place(path: str | None, *, as_json: bool) -> Iterator[Place]:
    """
    The place, made before anything else happens, so that no secret is made that cannot be kept.

    A file must be new; it is readable by its owner only, and gone again where no secret came into it. Raises
    click.ClickException where it cannot be made.
    """
    if path is None:
        yield Place(path=None, as_json=as_json)
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    place = Place(path=path, as_json=as_json, handle=handle)
    try:
        yield place
    finally:
        os.close(handle)
        if not place.written:
            os.unlink(path)


def read_file(path: str, what: str) -> str:
    """A secret from a file, less the end of its line."""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise click.UsageError(f"the file of the {what} cannot be read: {path}: {why}") from error


def read_password(path: str | None, *, twice: bool) -> str:
    """The provision password; at a prompt it is asked `twice` where a slip would be found out in the field only."""
    if path is not None:
        return read_file(path, "provision password")
    if os.environ.get("PROVISION_PASSWORD"):
        return os.environ["PROVISION_PASSWORD"]
    if output.is_terminal(sys.stdin):
        return str(click.prompt("Provision password", hide_input=True, confirmation_prompt=twice, err=True))
    raise click.UsageError("the provision password is needed: --password-file, PROVISION_PASSWORD, or at a prompt")
