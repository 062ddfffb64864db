"""Derived passwords and sealed texts (design D5, D7, 4.1), against known answers and a second HKDF."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from service.core.derivation import (
    CannotOpen,
    base64url,
    derive_password,
    derive_run_token,
    from_base64url,
    open_answer,
    open_value,
    seal_answer,
    seal_value,
)
from tests.unit import vectors
from tests.unit.strategies import any_text


def hkdf(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2, by HMAC alone."""
    key = hmac.digest(salt, material, hashlib.sha256)
    blocks = [b""]
    while sum(map(len, blocks)) < length:
        blocks.append(hmac.digest(key, blocks[-1] + info + bytes([len(blocks)]), hashlib.sha256))
    return b"".join(blocks)[:length]


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_the_second_hkdf_is_the_rfc_s() -> None:
    """RFC 5869, appendix A.1."""
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    assert hkdf(b"\x0b" * 22, salt, info, 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


@pytest.mark.parametrize(
    "row", vectors.rows("derivation", "credentials"), ids=lambda row: vectors.shown(row["run"], row["username"])
)
def test_credentials_have_known_answers(row: dict[str, Any]) -> None:
    given_: dict[str, Any] = {
        "derivation_key": bytes.fromhex(row["derivation_key"]),
        "activation_key": row["activation_key"],
        "salt": bytes.fromhex(row["salt"]),
        "run": row["run"],
        "username": row["username"],
    }
    assert derive_password(**given_) == row["password"]
    assert derive_run_token(**given_) == row["run_token"]
    material = given_["derivation_key"] + (row["activation_key"] or "").encode()
    tail = f"\0{row['run']}\0{row['username']}".encode()
    assert row["password"] == unpadded(hkdf(material, given_["salt"], b"device password" + tail, 32))
    assert row["run_token"] == unpadded(hkdf(material, given_["salt"], b"run token" + tail, 16))


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
inputs = st.fixed_dictionaries(
    {
        "derivation_key": st.binary(min_size=32, max_size=32),
        "activation_key": st.none() | names.filter(bool),
        "salt": st.binary(min_size=32, max_size=32),
        "run": names,
        "username": names,
    }
)


@given(inputs)
def test_the_same_input_gives_the_same_credential(given_: dict[str, Any]) -> None:
    """43 and 22 characters that MQTT, JSON and XML carry unchanged."""
    password, token = derive_password(**given_), derive_run_token(**given_)
    assert password == derive_password(**dict(given_))
    assert token == derive_run_token(**dict(given_))
    assert (len(password), len(token)) == (43, 22)
    assert not set(password + token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(inputs, inputs, st.sampled_from(["derivation_key", "activation_key", "salt", "run", "username"]))
def test_any_changed_input_gives_another_credential(one: dict[str, Any], other: dict[str, Any], name: str) -> None:
    changed = {**one, name: other[name]}
    same = changed == one
    assert (derive_password(**changed) == derive_password(**one)) is same
    assert (derive_run_token(**changed) == derive_run_token(**one)) is same


@given(inputs)
def test_the_token_says_nothing_about_the_password(given_: dict[str, Any]) -> None:
    """Both come from the same material, and neither begins like the other."""
    assert not derive_password(**given_).startswith(derive_run_token(**given_)[:20])


def test_run_and_username_do_not_run_together() -> None:
    one: dict[str, Any] = {"derivation_key": bytes(32), "activation_key": None, "salt": bytes(32)}
    assert derive_password(**one, run="1/1", username="1d-a") != derive_password(**one, run="1/11", username="d-a")


@given(st.binary(max_size=80))
def test_base64url_reads_back(data: bytes) -> None:
    assert base64url(data) == unpadded(data)
    assert from_base64url(base64url(data)) == data


@pytest.mark.parametrize("text", ["!", "a", "ab c", "é", "aa=a", "a" * 5, "ab\n", "\ud800"])
def test_what_is_no_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_base64url(text)


@pytest.mark.parametrize(
    "row", vectors.rows("derivation", "answers"), ids=lambda row: vectors.shown(row["id"][:8], row["client_id"])
)
def test_a_sealed_answer_has_a_known_text(row: dict[str, Any]) -> None:
    whose = {"activation_key": row["activation_key"], "ask_id": row["id"], "client_id": row["client_id"]}
    nonce, clear = bytes.fromhex(row["nonce"]), row["clear"].encode()
    assert seal_answer(**whose, nonce=nonce, clear=clear) == row["sealed"]
    assert open_answer(**whose, sealed=row["sealed"]) == clear
    key = hkdf(row["activation_key"].encode(), row["id"].encode(), b"prov/v1 seal", 32)
    assert row["sealed"] == unpadded(nonce + AESGCM(key).encrypt(nonce, clear, row["client_id"].encode()))


ANSWER = {"activation_key": "k" * 32, "ask_id": "1", "client_id": "gw-1"}


@pytest.mark.parametrize("changed", ["activation_key", "ask_id", "client_id"])
def test_an_answer_opens_for_its_own_device_and_ask_only(changed: str) -> None:
    sealed = seal_answer(**ANSWER, nonce=bytes(12), clear=b"secret")
    assert open_answer(**ANSWER, sealed=sealed) == b"secret"
    with pytest.raises(CannotOpen):
        open_answer(**{**ANSWER, changed: "other"}, sealed=sealed)


def test_every_flipped_bit_of_a_sealed_answer_is_noticed() -> None:
    data = from_base64url(seal_answer(**ANSWER, nonce=bytes(range(12)), clear=b"secret"))
    for index, bit in itertools.product(range(len(data)), range(8)):
        altered = bytearray(data)
        altered[index] ^= 1 << bit
        with pytest.raises(CannotOpen):
            open_answer(**ANSWER, sealed=base64url(bytes(altered)))


@given(st.one_of(any_text, st.binary(max_size=60).map(base64url)))
def test_whatever_else_is_to_be_opened_cannot_be(text: str) -> None:
    """No text, however short or odd, raises anything but CannotOpen."""
    with pytest.raises(CannotOpen):
        open_answer(**ANSWER, sealed=text)
    with pytest.raises(CannotOpen):
        open_value(keys={"k1": bytes(32)}, context="c", sealed=text)
    with pytest.raises(CannotOpen):
        open_value(keys={"k1": bytes(32)}, context="c", sealed=f"k1.{text}")


@pytest.mark.parametrize(
    "row", vectors.rows("derivation", "values"), ids=lambda row: vectors.shown(row["kid"], row["context"])
)
def test_a_sealed_value_has_a_known_text(row: dict[str, Any]) -> None:
    key, nonce = bytes.fromhex(row["key"]), bytes.fromhex(row["nonce"])
    sealed = seal_value(key=key, kid=row["kid"], nonce=nonce, context=row["context"], clear=row["clear"].encode())
    assert sealed == row["sealed"]
    opened = open_value(keys={"other": bytes(32), row["kid"]: key}, context=row["context"], sealed=sealed)
    assert opened == row["clear"].encode()
    aad = f"{row['kid']}\0{row['context']}".encode()
    assert sealed == f"{row['kid']}.{unpadded(nonce + AESGCM(key).encrypt(nonce, row['clear'].encode(), aad))}"


VALUE = seal_value(key=bytes(32), kid="k1", nonce=bytes(12), context="place", clear=b"hunter2")


def test_a_value_moved_elsewhere_does_not_open() -> None:
    with pytest.raises(CannotOpen):
        open_value(keys={"k1": bytes(32)}, context="another place", sealed=VALUE)


def test_a_value_under_another_kid_does_not_open_even_with_the_same_key() -> None:
    with pytest.raises(CannotOpen):
        open_value(keys={"k1": bytes(32), "k2": bytes(32)}, context="place", sealed=VALUE.replace("k1.", "k2."))
    with pytest.raises(CannotOpen):
        open_value(keys={"k1": b"\1" * 32}, context="place", sealed=VALUE)
    with pytest.raises(CannotOpen, match="k1"):
        open_value(keys={"k2": bytes(32)}, context="place", sealed=VALUE)


def test_every_flipped_bit_of_a_sealed_value_is_noticed() -> None:
    data = from_base64url(VALUE.removeprefix("k1."))
    for index, bit in itertools.product(range(len(data)), range(8)):
        altered = bytearray(data)
        altered[index] ^= 1 << bit
        with pytest.raises(CannotOpen):
            open_value(keys={"k1": bytes(32)}, context="place", sealed=f"k1.{base64url(bytes(altered))}")


@pytest.mark.parametrize("sealed", ["hunter2", "hunter2 with more words", ".hunter2", "k1.hunter2", "k9.hunter2", ""])
def test_no_exception_shows_what_was_to_be_opened(sealed: str) -> None:
    """Also where something readable stands in a sealed value's place."""
    with pytest.raises(CannotOpen) as raised:
        open_value(keys={"k1": bytes(32)}, context="place", sealed=sealed)
    assert "hunter2" not in str(raised.value) + repr(raised.value) + repr(raised.value.__cause__)


def test_a_nonce_has_twelve_bytes() -> None:
    with pytest.raises(AssertionError):
        seal_answer(**ANSWER, nonce=bytes(11), clear=b"")
    with pytest.raises(AssertionError):
        seal_value(key=bytes(32), kid="k1", nonce=bytes(13), context="c", clear=b"")


def test_a_sealed_answer_that_cannot_be_opened_says_so() -> None:
    with pytest.raises(CannotOpen, match=r"^the sealed answer cannot be opened with this activation key$"):
        open_answer(activation_key="k", ask_id="1", client_id="gw-1", sealed="AAAA")


def test_base64url_loses_its_padding_and_no_letter() -> None:
    assert [base64url(data) for data in (b"", b"a", b"ab", b"]u\xd7")] == ["", "YQ", "YWI", "XXXX"]


@pytest.mark.parametrize("sealed", ["k1.", "k1.AAAA", "k1.a." + "A" * 80, "k1." + "A" * 80, "k1.!"])
def test_a_sealed_value_that_cannot_be_opened_says_so(sealed: str) -> None:
    with pytest.raises(CannotOpen, match=r"^a sealed value cannot be opened with its key$"):
        open_value(keys={"k1": bytes(32)}, context="c", sealed=sealed)
