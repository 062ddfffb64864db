"""bcrypt once for each credential: what is remembered, and that no password is."""

from __future__ import annotations

from unittest.mock import patch

from service import passwords
from service.hashes import Hashes

PASSWORD = "Factory-Password"


async def test_a_credential_is_hashed_and_verified_once() -> None:
    hashes = Hashes()
    with patch.object(passwords, "hash_password", wraps=passwords.hash_password) as hashing:
        first = await hashes.make({"fleet": PASSWORD}, 4)
        assert await hashes.make({"fleet": PASSWORD}, 4) == first
        assert hashing.call_count == 1
        await hashes.make({"fleet": PASSWORD + "x"}, 4)
        assert hashing.call_count == 2
    stored = first["fleet"]
    with patch.object(passwords, "verify", wraps=passwords.verify) as verifying:
        assert await hashes.verify({("fleet", PASSWORD): stored}) == {("fleet", PASSWORD): True}
        assert verifying.call_count == 0
        for _ in range(2):
            wrong = ("fleet", "Other-Password-1")
            assert await hashes.verify({wrong: stored}) == {wrong: False}
        assert verifying.call_count == 1
    assert await hashes.verify({("nobody", PASSWORD): None}) == {("nobody", PASSWORD): False}


async def test_no_password_is_remembered() -> None:
    """Nor what stands for one in another process."""
    hashes, other = Hashes(), Hashes()
    for each in (hashes, other):
        stored = (await each.make({"fleet": PASSWORD}, 4))["fleet"]
        await each.verify({("fleet", PASSWORD): stored, ("fleet", "Other-Password-1"): stored})
    for credential, value in hashes.known.items():
        assert PASSWORD not in repr((credential, value))
        assert PASSWORD.encode() not in credential[1]
    assert not {digest for _, digest, _ in hashes.known} & {digest for _, digest, _ in other.known}
