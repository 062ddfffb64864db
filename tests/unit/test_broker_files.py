"""
The shipped broker files against the reliability list (section 5.3), where the design does not say otherwise:

packet size and queues by the answer's limit, retry_count 1, retained messages off on the provision broker only.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded import brokers
from service.core.answers import ANSWER_LIMIT_BYTES

FOLDER = Path(__file__).resolve().parents[2] / "mosquitto"
FILES = ("provision.conf", "account.conf", "go-auth/provision.conf", "go-auth/account.conf")


def read(name: str) -> dict[str, list[str]]:
    """Options of a mosquitto.conf with all their values."""
    options: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            option, _, value = line.partition(" ")
            options.setdefault(option, []).append(value)
    return options


EXPECTED = {
    "per_listener_settings": "false",
    "allow_anonymous": "false",
    "allow_zero_length_clientid": "false",
    "check_retain_source": "true",
    "max_packet_size": str(ANSWER_LIMIT_BYTES + 16 * 1024),
    "max_inflight_messages": "20",
    "max_queued_messages": "10000",
    "queue_qos0_messages": "false",
    "persistence": "false",
    "max_keepalive": "300",
    "sys_interval": "0",
}

GO_AUTH = {
    "auth_opt_backends": "http",
    "auth_opt_cache": "false",
    "auth_opt_disable_superuser": "true",
    "auth_opt_http_response_mode": "json",
    "auth_opt_http_params_mode": "json",
    "auth_opt_http_timeout": "2",
    "auth_opt_retry_count": "1",
    "auth_opt_log_level": "warn",
    "auth_opt_http_getuser_uri": "/hooks/user",
    "auth_opt_http_aclcheck_uri": "/hooks/acl",
    "auth_plugin_deny_special_chars": "true",
}


@pytest.mark.parametrize("name", FILES)
def test_every_option_is_as_it_must_be(name: str) -> None:
    options = read(name)
    for option, value in EXPECTED.items():
        assert options.get(option) == [value], option
    assert 0 < int(options["max_queued_bytes"][0]) <= int(options["memory_limit"][0]) // 2
    assert len(options["max_connections"]) == 2  # it is each listener's own
    assert all(int(most) > 0 for most in options["max_connections"])
    assert ("retain_available" in options) == name.endswith("provision.conf")
    assert "persistent_client_expiration" in options
    assert options["log_dest"] == ["stderr"]
    assert "debug" not in options["log_type"]


@pytest.mark.parametrize("name", FILES)
def test_nothing_lets_anybody_in_without_a_question(name: str) -> None:
    options = read(name)
    for forbidden in (*brokers.FORBIDDEN, "connection", "bridge_cafile", "include_dir"):
        assert forbidden not in options, forbidden
    assert options.get("user") is None  # never root
    assert options["listener"] == ["@PORT@ @ADDRESS@", "@TLS_PORT@ @TLS_ADDRESS@"]


@pytest.mark.parametrize("name", FILES)
def test_the_second_listener_is_encrypted(name: str) -> None:
    """Options of TLS belong to the listener above them, so they must follow the second one's line."""
    options = read(name)
    assert options["tls_version"] == ["tlsv1.2"]
    assert options["certfile"] == ["@CERTIFICATE_FILE@"]
    assert options["keyfile"] == ["@KEY_FILE@"]
    listener = (FOLDER / name).read_text(encoding="utf-8").partition("listener @TLS_PORT@")[2]
    assert all(f"\n{option} " in listener for option in ("certfile", "keyfile", "tls_version", "max_connections"))
    for weak in ("ciphers", "ciphers_tls1.3", "require_certificate", "dhparamfile"):
        assert weak not in options


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("go-auth/")])
def test_go_auth_is_asked_for_what_is_safe(name: str) -> None:
    options = read(name)
    for option, value in GO_AUTH.items():
        assert options.get(option) == [value], option
    assert options["auth_opt_http_host"] == ["@BROKER@:@SECRET@@@HOOKS_HOST@"]


@pytest.mark.parametrize("name", FILES)
def test_each_option_has_its_reason(name: str) -> None:
    """A paragraph of options begins with a comment, or shares the one above it."""
    paragraphs = (FOLDER / name).read_text(encoding="utf-8").split("\n\n")
    for paragraph in paragraphs:
        assert paragraph.lstrip().startswith("#") or paragraph.startswith("auth_plugin"), paragraph[:60]


def test_files_are_filled_in_whole() -> None:
    """A word without a value, or with more than a line, is an error."""
    tls = ("TLS_PORT", "TLS_ADDRESS", "CERTIFICATE_FILE", "KEY_FILE")
    words = dict.fromkeys(("PORT", "ADDRESS", *tls, "PLUGIN", "HOOKS_URL", "BROKER", "SECRET_FILE"), "x")
    assert "@" not in brokers.render("provision.conf", words).replace("between @", "")
    with pytest.raises(KeyError):
        brokers.render("provision.conf", {})
    with pytest.raises(ValueError, match="PORT"):
        brokers.render("provision.conf", {**words, "PORT": "1883\nallow_anonymous true"})
