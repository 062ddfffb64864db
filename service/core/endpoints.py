"""Provision endpoints: `mqtt://`, `mqtts://`, `ws://` or `wss://`, host, perhaps port and (for ws) path."""

from __future__ import annotations

from urllib.parse import urlsplit

from service.core.problems import Problem

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
MAX_LENGTH = 512


def check_endpoint(url: str, field: str = "provision_endpoint") -> list[Problem]:
    """The URL's problems; none where a device can make sense of it."""
    text = _problem_of(url)
    return [Problem(field=field, rule="endpoint", text=text)] if text else []


def _problem_of(url: str) -> str | None:
    if len(url) > MAX_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        return f"must be a URL of at most {MAX_LENGTH} printable ASCII characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "must be a URL with a host and, if any, a port from 1 to 65535"
    if parts.scheme not in DEFAULT_PORTS:
        return "must begin with mqtt://, mqtts://, ws:// or wss://"
    if not parts.hostname or port == 0:
        return "must be a URL with a host and, if any, a port from 1 to 65535"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or a password"
    if parts.query or parts.fragment or (parts.scheme in ("mqtt", "mqtts") and parts.path not in ("", "/")):
        return "must have no query or fragment, and a path only with ws:// or wss://"
    return None


def address(url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of a checked endpoint."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]
