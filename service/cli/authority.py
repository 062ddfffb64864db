"""`provision ca`: a development CA, and certificates of it for brokers. Files only, no database."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from service import certificates
from service.certificates import CannotIssue
from service.cli import output
from service.cli.context import json_option
from service.core.certificates import check_name, read_hosts
from service.core.problems import InvalidInput, raise_problems

folder_option = click.option(
    "--directory", type=click.Path(path_type=Path), required=True, help="Where the CA is: ca.pem and ca.key."
)


def days_option(default: int, longest: int) -> Callable[[Any], Any]:
    """How long it is good for."""
    return click.option(
        "--days", type=click.IntRange(1, longest), default=default, show_default=True, help="How long it is good for."
    )


@click.group()
def ca() -> None:
    """A development CA for the brokers' TLS; where there is a PKI, use that instead."""


@ca.command("create")
@folder_option
@click.option("--name", default="Device provisioning development CA", show_default=True, help="What it is called.")
@days_option(certificates.AUTHORITY_DAYS, 36_500)
@json_option
def create(directory: Path, name: str, days: int, as_json: bool) -> None:
    """Make a CA in a folder: ca.pem is for everybody, ca.key (0600) for nobody else."""
    with _telling(as_json=as_json):
        raise_problems(check_name(name))
        made = certificates.create_authority(directory, name, days)
    files = {"ca": str(directory / certificates.CA_FILE), "key": str(directory / certificates.CA_KEY_FILE)}
    ends = made.certificate.not_valid_after_utc
    text = f"made the CA {files['ca']}, good until {output.cell(ends)}; keep {files['key']} to yourself"
    output.say(text, {"name": name, **files, "expires_on": ends}, as_json=as_json)


@ca.command("issue")
@folder_option
@click.option("--host", "hosts", multiple=True, required=True, metavar="NAME", help="A name or address of the broker.")
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for certificate.pem and key.pem (0600).",
)
@days_option(certificates.CERTIFICATE_DAYS, 825)
@json_option
def issue(directory: Path, hosts: tuple[str, ...], target: Path, days: int, as_json: bool) -> None:
    """Make a broker's certificate: for the names and addresses that devices connect to, and no others."""
    with _telling(as_json=as_json):
        read, problems = read_hosts(hosts)
        raise_problems(problems)
        made = certificates.issue(certificates.load_authority(directory), read, target, days)
    files = {
        "certificate": str(target / certificates.CERTIFICATE_FILE),
        "key": str(target / certificates.KEY_FILE),
    }
    ends = made.certificate.not_valid_after_utc
    names = [str(host) for host in read]
    text = f"made {files['certificate']} for {', '.join(names)}, good until {output.cell(ends)}, and {files['key']}"
    output.say(text, {"hosts": names, **files, "expires_on": ends}, as_json=as_json)


@contextmanager
def _telling(*, as_json: bool) -> Iterator[None]:
    """What went wrong, by field or by file. Nothing is ever written over."""
    try:
        yield
    except InvalidInput as error:
        output.print_problems(error, as_json=as_json)
        sys.exit(output.INVALID)
    except CannotIssue as error:
        raise click.ClickException(str(error)) from error
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename} is there already and is not written over") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the files'}: {error.strerror}") from error
