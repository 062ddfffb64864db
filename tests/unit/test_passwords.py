"""Factory passwords (design D5): verified or refused at one price, and remembered without mixing anything up."""

from __future__ import annotations

import bcrypt
import pytest
from hypothesis import given

from service import passwords
from service.passwords import Verified, VerifiedPasswords, cost_of, hash_password, spend, spend_difference, verify
from tests.unit import vectors
from tests.unit.strategies import any_text

PASSWORD = "Abcdefghijk-"
# The salt is fixed: the tests' names are made of it, and must be the same in each process that runs them.
STORED = bcrypt.hashpw(PASSWORD.encode(), b"$2b$04$CkjJkpWYw0tPw6Va3Yr.Ru").decode()


def test_a_password_is_its_own_and_no_other() -> None:
    assert verify(PASSWORD, STORED)
    assert not verify(PASSWORD + "x", STORED)
    assert not verify(PASSWORD[:-1], STORED)
    assert not verify(PASSWORD.lower(), STORED)
    assert hash_password(PASSWORD, 4) != STORED


def test_all_72_bytes_count() -> None:
    """bcrypt reads no further, so nothing longer is ever taken: no two passwords share a hash."""
    long = "Ab-" + "x" * 69
    stored = hash_password(long, 4)
    assert verify(long, stored)
    assert not verify(long[:-1] + "y", stored)
    assert not verify(long + "x", stored)


@pytest.mark.parametrize(
    "password", ["", "x" * 73, "x" * 1_000_000, "é" * 20, "pw\0", PASSWORD + "\0", "\ud800", "pw\n"]
)
def test_what_is_no_password_is_wrong_and_raises_nothing(password: str) -> None:
    assert verify(password, STORED) is False


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "x",
        PASSWORD,
        "$2b$",
        "$2b$04$",
        "$2b$04$short",
        STORED[:-1],
        STORED + "x",
        STORED.replace("$2b$", "$9b$"),
        STORED.replace("$04$", "$03$"),
        STORED.replace("$04$", "$99$"),
        STORED.replace("$04$", "$-4$"),
        STORED[:10] + "!" + STORED[11:],
        STORED[:10] + "\0" + STORED[11:],
        STORED[:10] + "é" + STORED[11:],
        "\0" * 60,
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        "\ud800",
    ],
    ids=vectors.shown,
)
def test_a_malformed_hash_denies(stored: str) -> None:
    """bcrypt raises on some and not on others: all of them mean no."""
    assert verify(PASSWORD, stored) is False


@given(any_text)
def test_no_text_in_a_hash_s_place_lets_anybody_in(stored: str) -> None:
    assert verify(PASSWORD, stored) is False
    assert isinstance(cost_of(stored), int)


@pytest.mark.parametrize(("stored", "cost"), [(STORED, 4), ("$2b$10$x", 10), ("$2y$31$x", 31)])
def test_a_hash_says_its_cost(stored: str, cost: int) -> None:
    assert cost_of(stored) == cost


@pytest.mark.parametrize("stored", ["", "$2b$", "$2b$xx$", "garbage in here"])
def test_a_malformed_hash_has_the_lowest_cost(stored: str) -> None:
    assert cost_of(stored) == 4


class Till:
    """bcrypt, with every hash counted as the 2^cost that it takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paid = 0
        monkeypatch.setattr(bcrypt, "hashpw", self.hash)
        monkeypatch.setattr(bcrypt, "checkpw", self.check)

    def hash(self, password: bytes, salt: bytes) -> bytes:
        assert len(password) <= 72
        self.paid += 2 ** int(salt[4:6])
        return salt + b"x" * 31

    def check(self, password: bytes, stored: bytes) -> bool:
        if len(stored) != 60:
            raise ValueError("Invalid salt")
        self.paid += 2 ** int(stored[4:6])
        return stored.endswith(password)


@pytest.fixture
def till(monkeypatch: pytest.MonkeyPatch) -> Till:
    return Till(monkeypatch)


def hash_of(password: str, cost: int) -> str:
    """What the till takes for this password's hash."""
    return f"$2b${cost:02d}$".ljust(60 - len(password), ".") + password


@pytest.mark.parametrize("cost", [4, 10, 12])
def test_a_hash_to_no_purpose_costs_like_a_real_one(till: Till, cost: int) -> None:
    spend(PASSWORD, cost)
    assert till.paid == 2**cost


def test_no_hash_costs_less_than_bcrypt_can(till: Till) -> None:
    spend(PASSWORD, 0)
    assert till.paid == 2**4


@pytest.mark.parametrize("password", ["", "x" * 5_000, "é" * 80, "pw\0junk", "\ud800" * 80])
def test_anything_can_be_hashed_to_no_purpose(password: str) -> None:
    """With the real bcrypt, which raises beyond 72 bytes."""
    spend(password, 4)


@pytest.mark.parametrize("paid", range(4, 13))
@pytest.mark.parametrize("highest", range(4, 13))
def test_the_difference_to_the_highest_cost_is_paid_exactly(till: Till, paid: int, highest: int) -> None:
    """2^c + 2^c + 2^(c+1) + ... + 2^(h-1) = 2^h; what was paid above it stays."""
    spend_difference(PASSWORD, paid, highest)
    assert 2**paid + till.paid == max(2**highest, 2**paid)


