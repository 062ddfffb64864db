"""Parsing is total: no payload raises, and what cannot be read leaves nothing of itself in the reason."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.messages import ID, MAX_BYTES, Ask, Malformed, Status, parse_ask, parse_status
from tests.unit.strategies import any_text

REASONS = {
    "too_large",
    "not_json",
    "not_an_object",
    "duplicate_field",
    "unknown_field",
    "bad_id",
    "bad_activation_key",
    "bad_seal",
    "bad_device",
    "bad_run",
    "bad_state",
    "bad_text",
}


def check(payload: bytes) -> None:
    """Both parsers end, and say one of a few words."""
    ask, status = parse_ask(payload), parse_status(payload)
    assert isinstance(ask, (Ask, Malformed))
    assert isinstance(status, (Status, Malformed))
    for result in (ask, status):
        if isinstance(result, Malformed):
            assert result.reason in REASONS
            assert result.id is None or ID.fullmatch(result.id)
            assert not result


def storable(value: str | None) -> bool:
    """Postgres keeps no NUL, and UTF-8 no lone surrogate."""
    return value is None or ("\0" not in value and value.encode("utf-8").decode() == value)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
near_asks = st.fixed_dictionaries(
    {"id": any_text | anything},
    optional={
        "activation_key": any_text | anything,
        "seal": st.booleans() | anything,
        "device": st.dictionaries(any_text, any_text | anything, max_size=20) | anything,
        "more": anything,
    },
)
near_statuses = st.fixed_dictionaries(
    {
        "run": any_text | anything,
        "state": st.sampled_from(["installing", "installed", "configuring", "applied", "failed"]) | anything,
    },
    optional={"step": any_text | anything, "detail": any_text | anything, "more": anything},
)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_message_or_a_reason(payload: bytes) -> None:
    check(payload)


@given(anything)
def test_any_json_ends_in_a_message_or_a_reason(document: object) -> None:
    check(json.dumps(document).encode())
    check(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(near_asks)
def test_what_is_almost_an_ask_can_be_stored_or_is_refused(document: object) -> None:
    payload = json.dumps(document).encode()
    check(payload)
    ask = parse_ask(payload)
    if isinstance(ask, Ask):
        assert 1 <= len(ask.id) <= 64
        assert ask.id.isascii()
        assert storable(ask.activation_key)
        assert all(storable(name) and storable(value) for name, value in ask.device.items())


@given(near_statuses)
def test_what_is_almost_a_status_can_be_stored_or_is_refused(document: object) -> None:
    payload = json.dumps(document).encode()
    check(payload)
    status = parse_status(payload)
    if isinstance(status, Status):
        assert storable(status.run)
        assert storable(status.step)
        assert storable(status.detail)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"\xff", "not_json", id="not UTF-8"),
        pytest.param(b'{"id":"\xff"}', "not_json", id="not UTF-8 inside"),
        pytest.param(b'{"id":"\xc0\x80"}', "not_json", id="overlong NUL"),
        pytest.param(b'{"id":"\xed\xa0\x80"}', "not_json", id="encoded surrogate"),
        pytest.param(b"\xef\xbb\xbf{}", "not_json", id="BOM"),
        pytest.param('{"id":"1"}'.encode("utf-16"), "not_json", id="UTF-16"),
        pytest.param('{"id":"1"}'.encode("utf-32"), "not_json", id="UTF-32"),
        pytest.param(b"\0" * 100, "not_json", id="zeros"),
        pytest.param(b'{"id":' + b"9" * 5_000 + b"}", "not_json", id="5,000 digits"),
        pytest.param(b"[" * 10_000, "not_json", id="10,000 deep"),
        pytest.param(b"[" * 100_000, "too_large", id="100,000 deep"),
        pytest.param(b'{"id":"' + b"x" * MAX_BYTES + b'"}', "too_large", id="too large"),
        pytest.param(b" " * (MAX_BYTES + 1), "too_large", id="one byte too large"),
    ],
)
def test_poison_is_refused_by_name(payload: bytes, reason: str) -> None:
    assert parse_ask(payload) == Malformed(reason)
    assert parse_status(payload) == Malformed(reason)


@pytest.mark.parametrize(
    "payload",
    [b"[" * 8_000 + b"]" * 8_000, b'{"a":' * 2_500 + b"1" + b"}" * 2_500, b'{"id":' * 2_000 + b'"1"' + b"}" * 2_000],
)
def test_nesting_is_refused_before_it_can_hurt(payload: bytes) -> None:
    """Well-formed JSON, deeper than the parser's stack: whichever reason it is, it is one."""
    assert len(payload) <= MAX_BYTES
    check(payload)
    assert isinstance(parse_ask(payload), Malformed)
    assert isinstance(parse_status(payload), Malformed)


def test_the_largest_message_is_read() -> None:
    assert MAX_BYTES == 16_384
    ask = b'{"id":"1"}'
    assert parse_ask(ask + b" " * (MAX_BYTES - len(ask))) == Ask(id="1")
    assert parse_ask(ask + b" " * (MAX_BYTES - len(ask) + 1)) == Malformed("too_large")


def test_no_poison_takes_long() -> None:
    """The largest payloads there are, each shape that makes naive parsers slow."""
    began = time.process_time()
    for unit in (b"[", b'{"a":', b'"\\u0000",', b"9", b'"', b"\\", b"-", b'{"a":1,', b"\xf0\x9f\x98\x80"):
        check(unit * (MAX_BYTES // len(unit)))
    assert time.process_time() - began < 2


@pytest.mark.parametrize("field", ["activation_key", "seal", "device", "unknown", "detail", "state"])
def test_a_reason_holds_nothing_of_the_message(field: str) -> None:
    canary = "c4n4ry-\ud800"
    for value in (canary, [canary], {canary: canary}, {canary: [canary]}):
        payload = json.dumps({"id": "1", "run": "r", field: value}).encode()
        for result in (parse_ask(payload), parse_status(payload)):
            assert isinstance(result, Malformed)
            assert "c4n4ry" not in repr(result)
