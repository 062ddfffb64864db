"""
Kura's messages on the provision broker (design 4.2): which topics, which metrics. The bytes are service/mqtt's.

What comes from a device is named by its topic, which its grants bind to its connection; metrics are never trusted for
that. What goes to it names `~{clientId}` as its requester, so that its replies come on topics that are its alone.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.core.messages import KEY_MAX_LENGTH, Malformed, is_text
from service.core.steps import Notice, Reply, Step

DEPLOY, CONFIGURATION, KEYS = "DEPLOY-V2", "CONF-V1", "KEYS-V1"
# The keystore of TLS connections, as Kura names it.
KEYSTORE = "SSLKeystore"
TEXT_MAX_LENGTH = 255
DETAIL_MAX_LENGTH = 1024

Metrics = Mapping[str, str | int | float | bool | bytes]


class Kind(enum.StrEnum):
    """What a device says, by its topic."""

    PROV = "prov"
    BIRTH = "birth"
    REPLY = "reply"
    NOTIFY = "notify"


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic of a device, taken apart. `resource`: the request id of a REPLY, what a NOTIFY is about."""

    kind: Kind
    client_id: str
    resource: str = ""


def subscriptions(provision_account: str) -> tuple[str, ...]:
    """What the responder listens to."""
    base = f"$EDC/{provision_account}"
    return (f"{base}/+/MQTT/PROV", f"{base}/+/MQTT/BIRTH", f"{base}/+/+/REPLY/#", f"{base}/+/+/NOTIFY/+/#")


def parse_topic(topic: str, provision_account: str) -> Topic | None:
    """None: not a topic that a device may use for this, such as a REPLY to somebody else."""
    match topic.split("/"):
        case ["$EDC", account, client_id, "MQTT", ("PROV" | "BIRTH") as kind] if account == provision_account:
            return Topic(kind=Kind(kind.lower()), client_id=client_id)
        case ["$EDC", account, requester, _, "REPLY", request_id] if account == provision_account:
            return (
                Topic(kind=Kind.REPLY, client_id=requester[1:], resource=request_id) if requester[:1] == "~" else None
            )
        case ["$EDC", account, requester, _, "NOTIFY", client_id, resource] if account == provision_account:
            own = requester == requester_of(client_id)
            return Topic(kind=Kind.NOTIFY, client_id=client_id, resource=resource) if own else None
    return None


def requester_of(client_id: str) -> str:
    """Whom a device answers: a name of its own, which no client can have."""
    return f"~{client_id}"


@dataclass(frozen=True, kw_only=True)
class Prov:
    """A device asks, on `MQTT/PROV`. Its `password` metric is not looked at: it proved that at CONNECT."""

    username: str | None = None
    activation_key: str | None = field(default=None, repr=False)
    certificate_version: str | None = None


def parse_prov(metrics: Metrics) -> Prov | Malformed:
    """Each metric may be missing; other metrics are ignored, as Kura and ESF may send what they like."""
    username = _text(metrics.get("username"), TEXT_MAX_LENGTH, "bad_metric")
    version = _text(metrics.get("provisioningCertificateVersion"), TEXT_MAX_LENGTH, "bad_metric")
    key = _text(metrics.get("activationKey"), KEY_MAX_LENGTH, "bad_activation_key")
    if isinstance(username, Malformed):
        return username
    if isinstance(version, Malformed):
        return version
    if isinstance(key, Malformed):
        return key
    return Prov(username=username, activation_key=key, certificate_version=version)


def _text(value: object, longest: int, otherwise: str) -> str | Malformed | None:
    """As text, whatever type it was sent with; an empty text is none."""
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        return Malformed(otherwise)
    text = str(value)
    return text if is_text(text, longest) else Malformed(otherwise)


def parse_reply(request_id: str, metrics: Metrics) -> Reply | Malformed:
    """`response.code` decides; what the device says about an error is kept for people."""
    code = metrics.get("response.code")
    if isinstance(code, str) and code.isascii() and code.isdecimal() and len(code) <= 9:
        code = int(code)
    if not isinstance(code, int) or isinstance(code, bool):
        return Malformed("bad_response_code")
    return Reply(request_id=request_id, code=code, text=_detail(metrics.get("response.exception.message")))


def parse_notify(resource: str, metrics: Metrics) -> Notice | Malformed:
    """How far a download or an installation is."""
    job_id, status = metrics.get("job.id"), metrics.get(f"dp.{resource}.status")
    if not isinstance(job_id, int) or isinstance(job_id, bool):
        return Malformed("bad_job")
    if resource not in ("download", "install") or not isinstance(status, str):
        return Malformed("bad_status")
    return Notice(
        job_id=job_id, resource=resource, status=status, text=_detail(metrics.get(f"dp.{resource}.error.message"))
    )


def _detail(value: object) -> str | None:
    """A device's own words, cut and fit to be stored; none where they are not."""
    if not isinstance(value, str) or not value:
        return None
    shortened = value[:DETAIL_MAX_LENGTH]
    return shortened if is_text(shortened, DETAIL_MAX_LENGTH) else None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A message to a device."""

    topic: str
    metrics: Metrics
    body: bytes = field(default=b"", repr=False)


def download_request(provision_account: str, client_id: str, step: Step, application: Mapping[str, Any]) -> Request:
    """Download and install one application."""
    assert step.job_id is not None
    return Request(
        topic=f"$EDC/{provision_account}/{client_id}/{DEPLOY}/EXEC/download",
        metrics={
            **_addressed(client_id, step),
            "job.id": step.job_id,
            "dp.uri": application["url"],
            "dp.name": application["name"],
            "dp.version": application["version"],
            "dp.download.protocol": "HTTPS",
            "dp.download.hash": f"SHA-256:{application['sha256']}",
            "dp.install": True,
            "dp.install.system.update": False,
            "dp.reboot": False,
        },
    )


def ca_request(provision_account: str, client_id: str, step: Step, ca: str, keystore: str) -> Request:
    """
    Trust this CA (PEM) from now on: an entry of the keystore that TLS connections use.

    The alias is made of the certificate, so that the same CA, sent again or by another run, is the same entry.
    (Eclipse Kura: docs/administration/keys-and-certificates.md, "Store Trusted Certificate".)
    """
    alias = f"provision-{hashlib.sha256(ca.encode()).hexdigest()[:16]}"
    entry = {"keystoreServicePid": keystore, "alias": alias, "certificate": ca}
    return Request(
        topic=f"$EDC/{provision_account}/{client_id}/{KEYS}/POST/keystores/entries/certificate",
        metrics=_addressed(client_id, step),
        body=json.dumps(entry, separators=(",", ":")).encode(),
    )


def configuration_request(provision_account: str, client_id: str, step: Step, xml: bytes) -> Request:
    """Take this configuration, all at once."""
    return Request(
        topic=f"$EDC/{provision_account}/{client_id}/{CONFIGURATION}/PUT/configurations",
        metrics=_addressed(client_id, step),
        body=xml,
    )


def _addressed(client_id: str, step: Step) -> dict[str, str | int | bool]:
    """Without both of them Kura sends no reply."""
    return {"request.id": step.request_id, "requester.client.id": requester_of(client_id)}
