"""
Secrets: what is random, how it is kept, how key files look.

Generated secrets have at least 128 random bits, so a domain-separated SHA-256 is all that is stored of them: there is
no key to lose (D5). Keys come from files or the environment and never sit in the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Never

from service.core import derivation
from service.core.derivation import KEY_BYTES, NONCE_BYTES, SALT_BYTES


class Secret:
    """Text that must not be shown: not in logs, not in exceptions, not by repr. `reveal()` where it is used."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a Secret is not pickled")

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)


def secret_hash(domain: str, secret: str) -> bytes:
    """What is stored of a generated secret. `domain` says what it is for, so that none serves as another."""
    return hashlib.sha256(f"mosquitto-provisioning\0{domain}\0{secret}".encode()).digest()


def matches(stored: bytes | None, domain: str, secret: str) -> bool:
    """Whether `secret` is the one whose hash is stored, in constant time. Nothing stored: never."""
    computed = secret_hash(domain, secret)
    return hmac.compare_digest(stored if stored is not None else bytes(len(computed)), computed) and stored is not None


USER = "user"
ACTIVATION_KEY = "activation key"
BROKER = "broker"
TAKEOVER = "takeover"
RUN = "run"
BEARER = "api token"


def new_secret() -> str:
    """A password or broker secret: 256 random bits in 43 characters of base64url."""
    return secrets.token_urlsafe(32)


def new_activation_key() -> str:
    """32 base32 characters (160 random bits), as long as the original product's."""
    return base64.b32encode(secrets.token_bytes(20)).decode().lower()


def new_device_username() -> str:
    """`d-` and 26 base32 characters (130 random bits): never used twice."""
    return "d-" + base64.b32encode(secrets.token_bytes(17)).decode().lower()[:26]


def new_salt() -> bytes:
    """A run's salt."""
    return secrets.token_bytes(SALT_BYTES)


def new_nonce() -> bytes:
    """A fresh nonce for AES-GCM."""
    return secrets.token_bytes(NONCE_BYTES)


def new_correlation_id() -> str:
    """What joins a refusal on the wire with its reason in the event log."""
    return secrets.token_hex(8)


def new_key() -> str:
    """A key as its file holds it: 32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def parse_key(text: str) -> bytes:
    """32 bytes from base64. Raises ValueError, which never shows the text."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("must be 32 random bytes in base64 (`provision key create` makes one)") from None
    return key


@dataclass(frozen=True)
class SealingKeys:
    """The keys of Password-typed values by kid; the first one seals, all of them open."""

    keys: tuple[tuple[str, bytes], ...]

    def __repr__(self) -> str:
        return f"SealingKeys({', '.join(kid for kid, _ in self.keys)})"

    @classmethod
    def parse(cls, text: str) -> SealingKeys:
        """From lines of `<kid>:<32 bytes in base64>`. Raises ValueError, which never shows a key."""
        pairs = []
        for line in text.split():
            kid, separator, key = line.partition(":")
            if not separator or not kid.isalnum() or len(kid) > 32:
                raise ValueError("each line must be <kid>:<32 random bytes in base64>")
            pairs.append((kid, parse_key(key)))
        if not pairs or len(dict(pairs)) != len(pairs):
            raise ValueError("must hold at least one key, each with its own kid")
        return cls(tuple(pairs))

    def seal(self, context: str, clear: str) -> str:
        """Seal with the first key."""
        kid, key = self.keys[0]
        return derivation.seal_value(key=key, kid=kid, nonce=new_nonce(), context=context, clear=clear.encode("utf-8"))

    def open(self, context: str, sealed: str) -> str:
        """Open what `seal` sealed for the same context. Raises CannotOpen."""
        return derivation.open_value(keys=dict(self.keys), context=context, sealed=sealed).decode("utf-8")
