"""Certificates: what may be handed to devices as a CA, and what we make ourselves."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from service import certificates
from service.certificates import CannotIssue, Pair, make_authority, make_certificate
from service.core.certificates import CA_LIMIT_BYTES, ca_for, check_name, expires_on, read_ca, read_hosts, split
from service.core.problems import Problem

BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2036, 1, 1, tzinfo=datetime.UTC)
AUTHORITY = make_authority("a CA", BEGIN, END)
CA = AUTHORITY.pem.decode()
SERVER = make_certificate(AUTHORITY, ["broker.example"], BEGIN, END)


def rules(text: str) -> list[str]:
    pem, problems = read_ca(text, NOW)
    assert (pem is None) == bool(problems)
    assert {problem.field for problem in problems} <= {"ca"}
    return [problem.rule for problem in problems]


def test_a_ca_is_kept_as_it_is() -> None:
    assert read_ca(CA, NOW) == (CA, [])
    assert expires_on(CA) == END


def test_several_cas_are_kept_in_order() -> None:
    """Old and new, while one takes over from the other."""
    other = make_authority("a CA", BEGIN, NOW + datetime.timedelta(days=1))
    assert read_ca(CA + other.pem.decode(), NOW) == (CA + other.pem.decode(), [])
    assert expires_on(CA + other.pem.decode()) == NOW + datetime.timedelta(days=1)


@pytest.mark.parametrize("dressed", ["subject=CN = a CA\n" + CA, CA.replace("\n", "\r\n"), "\n" + CA.rstrip()])
def test_what_stands_around_certificates_does_not_travel(dressed: str) -> None:
    """Such as openssl's own words, or a file from Windows."""
    assert read_ca(dressed, NOW) == (CA, [])


@pytest.mark.parametrize("key_first", [True, False])
def test_a_private_key_is_refused_and_not_repeated(key_first: bool) -> None:
    key = AUTHORITY.key_pem.decode()
    pem, problems = read_ca(key + CA if key_first else CA + key, NOW)
    assert pem is None
    assert [problem.rule for problem in problems] == ["ca_with_key"]
    assert not any(line in str(problems) for line in key.splitlines() if not line.startswith("-"))


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"])
def test_every_kind_of_private_key_is_known(kind: str) -> None:
    assert rules(f"{CA}-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n") == ["ca_with_key"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        CA + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        CA[:200],
        "\udcff",
    ],
)
def test_what_is_not_certificates_is_refused(text: str) -> None:
    assert rules(text) == ["ca"]


def test_a_brokers_certificate_is_no_ca() -> None:
    assert rules(SERVER.pem.decode()) == ["ca_is_no_ca"]
    assert rules(CA + SERVER.pem.decode()) == ["ca_is_no_ca"]


def test_an_expired_ca_is_refused() -> None:
    assert rules(make_authority("old", BEGIN, NOW).pem.decode()) == ["ca_expired"]
    assert rules(make_authority("almost", BEGIN, NOW + datetime.timedelta(seconds=1)).pem.decode()) == []