@pytest.mark.parametrize("highest", [10, 12])
@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(None, id="unknown user"),
        pytest.param(hash_of("another-one-", 4), id="wrong password, cheap hash"),
        pytest.param(hash_of("another-one-", 10), id="wrong password, dear hash"),
        pytest.param("$2b$10$tooshort", id="malformed hash that says a cost"),
        pytest.param("$2b$04$tooshort", id="malformed hash that says a low cost"),
        pytest.param("nonsense", id="malformed hash"),
        pytest.param("", id="empty hash"),
    ],
)
async def test_every_refusal_has_paid_the_highest_cost(till: Till, stored: str | None, highest: int) -> None:
    """So that no clock tells them apart. (A tenth is left to a malformed hash, of which nothing real can be paid.)"""
    hasher = passwords.Hasher(1)
    try:
        assert not await hasher.verify(PASSWORD, stored, highest, asked=0.0)
    finally:
        hasher.close()
    assert 0.9 * 2**highest <= till.paid <= 2**highest
    assert hasher.hashes == 1


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("cost", [4, 8, 10])
async def test_a_right_password_pays_in_full_only_where_it_is_refused_anyway(till: Till, cost: int, pad: bool) -> None:
    hasher = passwords.Hasher(1)
    try:
        assert await hasher.verify(PASSWORD, hash_of(PASSWORD, cost), 10, asked=0.0, pad=pad)
    finally:
        hasher.close()
    assert till.paid == (2**10 if pad else 2**cost)


@pytest.mark.parametrize("asked", [0.0, 8_000.0])
@pytest.mark.parametrize(("looked_up", "begins"), [(0.0, 0), (0.1, 2), (0.6, 2), (1.9, 2), (2.1, 4), (7.5, 8)])
def test_a_hash_begins_at_a_step_from_its_question(asked: float, looked_up: float, begins: float) -> None:
    """Milliseconds: whether there was somebody to be looked up does not show in when the hash begins."""
    start = passwords.next_step(asked, asked + looked_up / 1000)
    assert start == pytest.approx(asked + begins / 1000, abs=1e-9)


def test_what_was_verified_is_known_under_its_version() -> None:
    memory = VerifiedPasswords(10)
    assert memory.recall("factory", PASSWORD) is None
    memory.remember("factory", PASSWORD, Verified(3, False))
    assert memory.recall("factory", PASSWORD) == (3, False)
    memory.remember("factory", PASSWORD, Verified(4, False))
    assert memory.recall("factory", PASSWORD) == (4, False)
    assert memory.recall("factory", PASSWORD + "x") is None
    assert memory.recall("Factory", PASSWORD) is None
    assert memory.recall(PASSWORD, "factory") is None


def test_what_is_right_no_more_is_forgotten() -> None:
    memory = VerifiedPasswords(10)
    memory.remember("factory", PASSWORD, Verified(3, False))
    memory.forget("factory", "another")
    assert memory.recall("factory", PASSWORD) == (3, False)
    memory.forget("factory", PASSWORD)
    assert memory.recall("factory", PASSWORD) is None


@pytest.mark.parametrize(
    ("known", "tried"),
    [
        (("a", "b-c"), ("a-b", "c")),
        (("plant", "7-Secret!pw"), ("plant-7", "Secret!pw")),
        (("ab", "c"), ("a", "bc")),
        (("a\0", "b"), ("a", "\0b")),
        (("a", ""), ("", "a")),
        (("\0\0\0\1a", "b"), ("a", "\0\0\0\1b")),
    ],
)
def test_username_and_password_do_not_run_together(known: tuple[str, str], tried: tuple[str, str]) -> None:
    """go-auth's cache let `plant-7` in with the password of `plant` (reliability.md, finding 1)."""
    memory = VerifiedPasswords(10)
    memory.remember(*known, Verified(1, False))
    assert memory.recall(*tried) is None
    assert memory.recall(*known) == (1, False)


@given(any_text, any_text, any_text, any_text)
def test_only_the_same_pair_is_known(username: str, password: str, other_name: str, other: str) -> None:
    memory = VerifiedPasswords(10)
    memory.remember(username, password, Verified(1, False))
    assert (memory.recall(other_name, other) == (1, False)) is ((other_name, other) == (username, password))


def test_memory_is_bounded_and_the_least_used_goes_first() -> None:
    memory = VerifiedPasswords(3)
    for number in range(3):
        memory.remember(f"user-{number}", PASSWORD, Verified(number, False))
    assert memory.recall("user-0", PASSWORD) == (0, False)
    memory.remember("user-3", PASSWORD, Verified(3, False))
    assert [memory.recall(f"user-{number}", PASSWORD) for number in range(4)] == [
        (0, False),
        None,
        (2, False),
        (3, False),
    ]


def test_memory_holds_no_password() -> None:
    """Under a key of this process: two processes remember the same pair differently."""
    one, two = VerifiedPasswords(10), VerifiedPasswords(10)
    for memory in (one, two):
        memory.remember("factory", PASSWORD, Verified(1, False))
    held = [repr(vars(memory)["_verified"]) for memory in (one, two)]
    assert held[0] != held[1]
    assert PASSWORD not in held[0]
    assert "factory" not in held[0]


def test_a_stored_hash_is_bcrypt_s() -> None:
    assert bcrypt.checkpw(PASSWORD.encode(), hash_password(PASSWORD, 5).encode())
    assert cost_of(hash_password(PASSWORD, 5)) == 5
