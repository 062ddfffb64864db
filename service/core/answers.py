"""
The `accepted` answer (design 4.1): one run's answer never changes but for `id`, `server_time` and `confirm_within`.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from service.core import derivation, messages

# Design section 4. The brokers' max_packet_size is this plus 16 KiB.
ANSWER_LIMIT_BYTES = 48 * 1024

# As long as all that is generated is, and an id, a time and a lifetime are at most. (JSON makes two of each quote.)
_RUN, _USERNAME, _PASSWORD, _KEY = "r" * 22, "d-" + "u" * 26, "p" * 43, "k" * 32
_ID, _TIME, _LIFETIME = '"' * 64, datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC), 10**8


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a run answers, with every secret in the clear: never logged, never stored."""

    run: str
    connection: Mapping[str, str]
    configuration: Mapping[str, Mapping[str, Any]]
    applications: Sequence[Mapping[str, Any]]

    def __repr__(self) -> str:
        return "Answer(***)"

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the RFC 8785 JSON of connection, configuration and applications, in hexadecimal."""
        document = {
            "connection": self.connection,
            "configuration": self.configuration,
            "applications": list(self.applications),
        }
        return hashlib.sha256(rfc8785.dumps(document)).hexdigest()  # type: ignore[arg-type]

    def to_document(self) -> dict[str, Any]:
        """The part that sealing hides."""
        return {
            "run": self.run,
            "connection": dict(self.connection),
            "configuration": self.configuration,
            "applications": list(self.applications),
            "digest": self.digest,
        }


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What sealing needs: the activation key, and a fresh nonce for each answer."""

    activation_key: str
    nonce: bytes

    def __repr__(self) -> str:
        return "Seal(***)"


def connection(
    *, endpoint: str, account: str, client_id: str, username: str, password: str, ca: str | None
) -> dict[str, str]:
    """Where to log in from now on, as whom, and (with `ca`, PEM) which CA alone to trust there."""
    known = {
        "endpoint": endpoint,
        "account": account,
        "client_id": client_id,
        "username": username,
        "password": password,
    }
    return known if ca is None else {**known, "ca": ca}


def encode_accepted(
    answer: Answer,
    *,
    ask_id: str,
    client_id: str,
    now: datetime.datetime,
    confirm_within: int,
    seal: Seal | None,
) -> bytes:
    """The bytes of the reply; `confirm_within` in seconds."""
    head = {"id": ask_id, "result": "accepted"}
    tail = {"server_time": messages.rfc3339(now), "confirm_within": confirm_within}
    if seal is None:
        return messages.encode({**head, **tail, **answer.to_document()})
    sealed = derivation.seal_answer(
        activation_key=seal.activation_key,
        ask_id=ask_id,
        client_id=client_id,
        nonce=seal.nonce,
        clear=messages.encode(answer.to_document()),
    )
    return messages.encode({**head, **tail, "sealed": sealed})


def longest_accepted(
    *,
    endpoint: str,
    account: str,
    client_id: str,
    configuration: Mapping[str, Mapping[str, Any]],
    applications: Sequence[Mapping[str, Any]],
    ca: str | None = None,
) -> int:
    """How many bytes a request's longest answer has: sealed, with the id that JSON makes longest."""
    answer = Answer(
        run=_RUN,
        connection=connection(
            endpoint=endpoint,
            account=account,
            client_id=client_id,
            username=_USERNAME,
            password=_PASSWORD,
            ca=ca,
        ),
        configuration=configuration,
        applications=applications,
    )
    seal = Seal(activation_key=_KEY, nonce=bytes(derivation.NONCE_BYTES))
    reply = encode_accepted(answer, ask_id=_ID, client_id=client_id, now=_TIME, confirm_within=_LIFETIME, seal=seal)
    return len(reply)