@pytest.mark.parametrize(("issuer", "found"), [("root", []), ("somebody else", ["ca_is_no_ca"])])
def test_without_basic_constraints_only_a_root_is_a_ca(issuer: str, found: list[str]) -> None:
    """Certificates of version 1, as old roots have."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("root", issuer)]
    made = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(BEGIN)
        .not_valid_after(END)
        .sign(key, hashes.SHA256())
    )
    assert rules(Pair(certificate=made, key=key).pem.decode()) == found


def test_the_longest_ca() -> None:
    """Part of every answer, so it has a limit of its own."""
    most = CA_LIMIT_BYTES // len(CA)
    assert rules(CA * most) == []
    assert rules(CA * (most + 1)) == ["ca_too_large"]


@given(st.text() | st.builds(lambda a, b: f"{a}{CA[:100]}{b}", st.text(), st.text()))
def test_whatever_is_given_is_judged(text: str) -> None:
    read_ca(text, NOW)


@pytest.mark.parametrize(
    ("endpoint", "given_"), [("mqtts://b", True), ("wss://b/mqtt", True), ("mqtt://b", False), ("ws://b", False)]
)
def test_a_ca_goes_with_encrypted_endpoints_only(endpoint: str, given_: bool) -> None:
    assert ca_for(endpoint, CA) == (CA if given_ else None)
    assert ca_for(endpoint, None) is None


def test_hosts_are_names_and_addresses() -> None:
    hosts, problems = read_hosts(["localhost", "Broker.Example", "broker.example", "127.0.0.1", "::1", "0::1", "a-1.b"])
    assert problems == []
    loopback = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    assert hosts == ["localhost", "broker.example", *loopback, "a-1.b"]


NO_HOSTS = (
    *("", " ", "a b", "-a", "a-", "a..b", ".a", "a.", "*.example", "127.0.0", "1.2.3.4.5", "300.1.1.1", "[::1]"),
    *("ä.example", "mqtts://a", "a:8883", "a/b", "a" * 64, ".".join(["a" * 63] * 4) + "x", "a\n", "fe80::1%eth0"),
)


@pytest.mark.parametrize("host", NO_HOSTS)
def test_hosts_that_are_none(host: str) -> None:
    hosts, problems = read_hosts([host, "ok"])
    assert hosts == ["ok"]
    assert [problem.rule for problem in problems] == ["host"]
    assert "\n" not in str(problems[0])


def test_a_certificate_is_for_somebody() -> None:
    assert [problem.rule for problem in read_hosts([])[1]] == ["host"]


@pytest.mark.parametrize("name", ["", " a", "x" * 65, "a\nb"])
def test_names_of_cas(name: str) -> None:
    assert [problem.rule for problem in check_name(name)] == ["name"]
    assert list(check_name("Zentrale Prüfstelle")) == []


def test_a_ca_signs_and_does_nothing_else() -> None:
    certificate = AUTHORITY.certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)
    assert isinstance(AUTHORITY.key.curve, ec.SECP256R1)


def test_a_brokers_certificate_serves_and_does_nothing_else() -> None:
    made = make_certificate(AUTHORITY, ["broker.example", ipaddress.ip_address("::1")], BEGIN, END).certificate
    made.verify_directly_issued_by(AUTHORITY.certificate)
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.key_encipherment) == (True, False, False)
    extended = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("::1")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_whom_they_are_for(tmp_path: Path) -> None:
    authority = certificates.create_authority(tmp_path / "ca", "a CA")
    made = certificates.issue(authority, ["localhost"], tmp_path / "broker")
    modes = {path.name: mode(path) for path in tmp_path.rglob("*.*")}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "certificate.pem": 0o644, "key.pem": 0o600}
    assert certificates.load_authority(tmp_path / "ca").pem == authority.pem
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "broker" / "certificate.pem", tmp_path / "broker" / "key.pem")
    days = made.certificate.not_valid_after_utc - made.certificate.not_valid_before_utc
    assert days <= datetime.timedelta(days=398)
    assert "PrivateKey" not in repr(authority)


@pytest.mark.parametrize("there", ["ca.pem", "ca.key"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    """And nothing else is left beside what was there."""
    (tmp_path / there).write_text("mine")
    with pytest.raises(FileExistsError) as refused:
        certificates.create_authority(tmp_path, "a CA")
    assert refused.value.filename == str(tmp_path / there)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_a_certificate_does_not_outlive_its_ca(tmp_path: Path) -> None:
    authority = certificates.create_authority(tmp_path, "a CA", days=10)
    made = certificates.issue(authority, ["localhost"], tmp_path / "broker", days=397)
    assert made.certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_an_expired_ca_signs_nothing(tmp_path: Path) -> None:
    ended = make_authority("old", BEGIN, BEGIN + datetime.timedelta(days=1))
    with pytest.raises(CannotIssue, match="has expired"):
        certificates.issue(ended, ["localhost"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_ca_that_cannot_sign_is_named(tmp_path: Path) -> None:
    certificates.create_authority(tmp_path / "a", "a CA")
    certificates.create_authority(tmp_path / "b", "a CA")
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(CannotIssue, match="is not the key of"):
        certificates.load_authority(tmp_path / "a")
    (tmp_path / "a" / "ca.key").write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
    with pytest.raises(CannotIssue, match="must be a certificate and its EC key") as refused:
        certificates.load_authority(tmp_path / "a")
    assert "nonsense" not in str(refused.value)
    with pytest.raises(FileNotFoundError):
        certificates.load_authority(tmp_path / "nowhere")


def test_a_ca_is_split_into_its_certificates() -> None:
    """Each is whole, in order, and together they are the CA."""
    made = [make_authority(name, BEGIN, NOW + datetime.timedelta(days=1)).pem.decode() for name in ("one", "two")]
    ca, problems = read_ca("".join(made), NOW)
    assert not problems
    assert ca is not None
    assert split(ca) == made
    assert "".join(split(ca)) == ca
    assert split("") == []


def told(text: str) -> tuple[str, str]:
    """Rule and words of the one problem of a CA."""
    pem, (problem,) = read_ca(text, NOW)
    assert (pem, problem.field) == (None, "ca")
    return problem.rule, problem.text


def test_what_is_said_of_a_ca_that_cannot_be_handed_out() -> None:
    assert told("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n") == (
        "ca",
        "cannot be read: it must be certificates in PEM",
    )
    assert told(AUTHORITY.key_pem.decode()) == (
        "ca_with_key",
        "holds a private key: give the certificate alone, and keep the key to yourself",
    )
    assert told("hello") == ("ca", "must be certificates in PEM (-----BEGIN CERTIFICATE-----) and nothing else")
    assert told(SERVER.pem.decode()) == ("ca_is_no_ca", "CN=broker.example is not a CA's certificate")
    assert told(make_authority("old", BEGIN, NOW).pem.decode()) == (
        "ca_expired",
        "CN=old has expired on 2026-11-01T00:00:00+00:00",
    )
    many = CA_LIMIT_BYTES // len(CA) + 1
    assert told(CA * many) == (
        "ca_too_large",
        f"has {len(CA) * many} bytes as PEM, at most {CA_LIMIT_BYTES} are allowed",
    )


def test_the_longest_ca_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """No certificate is of just the length that is allowed, so the limit is set to that of one."""
    monkeypatch.setattr("service.core.certificates.CA_LIMIT_BYTES", len(CA))
    assert rules(CA) == []
    monkeypatch.setattr("service.core.certificates.CA_LIMIT_BYTES", len(CA) - 1)
    assert rules(CA) == ["ca_too_large"]


@pytest.mark.parametrize(
    ("name", "good"), [("", False), ("x", True), ("x" * 64, True), ("x" * 65, False), (" x", False), ("x\n", False)]
)
def test_a_ca_has_a_name_of_one_to_64_characters(name: str, good: bool) -> None:
    problem = Problem(field="name", rule="name", text="must be 1 to 64 printable characters")
    assert list(check_name(name)) == ([] if good else [problem])


def test_what_is_said_of_hosts_that_are_none() -> None:
    assert read_hosts([]) == (
        [],
        [Problem(field="host", rule="host", text="must be given: the name or address devices connect to")],
    )
    assert read_hosts(["ok", "-"]) == (
        ["ok"],
        [Problem(field="host", rule="host", text="'-' is neither a host's name nor an address")],
    )


def test_a_ca_with_the_lines_of_windows_is_split_too() -> None:
    assert split((CA + CA).replace("\n", "\r\n")) == [CA, CA]
