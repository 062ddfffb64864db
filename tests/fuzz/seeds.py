"""
What mutation begins from: good inputs, inputs that have hurt parsers elsewhere, and the corpus of past findings.

A file in `corpus/<target>/` is an input that once broke a promise, as small as it could be made.
"""

from __future__ import annotations

import datetime
import gzip
import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

from service.core import device_config
from service.mqtt import kura_payload
from tests.support.certificates import new_authority
from tests.support.hostile_xml import AFTER, BEFORE
from tests.support.raw_http import FORM, JSON, encode

CORPUS = Path(__file__).with_name("corpus")
MOMENT = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)

APPLICATION = {"name": "a", "version": "1", "url": "https://h/a.dp", "sha256": "a" * 64, "size": 1}
CONFIGURATION: dict[str, Any] = {
    "org.example.Modem": {"apn": "iot", "pin": {"type": "Password", "value": "1234"}, "list": [1, 2], "on": True},
    device_config.TRANSPORT: {"USERNAME": "mine", "broker-url": "mqtt://evil", "keep-alive": 30, "f": 1.5},
}
USER = {"username": "factory-gw-1", "password": "Factory-Password", "clientid": "gw-1"}
ACL = {"username": "factory-gw-1", "clientid": "gw-1", "topic": "prov/v1/gw-1/reply", "acc": 1}
REPORTS = {
    "refused": [
        {"username": "u", "clientid": "c", "topic": "t", "acc": 2, "reason": "no_grant", "count": 3},
    ],
    "seen": [{"username": "u", "clientid": "c"}],
}
REQUEST = {
    "client_id": "gw-1", "provision_username": "factory", "provision_password": "Factory-Password",
    "additional_device_configuration": CONFIGURATION, "applications": [APPLICATION], "expires_on": None,
    "activates_on": "2030-01-01T00:00:00Z", "maximum_attempts": 5, "start_on_birth": False,
}  # fmt: skip
METRICS: dict[str, kura_payload.Metric] = {
    "activationKey": "k" * 32, "username": "factory", "provisioningCertificateVersion": 1, "job.id": 2**62,
    "response.code": 200, "response.exception.message": "why", "dp.download.status": "COMPLETED", "on": True,
    "dp.install.status": "FAILED", "dp.install.error.message": "disk", "double": 1.5, "bytes": b"\0\xff",
}  # fmt: skip


def dump(document: object) -> bytes:
    return json.dumps(document).encode()


def _csv() -> bytes:
    head = "client_id,provision_username,provision_password,activation_key,expires_on,additional_device_configuration"
    return (
        head + '\r\ngw-1,factory,Factory-Password,true,never,"{""c"":{""p"":1}}"\ngw-2,f,p,,,missing.xml\n'
    ).encode()


@cache
def good() -> dict[str, tuple[bytes, ...]]:
    """By target, what is read as it was meant."""
    kura = kura_payload.encode(METRICS, b"body", timestamp=1)
    xml = BEFORE + b"x" + AFTER
    return {
        "ask": (
            dump({"id": "1", "activation_key": "k", "seal": True, "device": {"serial": "é\U0001f600"}}),
            dump({"run": "r" * 22, "state": "installing", "step": "s", "detail": "d"}),
        ),
        "kura_payload": (kura, gzip.compress(kura, mtime=0), gzip.compress(kura, mtime=0) * 2, b""),
        "kura_topic": (
            b"$EDC/provision/gw-1/MQTT/PROV", b"$EDC/provision/~gw-1/DEPLOY-V2/REPLY/123",
            b"$EDC/provision/~gw-1/DEPLOY-V2/NOTIFY/gw-1/download", b"$EDC/acme/gw-1/MQTT/BIRTH",
        ),
        "topics": (b"a/+/b\na/b/b\na/c/b", b"$SYS/#\n$SYS/a\n$SYS", b"#\n+/+\n/", b"a/#\na\na", b"$share/g/a\n+\n$a"),
        "configuration": (dump(CONFIGURATION), xml, b'<?xml version="1.0" encoding="UTF-8"?>' + xml),
        "applications": (dump([APPLICATION, {**APPLICATION, "name": "b"}]),),
        "import": (_csv(), dump(REQUEST) + b"\n" + dump({**REQUEST, "client_id": "gw-2"}) + b"\n"),
        "hook_body": (
            *(encode(fields, mode) for fields in (USER, ACL) for mode in (JSON, FORM)),
            dump(REPORTS), dump({"clients": REPORTS["seen"]}),
        ),
        "api_body": (
            dump(REQUEST), dump({"name": "acme", "brokers": ["b"]}), dump({"overlap_seconds": 60}),
            dump({"rows": [{**REQUEST, "line": 2, "given": ["client_id"]}], "update": True}),
            dump({"lines": [{"account_id": 1, "request_id": 1, "count": 1, "head": "ab"}]}),
        ),
        "names": (b"mqtts://host.example:8883", b"wss://[::1]/path", new_authority().pem),
    }  # fmt: skip


