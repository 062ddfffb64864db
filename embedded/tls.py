"""
The development CA and the brokers' certificates: each folder made whole or not at all, renewed before it ends.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509

from embedded.brokers import give_to_broker
from service import certificates
from service.core.certificates import read_hosts

# Whom devices on this machine connect to.
HERE = ("localhost", "127.0.0.1", "::1")
_RENEWED_BEFORE = datetime.timedelta(days=30)


def ca_file(folder: Path) -> Path:
    """What devices trust."""
    return folder / certificates.CA_FILE


def words(folder: Path) -> dict[str, str]:
    """For the shipped broker files."""
    return {
        "CERTIFICATE_FILE": str(folder / certificates.CERTIFICATE_FILE),
        "KEY_FILE": str(folder / certificates.KEY_FILE),
    }


def make_ca(folder: Path) -> bool:
    """A CA where there is none; whether one was made."""
    if folder.exists():
        return False

    def fill(new: Path) -> None:
        certificates.create_authority(new, "Device provisioning development CA")

    _replace(folder, fill)
    return True


def make_certificate(
    ca: Path, folder: Path, hosts: Sequence[str], *, give: Callable[..., None] = give_to_broker
) -> bool:
    """A broker's certificate, where there is none or it ends soon; whether one was made."""
    if folder.exists() and not _ends_soon(folder / certificates.CERTIFICATE_FILE):
        return False
    read, problems = read_hosts(hosts)
    assert not problems, problems

    def fill(new: Path) -> None:
        certificates.issue(certificates.load_authority(ca), read, new)
        give(*new.iterdir())

    _replace(folder, fill)
    return True


def _ends_soon(certificate: Path) -> bool:
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return ends - datetime.datetime.now(datetime.UTC) < _RENEWED_BEFORE


def _replace(folder: Path, fill: Callable[[Path], None]) -> None:
    """A step that is cut off leaves nothing that the next run would take for whole."""
    new = folder.with_name(f"{folder.name}.new")
    for path in (new, folder.with_name(f"{folder.name}.old")):
        shutil.rmtree(path, ignore_errors=True)
    new.mkdir(mode=0o755, parents=True)
    new.chmod(0o755)
    fill(new)
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.old"))
    new.rename(folder)
    shutil.rmtree(folder.with_name(f"{folder.name}.old"), ignore_errors=True)
