"""Generated secrets, how they are kept, and that none of them shows itself (design D5)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from service import keys
from service.core.derivation import CannotOpen
from service.keys import SealingKeys, Secret
from tests.unit import vectors

CANARY = "hunter2-c4n4ry"
KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(b"\xff" * 32).decode()


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        "{}".format,
        "{!r}".format,
        lambda secret: f"{secret}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
        lambda secret: f"{[secret]} {({'password': secret},)}",
        lambda secret: str(ValueError(secret)),
        lambda secret: repr(KeyError(secret)),
        lambda secret: json.dumps({"x": secret}, default=repr),
    ],
)
def test_a_secret_never_shows_itself(show: Callable[[Secret], str]) -> None:
    shown = show(Secret(CANARY))
    assert CANARY not in shown
    assert "Secret(***)" in shown


def test_a_secret_is_no_text_by_accident() -> None:
    secret = Secret(CANARY)
    text: Any = "x"
    misuses: list[Callable[[], Any]] = [
        lambda: json.dumps(secret),
        lambda: text + secret,
        lambda: text.join([secret]),
        lambda: f"{secret:>20}",
    ]
    for misuse in misuses:
        with pytest.raises(TypeError) as raised:
            misuse()
        assert CANARY not in str(raised.value)
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_does_not_leave_by_pickling(protocol: int) -> None:
    with pytest.raises((TypeError, pickle.PicklingError)) as raised:
        pickle.dumps(Secret(CANARY), protocol)
    assert CANARY not in str(raised.value)


def test_a_secret_is_revealed_where_it_is_used() -> None:
    assert Secret(CANARY).reveal() == CANARY
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret(CANARY + "x")
    assert Secret(CANARY) != CANARY
    assert len({Secret(CANARY), Secret(CANARY)}) == 1


def test_what_is_stored_is_a_domain_separated_sha_256() -> None:
    expected = hashlib.sha256(b"mosquitto-provisioning\0user\0s3cret").digest()
    assert keys.secret_hash("user", "s3cret") == expected
    domains = {keys.USER, keys.ACTIVATION_KEY, keys.BROKER, keys.TAKEOVER, keys.RUN}
    assert len({keys.secret_hash(domain, "s3cret") for domain in domains}) == 5


def test_a_stored_hash_matches_its_own_secret_and_purpose_only() -> None:
    stored = keys.secret_hash(keys.USER, "s3cret")
    assert keys.matches(stored, keys.USER, "s3cret")
    assert not keys.matches(stored, keys.USER, "s3cre")
    assert not keys.matches(stored, keys.USER, "s3cret ")
    assert not keys.matches(stored, keys.USER, "S3cret")
    assert not keys.matches(stored, keys.BROKER, "s3cret")
    assert not keys.matches(stored, keys.USER, "")


@pytest.mark.parametrize("secret", ["", "x", "\0"])
def test_where_nothing_is_stored_nothing_matches(secret: str) -> None:
    assert keys.matches(None, keys.USER, secret) is False
    assert keys.matches(b"", keys.USER, secret) is False
    assert keys.matches(bytes(32), keys.USER, secret) is False


def test_matching_always_compares_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One comparison of 32 bytes, whatever is stored."""
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    stored = keys.secret_hash(keys.USER, "right")
    for candidate, secret in ((stored, "right"), (stored, "wrong"), (None, "right")):
        keys.matches(candidate, keys.USER, secret)
    assert compared == [(32, 32)] * 3


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (keys.new_activation_key, r"[a-z2-7]{32}"),
        (keys.new_device_username, r"d-[a-z2-7]{26}"),
        (keys.new_secret, r"[A-Za-z0-9_-]{43}"),
        (keys.new_correlation_id, r"[0-9a-f]{16}"),
        (keys.new_key, r"[A-Za-z0-9+/]{43}="),
    ],
)
def test_what_is_generated_has_its_shape_and_is_never_the_same(make: Callable[[], str], shape: str) -> None:
    made = [make() for _ in range(500)]
    assert all(re.fullmatch(shape, text) for text in made)
    assert len(set(made)) == 500


@pytest.mark.parametrize("make", [keys.new_activation_key, lambda: keys.new_device_username()[2:]])
def test_every_letter_of_a_generated_name_is_drawn(make: Callable[[], str]) -> None:
    """At each place all 32 letters come up, so 5 bits each: 160 and 130 bits."""
    made = [make() for _ in range(1_000)]
    assert all(len({text[place] for text in made}) == 32 for place in range(len(made[0])))


def test_salts_and_nonces_are_random_bytes() -> None:
    assert {len(keys.new_salt()) for _ in range(50)} == {32}
    assert {len(keys.new_nonce()) for _ in range(50)} == {12}
    assert len({keys.new_salt() for _ in range(200)} | {keys.new_nonce() for _ in range(200)}) == 400


def test_a_key_reads_back_from_its_file() -> None:
    assert keys.parse_key(KEY) == bytes(range(32))
    assert keys.parse_key(f"  {KEY}\n") == bytes(range(32))
    assert len(keys.parse_key(keys.new_key())) == 32


BAD_KEYS = ["", "short", CANARY, base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(33)).decode()]
BAD_KEYS += [KEY + "!", KEY[:-1], KEY.replace("A", "é"), bytes(range(32)).hex(), "\ud800", "*" * 44]


@pytest.mark.parametrize("text", BAD_KEYS, ids=vectors.shown)
def test_a_bad_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="32 random bytes in base64") as raised:
        keys.parse_key(text)
    said = f"{raised.value} {raised.value.__cause__} {raised.value.__context__}"
    assert not text or text not in said


def test_the_first_sealing_key_seals_and_all_of_them_open() -> None:
    old, both = SealingKeys.parse(f"k1:{KEY}"), SealingKeys.parse(f"k2:{OTHER_KEY}\nk1:{KEY}\n")
    sealed = old.seal("place", "é hunter2")
    assert sealed.startswith("k1.")
    assert "hunter2" not in sealed
    assert both.open("place", sealed) == "é hunter2"
    assert both.seal("place", "x").startswith("k2.")
    with pytest.raises(CannotOpen):
        old.open("place", both.seal("place", "x"))
    with pytest.raises(CannotOpen):
        both.open("elsewhere", sealed)


def test_sealing_twice_gives_two_texts() -> None:
    """A nonce is never used again."""
    sealing = SealingKeys.parse(f"k1:{KEY}")
    assert len({sealing.seal("place", "x") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n \n",
        KEY,
        f":{KEY}",
        f"k.1:{KEY}",
        f"k 1:{KEY}",
        f"{'k' * 33}:{KEY}",
        "k1:",
        f"k1:{KEY[:-4]}",
        f"k1:{CANARY}",
        f"{CANARY}:{KEY}",
        f"k1={KEY}",
        f"k1:{KEY}\nk1:{OTHER_KEY}",
        f"k1:{KEY}\nk2:{CANARY}",
        f"k1:{KEY},k2:{OTHER_KEY}",
        f"k1: {KEY}",
    ],
)
def test_bad_sealing_keys_are_refused_without_showing_any(text: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        SealingKeys.parse(text)
    said = f"{raised.value} {raised.value.__cause__} {raised.value.__context__}"
    assert not any(secret in said for secret in (KEY, KEY[:-4], OTHER_KEY, CANARY))


def test_sealing_keys_show_their_kids_only() -> None:
    shown = repr(SealingKeys.parse(f"k1:{KEY}\nk2:{OTHER_KEY}"))
    assert shown == "SealingKeys(k1, k2)"