# Each was the end of some parser: see reference lists of poison messages (T27) and our own corpus.
POISON: tuple[bytes, ...] = (
    b"", b" ", b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"null", b"[]",
    b"{", b'"', b"\\", b'{"id":"\\u0000"}', b'{"id":"\\ud800"}', b'{"id":"1","device":{"a":"\\udfff"}}',
    b'{"run":"\\u0000","state":"failed"}', b'{"id":"1","id":"1"}', b'{"id":NaN}', b'{"id":1e999}',
    b'{"id":' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"a":' * 10_000, b'{"id":"' + b"x" * 40_000 + b'"}',
    b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", gzip.compress(bytes(10_000_000)), gzip.compress(b"\x2a" * 3)[:-4],
    b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x08" + b"\xff" * 11, b"\x2a\xff\xff\xff\x7f\x0a",
    b"\x0b" * 2000,
    b"\x2a\x02\x0a\x00", b"\x2a\x06\x0a\x02\xff\xfe\x10\x05", b"\x2a\x05\x0a\x01a\x10\x63",
)  # fmt: skip


def findings(target: str) -> list[Path]:
    """The corpus of a target."""
    return sorted((CORPUS / target).glob("*"))


def all_of(target: str) -> list[bytes]:
    """Good, poisonous and once harmful inputs."""
    return [*good()[target], *POISON, *(path.read_bytes() for path in findings(target))]


WORDS: tuple[bytes, ...] = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"\\u0000", b"\\ud800", b"\\udfff", b"null", b"true", b"NaN",
    b"1e999", b"-0", b"9" * 400, b"\0", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b"\n", b"\r\n",
    b"&", b"=", b"%00", b"%FF", b"<", b">", b"/>", b"<!DOCTYPE", b"<![CDATA[", b"&#0;", b"xmlns", b"$", b"+", b"#",
    b"/", b"~", b"$share/", b"\x1f\x8b\x08", b"\x2a", b"\x0a", b"\x12", b"\xff\xff\xff\xff\x0f",
    b"\x80" * 10, b"x" * 300,
)  # fmt: skip


def mutate(chance: Random, seeds: list[bytes]) -> bytes:
    """A few changes to one of the seeds: bytes, words, pieces cut, doubled, moved, or of another seed."""
    data = chance.choice(seeds)[:65_536]
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
        spot = chance.randrange(len(data) + 1)
        end = min(len(data), spot + chance.choice((0, 1, 1, 2, 4, 16, 200)))
        other = chance.choice(seeds)
        start = chance.randrange(len(other) + 1)
        piece = chance.choice((
            b"", chance.randbytes(1), chance.randbytes(chance.choice((1, 2, 8))), chance.choice(WORDS),
            data[spot:end] * 2, other[start : start + chance.choice((1, 8, 100))], data[spot:end][::-1],
        ))  # fmt: skip
        data = data[:spot] + piece + data[end:]
    return data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """For hypothesis."""
    return st.builds(lambda chance: mutate(chance, seeds), st.randoms(use_true_random=False))
