"""
Keys and secrets computed from other keys: the same input gives the same secret, at any responder, after any crash (D7).

HKDF is RFC 5869. Nothing here draws random bytes: salts and nonces are handed in.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SALT_BYTES = 32


class CannotOpen(Exception):
    """A sealed text was altered, moved elsewhere, or sealed with another key."""


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The inverse of `base64url`. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _hkdf(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


def derive_password(*, derivation_key: bytes, activation_key: str | None, salt: bytes, run: str, username: str) -> str:
    """
    The password of a run's generated user: 32 bytes as 43 characters of base64url.

    `run` names the run (request and number). The key material is the derivation key (always 32 bytes, so nothing is
    ambiguous), followed by the activation key where the request has one.
    """
    material = derivation_key + (activation_key or "").encode()
    return base64url(_hkdf(material, salt, f"device password\0{run}\0{username}".encode(), KEY_BYTES))


def derive_run_token(*, derivation_key: bytes, activation_key: str | None, salt: bytes, run: str, username: str) -> str:
    """The token by which the device names its run in status messages: 16 bytes as 22 characters of base64url."""
    material = derivation_key + (activation_key or "").encode()
    return base64url(_hkdf(material, salt, f"run token\0{run}\0{username}".encode(), 16))


def _answer_key(activation_key: str, ask_id: str) -> AESGCM:
    return AESGCM(_hkdf(activation_key.encode(), ask_id.encode(), b"prov/v1 seal", KEY_BYTES))


def seal_answer(*, activation_key: str, ask_id: str, client_id: str, nonce: bytes, clear: bytes) -> str:
    """`sealed` of design 4.1: base64url(nonce ‖ AES-256-GCM), readable only with the activation key."""
    assert len(nonce) == NONCE_BYTES
    sealed = _answer_key(activation_key, ask_id).encrypt(nonce, clear, client_id.encode())
    return base64url(nonce + sealed)


def open_answer(*, activation_key: str, ask_id: str, client_id: str, sealed: str) -> bytes:
    """The device's side of `seal_answer`. Raises CannotOpen."""
    try:
        data = from_base64url(sealed)
        return _answer_key(activation_key, ask_id).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], client_id.encode())
    except (ValueError, InvalidTag) as error:
        raise CannotOpen("the sealed answer cannot be opened with this activation key") from error


def seal_value(*, key: bytes, kid: str, nonce: bytes, context: str, clear: bytes) -> str:
    """A value sealed at rest: `<kid>.<base64url>`. `context` binds it to its place: moved, it will not open."""
    assert len(nonce) == NONCE_BYTES
    sealed = AESGCM(key).encrypt(nonce, clear, f"{kid}\0{context}".encode())
    return f"{kid}.{base64url(nonce + sealed)}"


def open_value(*, keys: dict[str, bytes], context: str, sealed: str) -> bytes:
    """The inverse of `seal_value`; `keys` by kid. Raises CannotOpen."""
    kid, _, text = sealed.partition(".")
    try:
        data = from_base64url(text)
        if len(data) < NONCE_BYTES + TAG_BYTES:
            raise ValueError
        if kid not in keys:
            raise CannotOpen(f"no sealing key with kid {kid!r}")
        return AESGCM(keys[kid]).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], f"{kid}\0{context}".encode())
    except (ValueError, InvalidTag) as error:
        raise CannotOpen("a sealed value cannot be opened with its key") from error
