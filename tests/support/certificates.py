"""A CA and a server certificate of it, for listeners with TLS; also such as must not be trusted."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.certificates import Pair, make_authority, make_certificate
from service.core.certificates import read_hosts

BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Certificates:
    """PEM files."""

    ca: Path
    certificate: Path
    key: Path


def new_authority(name: str = "test CA", end: datetime.datetime = END) -> Pair:
    """A CA; several may have one name."""
    return make_authority(name, BEGIN, end)


def make_certificates(
    folder: Path,
    *,
    authority: Pair | None = None,
    hosts: Sequence[str] = ("127.0.0.1",),
    begin: datetime.datetime = BEGIN,
    end: datetime.datetime = END,
) -> Certificates:
    """For 127.0.0.1 alone, unless told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = authority or new_authority()
    names, problems = read_hosts(hosts)
    assert not problems
    server = make_certificate(authority, names, begin, end)
    files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    files.ca.write_bytes(authority.pem)
    files.certificate.write_bytes(server.pem)
    files.key.write_bytes(server.key_pem)
    return files
