"""
The rules for names and passwords (design D4, D5; product page, "Provision Request").

Each check returns the problems it finds. The database holds the same rules as named constraints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from service.core.problems import Problem

USERNAME = re.compile(r"[A-Za-z0-9_-]{3,255}", re.ASCII)
CLIENT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,255}", re.ASCII)
# MQTT 3.1, section 3.1: "The Client Identifier ... is between 1 and 23 characters long".
CLIENT_ID_LENGTH = 23
LONGEST_CLIENT_ID = 255

PASSWORD_MIN_LENGTH = 12
# bcrypt reads no more than 72 bytes, and bcrypt 5 raises beyond them: refused at creation, denied at CONNECT.
PASSWORD_MAX_BYTES = 72
PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]+", re.ASCII)

RESPONDER = "~responder"
TAKEOVER = "~takeover"
SERVICES = frozenset({RESPONDER, TAKEOVER})

# `{p}` of Kura's topics where the setting says nothing else.
PROVISION_ACCOUNT = "provision"

# Kura rewrites these in client ids before it connects (kura#1533); of them only the dot is allowed here at all.
REWRITTEN_BY_KURA = "/+#."


def check_username(name: str, field: str) -> Iterator[Problem]:
    """
    The page: "The username must be at least three characters long, and contain only alphanumeric characters and
    '-' or '_' as special characters; otherwise, the provision request will be rejected."
    """
    if not USERNAME.fullmatch(name):
        yield Problem(
            field=field,
            rule="username",
            text="must be 3 to 255 characters long, and contain only alphanumeric characters and '-' or '_'",
        )


def is_client_id(client_id: str, longest: int = CLIENT_ID_LENGTH) -> bool:
    """Whether `client_id` follows the rule of design D4; `longest` is a setting (23, up to 255)."""
    return bool(CLIENT_ID.fullmatch(client_id)) and len(client_id) <= longest and "::" not in client_id


def check_client_id(client_id: str, longest: int = CLIENT_ID_LENGTH) -> Iterator[Problem]:
    """The page: it "must follow the naming convention defined by the MQTT v3.1 protocol specification"."""
    if not is_client_id(client_id, longest):
        yield Problem(
            field="client_id",
            rule="client_id",
            text="must follow the MQTT v3.1 naming convention: "
            f"1 to {longest} characters of A-Z a-z 0-9 _ . : - without '::'",
        )


def warn_client_id(client_id: str) -> Iterator[str]:
    """What is allowed but will surprise: a Kura gateway would connect under another name."""
    if "." in client_id:
        yield f"client_id: an Eclipse Kura gateway writes '-' for '.' and connects as {client_id.replace('.', '-')!r}"


def is_password(password: str) -> bool:
    """Whether a factory password could have been accepted at creation, judged from its bytes alone."""
    return len(password) <= PASSWORD_MAX_BYTES and bool(PRINTABLE_ASCII.fullmatch(password))


def check_provision_password(password: str) -> Iterator[Problem]:
    """
    The page: "at least 12 characters long and contain at least one of the following: a lowercase character, an
    uppercase character, a special character". Beyond it: what bcrypt can hash whole, and what MQTT carries unchanged.
    """
    field = "provision_password"
    rules = (
        ("too_short", len(password) >= PASSWORD_MIN_LENGTH, f"must be at least {PASSWORD_MIN_LENGTH} characters long"),
        ("no_lower_case", bool(re.search(r"[a-z]", password)), "must contain a lowercase character"),
        ("no_upper_case", bool(re.search(r"[A-Z]", password)), "must contain an uppercase character"),
        ("no_special", bool(re.search(r"[^A-Za-z0-9]", password)), "must contain a special character"),
        (
            "too_long",
            len(password.encode("utf-8", "surrogatepass")) <= PASSWORD_MAX_BYTES,
            f"must be at most {PASSWORD_MAX_BYTES} bytes long: bcrypt reads no further",
        ),
        ("not_printable_ascii", not password or bool(PRINTABLE_ASCII.fullmatch(password)), "must be printable ASCII"),
    )
    for rule, holds, text in rules:
        if not holds:
            yield Problem(field=field, rule=rule, text=text)
