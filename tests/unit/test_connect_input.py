"""What a CONNECT's input alone refuses, sessions, and how facts are read from the database's document."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.connect import Device, Facts, Run, User, refuse_input, refuse_session
from service.core.messages import KEY_MAX_LENGTH
from service.core.releases import Claim, OpenRelease
from service.core.states import RequestState
from service.core.verdicts import Denied
from tests.unit import vectors
from tests.unit.facts import NOTHING
from tests.unit.strategies import any_text

GOOD = {"username": "factory", "password": "Abcdefgh1234-", "client_id": "gw-1", "longest_client_id": 23}


def refuse(**changes: object) -> Denied | None:
    return refuse_input(**{**GOOD, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"password": "x"},
        {"password": "x" * 72},
        {"password": " !~"},
        {"username": "abc"},
        {"username": "x" * 255},
        {"client_id": "x" * 23},
        {"client_id": "x" * 255, "longest_client_id": 255},
        {"username": "~responder", "client_id": "~responder"},
        {"username": "~takeover"},
        {"username": "~takeover", "client_id": "x" * 255},
        {"username": "~takeover", "client_id": "#"},
        {"activation_key": "KEY"},
        {"activation_key": "x" * KEY_MAX_LENGTH},
        {"username": "~takeover", "client_id": "~responder"},
        {"username": "~takeover", "client_id": "any client id/at all"},
    ],
)
def test_good_input_goes_on(changes: dict[str, object]) -> None:
    assert refuse(**changes) is None


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("no_username", {"username": ""}),
        ("no_password", {"password": ""}),
        ("no_password", {"username": "~responder", "password": ""}),
        ("no_username", {"username": "", "password": "", "client_id": ""}),
        ("malformed_username", {"username": "ab"}),
        ("malformed_username", {"username": "x" * 256}),
        ("malformed_username", {"username": "a b"}),
        ("malformed_username", {"username": "factory\n"}),
        ("malformed_username", {"username": "fäctory"}),
        ("malformed_username", {"username": "a:b"}),
        ("malformed_username", {"username": "a\0b"}),
        ("malformed_username", {"username": "~"}),
        ("malformed_username", {"username": "~nobody"}),
        ("malformed_username", {"username": "~Responder"}),
        ("malformed_username", {"username": "~responder "}),
        ("malformed_username", {"username": "#"}),
        ("malformed_username", {"username": "+"}),
        ("malformed_client_id", {"client_id": ""}),
        ("malformed_client_id", {"client_id": "x" * 24}),
        ("malformed_client_id", {"client_id": "x" * 256, "longest_client_id": 255}),
        ("malformed_client_id", {"client_id": "a::b"}),
        ("malformed_client_id", {"client_id": "#"}),
        ("malformed_client_id", {"client_id": "+"}),
        ("malformed_client_id", {"client_id": "a/b"}),
        ("malformed_client_id", {"client_id": "$SYS"}),
        ("malformed_client_id", {"client_id": "~responder"}),
        ("malformed_client_id", {"client_id": "gw-1\n"}),
        ("not_a_service_client", {"username": "~responder"}),
        ("malformed_client_id", {"username": "~takeover", "client_id": "gw\0-1"}),
        ("malformed_password", {"username": "~responder", "client_id": "~responder", "password": "p" * 73}),
        ("malformed_password", {"password": "x" * 73}),
        ("malformed_password", {"password": "pässword"}),
        ("malformed_password", {"password": "pw\0junk"}),
        ("malformed_password", {"password": "pw\n"}),
        ("malformed_password", {"password": "pw\x7f"}),
        ("malformed_password", {"password": "pw\ufffd"}),
        ("malformed_password", {"activation_key": "x" * (KEY_MAX_LENGTH + 1)}),
        ("malformed_password", {"activation_key": "KEY\0"}),
    ],
)
def test_bad_input_is_refused_before_any_look_up(reason: str, changes: dict[str, object]) -> None:
    assert refuse(**changes) == Denied(reason=reason)


@pytest.mark.parametrize("row", vectors.rows("names", "client_ids"), ids=lambda row: vectors.shown(row["text"]))
def test_connect_takes_the_client_ids_that_creation_takes(row: dict[str, Any]) -> None:
    refused = refuse(client_id=row["text"], longest_client_id=255 if row["valid"] == 255 else 23)
    assert (refused is None) is bool(row["valid"])


usernames = st.one_of(any_text, st.from_regex(r"~?[A-Za-z0-9_-]{2,4}"), st.sampled_from(["~responder", "~takeover"]))
passwords = st.one_of(any_text, st.text(st.characters(min_codepoint=0x1F, max_codepoint=0x7F), max_size=80))
client_ids = st.one_of(any_text, st.from_regex(r"[a.:-]{0,24}"))


@given(usernames, passwords, client_ids)
def test_any_input_has_an_answer(username: str, password: str, client_id: str) -> None:
    """Whatever is sent, it is refused unless every rule holds; nothing raises."""
    good_names = (
        re.fullmatch(r"[A-Za-z0-9_-]{3,255}", username) is not None
        and re.fullmatch(r"[A-Za-z0-9_.:-]{1,23}", client_id) is not None
        and "::" not in client_id
    )
    ours = username == "~takeover" and 0 < len(client_id) < 256 and client_id.isprintable()
    good_password = re.fullmatch(r"[ -~]{1,72}", password) is not None
    goes_on = good_password and (good_names or ours or (username, client_id) == ("~responder", "~responder"))
    assert (refuse_input(username, password, client_id, 23) is None) is goes_on


@pytest.mark.parametrize(
    ("role", "username", "clean", "refused"),
    [
        ("provision", "factory", True, False),
        ("provision", "factory", False, True),
        ("provision", "factory", None, False),
        ("provision", "~takeover", False, True),
        ("provision", "~responder", False, False),
        ("provision", "~responder", True, False),
        ("account", "d-abc", False, False),
        ("account", "d-abc", True, False),
        ("account", "d-abc", None, False),
    ],
)
def test_devices_have_clean_sessions_only_on_the_provision_broker(
    role: str, username: str, clean: bool | None, refused: bool
) -> None:
    assert refuse_session(role, username, clean) == (Denied(reason="session_not_clean") if refused else None)


def test_facts_are_read_from_the_database_s_document() -> None:
    release = {"to_own": True, "expired": False, "request_state": "OPEN"}
    claim = {"held": False, "given_away": True, "release": release}
    row = {
        "broker_role": "account",
        "as_of": "744",
        "highest_cost": 10,
        "overlap_open": True,
        "key_proved": True,
        "user": {
            "id": 7,
            "kind": "device",
            "enabled": True,
            "confirmed": False,
            "password_bcrypt": None,
            "secret_sha256": "ab" * 32,
            "version": 2,
            "permissions": ["broker:connect", "data:view"],
        },
        "account": {
            "id": 3,
            "name": "acme",
            "enabled": True,
            "coupling": "STRICT",
            "served": True,
            "mandatory_provisioning": True,
            "version": 1,
        },
        "request": {"id": 9, "enabled": False, "claim": claim},
        "provisioned": True,
        "run": {
            "id": 6,
            "version": 4,
            "past_deadline": True,
            "request_version": 8,
            "request_enabled": False,
            "client_id": "gw-1",
        },
        "device": {"id": 4, "enabled": False, "version": 3},
        "connection": {
            "id": 5,
            "coupling": "STRICT",
            "user_id": None,
            "reserved_user_id": 7,
            "allow_user_change": True,
            "version": 1,
        },
        "reserved_elsewhere": True,
        "client_id_of_another_account": True,
    }
    facts = Facts.from_document(row)
    assert facts.user == User(
        id=7,
        kind="device",
        enabled=True,
        confirmed=False,
        password_bcrypt=None,
        secret_sha256=b"\xab" * 32,
        permissions=frozenset({"broker:connect", "data:view"}),
        version=2,
    )
    assert facts.request_enabled is False
    assert facts.provisioned is True
    assert facts.account is not None
    assert facts.account.mandatory_provisioning is True
    opened = OpenRelease(to_own=True, expired=False, request_state=RequestState.OPEN)
    assert facts.claim == Claim(held=False, given_away=True, release=opened)
    assert facts.run == Run(
        id=6, version=4, past_deadline=True, request_version=8, request_enabled=False, client_id="gw-1"
    )
    assert facts.device == Device(id=4, enabled=False, version=3)
    assert facts.connection is not None
    assert (facts.connection.user_id, facts.connection.reserved_user_id) == (None, 7)
    assert (facts.reserved_elsewhere, facts.client_id_of_another_account) == (True, True)
    assert (facts.highest_cost, facts.broker_role) == (10, "account")
    assert (facts.overlap_open, facts.key_proved) == (True, True)


def test_a_factory_user_has_no_generated_secret() -> None:
    row = {
        "id": 7, "kind": "provision", "enabled": True, "confirmed": False, "password_bcrypt": "$2b$04$hash",
        "previous_password_bcrypt": "$2b$04$old", "held": True, "secret_sha256": None, "version": 2, "permissions": [],
    }  # fmt: skip
    assert User.from_document(row) == User(
        id=7,
        kind="provision",
        enabled=True,
        confirmed=False,
        password_bcrypt="$2b$04$hash",
        previous_password_bcrypt="$2b$04$old",
        held=True,
        secret_sha256=None,
        permissions=frozenset(),
        version=2,
    )


def test_what_the_database_does_not_know_is_none() -> None:
    """Of an unknown name the comparison with other accounts has no answer at all: SQL's NULL."""
    missing = {"user": None, "account": None, "request": None, "run": None, "device": None, "connection": None}
    row = {
        **missing,
        "broker_role": None,
        "provisioned": False,
        "as_of": "0",
        "highest_cost": None,
        "overlap_open": False,
        "key_proved": False,
        "reserved_elsewhere": False,
        "client_id_of_another_account": None,
    }
    assert Facts.from_document(row) == NOTHING
