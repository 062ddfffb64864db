"""
Certificates as they are given to us: the CA that devices are to trust at a broker, names that a certificate is for.

Only certificates ever leave here, written anew: whatever else stood around them in a file does not travel.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DuplicateExtension,
    ExtensionNotFound,
    load_pem_x509_certificates,
)

from service.core.endpoints import address
from service.core.problems import Problem

# Part of every answer, which has 48 KiB.
CA_LIMIT_BYTES = 16 * 1024
# What a common name may hold (RFC 5280, upper bounds).
NAME_LENGTH = 64
ENCRYPTED_SCHEMES = frozenset({"mqtts", "wss"})

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----")
_END = "-----END CERTIFICATE-----"
_HOST = re.compile(
    r"(?=.{1,253}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)

Host = str | ipaddress.IPv4Address | ipaddress.IPv6Address


def read_ca(text: str, now: datetime.datetime) -> tuple[str | None, list[Problem]]:
    """The CA's certificates as PEM and nothing else, or why they cannot be handed to devices."""
    problem = _unreadable(text)
    if problem is not None:
        return None, [problem]
    try:
        certificates = load_pem_x509_certificates(text.encode())
        problems = [problem for certificate in certificates for problem in _check_authority(certificate, now)]
    except (ValueError, DuplicateExtension):
        return None, [_problem("ca", "cannot be read: it must be certificates in PEM")]
    pem = "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)
    if len(pem) > CA_LIMIT_BYTES:
        problems.append(_problem("ca_too_large", f"has {len(pem)} bytes as PEM, at most {CA_LIMIT_BYTES} are allowed"))
    return (None, problems) if problems else (pem, [])


def _unreadable(text: str) -> Problem | None:
    """What must not even be read: above all a private key, whose text is in no message."""
    kinds = _BLOCK.findall(text)
    if any("PRIVATE KEY" in kind for kind in kinds):
        return _problem("ca_with_key", "holds a private key: give the certificate alone, and keep the key to yourself")
    if not kinds or set(kinds) != {"CERTIFICATE"}:
        return _problem("ca", "must be certificates in PEM (-----BEGIN CERTIFICATE-----) and nothing else")
    return None


def _check_authority(certificate: Certificate, now: datetime.datetime) -> Iterator[Problem]:
    if not _is_authority(certificate):
        yield _problem("ca_is_no_ca", f"{certificate.subject.rfc4514_string()} is not a CA's certificate")
    if certificate.not_valid_after_utc <= now:
        ended = certificate.not_valid_after_utc.isoformat()
        yield _problem("ca_expired", f"{certificate.subject.rfc4514_string()} has expired on {ended}")


def _is_authority(certificate: Certificate) -> bool:
    """By its basic constraints; certificates of version 1 have none, there only a root can be meant."""
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return certificate.issuer == certificate.subject


def _problem(rule: str, text: str) -> Problem:
    return Problem(field="ca", rule=rule, text=text)


def expires_on(ca: str) -> datetime.datetime:
    """When the first of a CA's certificates (as `read_ca` returned them) ends."""
    return min(one.not_valid_after_utc for one in load_pem_x509_certificates(ca.encode()))


def ca_for(endpoint: str, ca: str | None) -> str | None:
    """The CA that goes with an endpoint: nobody needs one where nothing is encrypted."""
    return ca if ca is not None and address(endpoint)[0] in ENCRYPTED_SCHEMES else None


def split(ca: str) -> list[str]:
    """A CA's certificates (as `read_ca` returned them), each as PEM of its own."""
    return [f"{block}{_END}\n" for block in ca.replace("\r", "").split(f"{_END}\n")[:-1]]


def check_name(name: str) -> Iterator[Problem]:
    """What a CA may be called."""
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
        yield Problem(field="name", rule="name", text=f"must be 1 to {NAME_LENGTH} printable characters")


def read_hosts(texts: Sequence[str]) -> tuple[list[Host], list[Problem]]:
    """Names and addresses that a broker's certificate is for, each once, in order; or a problem for each wrong one."""
    hosts: list[Host] = []
    problems: list[Problem] = []
    for text in dict.fromkeys(texts):
        host = _host(text)
        if host is None:
            problems.append(
                Problem(field="host", rule="host", text=f"{text!r} is neither a host's name nor an address")
            )
        elif host not in hosts:
            hosts.append(host)
    if not texts:
        problems.append(
            Problem(field="host", rule="host", text="must be given: the name or address devices connect to")
        )
    return hosts, problems


def _host(text: str) -> Host | None:
    try:
        address_ = ipaddress.ip_address(text)
        return address_ if "%" not in text else None  # a zone is this machine's own name for a link
    except ValueError:
        # What looks like an address, but is none, is not a name either: 127.0.0.
        is_name = _HOST.fullmatch(text) is not None and not text.rpartition(".")[2].isdecimal()
    return text.lower() if is_name else None
