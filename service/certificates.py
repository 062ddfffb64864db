"""
A development CA, and certificates of it for brokers: EC P-256, made here and written to new files.

Whoever has a PKI uses that. What is made here is what a test bench, `make up` and a small installation need.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service.core.certificates import NAME_LENGTH, Host

# A root lasts as long as the devices that got it; a broker's certificate is replaced each year.
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
# Devices' clocks are behind.
_BACKDATED = datetime.timedelta(hours=1)

CA_FILE, CA_KEY_FILE = "ca.pem", "ca.key"
CERTIFICATE_FILE, KEY_FILE = "certificate.pem", "key.pem"


class CannotIssue(Exception):
    """The CA cannot sign; the message says why, and has nothing of its key."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, not encrypted: a broker starts without anybody at hand."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def make_authority(name: str, begins: datetime.datetime, ends: datetime.datetime) -> Pair:
    """A root that signs brokers' certificates, and no other CA's."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(name, name, key, begins, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Pair(certificate=builder.sign(key, hashes.SHA256()), key=key)


def make_certificate(
    authority: Pair, hosts: Sequence[Host], begins: datetime.datetime, ends: datetime.datetime
) -> Pair:
    """A broker's certificate: for these names and addresses, good for a TLS server and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    names = [x509.DNSName(host) if isinstance(host, str) else x509.IPAddress(host) for host in hosts]
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(str(hosts[0])[:NAME_LENGTH], issuer, key, begins, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(signer, critical=False)
    )
    return Pair(certificate=builder.sign(authority.key, hashes.SHA256()), key=key)


def _builder(
    subject: str,
    issuer: str | x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer) if isinstance(issuer, str) else issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(**allowed: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    every = dict.fromkeys((*names, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(**{**every, **allowed})


def create_authority(folder: Path, name: str, days: int = AUTHORITY_DAYS) -> Pair:
    """
    A new CA in a folder: ca.pem for everybody, ca.key for its owner.

    Raises FileExistsError where one of them is there already, and other OSErrors.
    """
    now = datetime.datetime.now(datetime.UTC)
    authority = make_authority(name, now - _BACKDATED, now + datetime.timedelta(days=days))
    _write_pair(authority, folder / CA_FILE, folder / CA_KEY_FILE)
    return authority


def issue(authority: Pair, hosts: Sequence[Host], output: Path, days: int = CERTIFICATE_DAYS) -> Pair:
    """
    A broker's certificate.pem and key.pem in a folder; it ends no later than its CA.

    Raises CannotIssue, FileExistsError where one of them is there already, and other OSErrors.
    """
    now = datetime.datetime.now(datetime.UTC)
    last = authority.certificate.not_valid_after_utc
    if last <= now:
        raise CannotIssue(f"the CA has expired on {last.isoformat()}")
    made = make_certificate(authority, hosts, now - _BACKDATED, min(last, now + datetime.timedelta(days=days)))
    _write_pair(made, output / CERTIFICATE_FILE, output / KEY_FILE)
    return made


def load_authority(folder: Path) -> Pair:
    """What `create_authority` made. Raises CannotIssue and OSError."""
    certificate, key = (folder / name for name in (CA_FILE, CA_KEY_FILE))
    try:
        pair = Pair(certificate=x509.load_pem_x509_certificate(certificate.read_bytes()), key=_load_key(key))
    except (ValueError, TypeError) as error:
        raise CannotIssue(f"{certificate} and {key} must be a certificate and its EC key, not encrypted") from error
    if pair.certificate.public_key() != pair.key.public_key():
        raise CannotIssue(f"{key} is not the key of {certificate}")
    return pair


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError
    return key


def _write_pair(pair: Pair, certificate: Path, key: Path) -> None:
    """Both or none; never over what is there."""
    certificate.parent.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    try:
        for path, content, mode in ((key, pair.key_pem, 0o600), (certificate, pair.pem, 0o644)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            written.append(path)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                os.fchmod(handle, mode)
    except OSError:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
