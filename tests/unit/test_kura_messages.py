"""Kura's topics and metrics: who says what, and what is not taken from anybody."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import kura_messages, names
from service.core.kura_messages import Kind, Prov, Topic, parse_notify, parse_prov, parse_reply, parse_topic
from service.core.messages import Malformed
from service.core.steps import Notice, Reply, Step, StepKind, StepState
from tests.unit.strategies import any_text

client_ids = st.from_regex(names.CLIENT_ID, fullmatch=True)
STEP = Step(position=1, kind=StepKind.APPLICATION, state=StepState.SENT, request_id="a" * 32, job_id=7)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("$EDC/p-1/gw-1/MQTT/PROV", Topic(kind=Kind.PROV, client_id="gw-1")),
        ("$EDC/p-1/gw-1/MQTT/BIRTH", Topic(kind=Kind.BIRTH, client_id="gw-1")),
        ("$EDC/p-1/~gw-1/CONF-V1/REPLY/abc", Topic(kind=Kind.REPLY, client_id="gw-1", resource="abc")),
        (
            "$EDC/p-1/~gw-1/DEPLOY-V2/NOTIFY/gw-1/install",
            Topic(kind=Kind.NOTIFY, client_id="gw-1", resource="install"),
        ),
        ("$EDC/other/gw-1/MQTT/PROV", None),
        ("$EDC/p-1/gw-1/MQTT/APPS", None),
        ("$EDC/p-1/gw-1/MQTT/PROV/x", None),
        # A client's own MQTT topics look like answers to somebody: nobody asked under that name.
        ("$EDC/p-1/gw-1/MQTT/REPLY/abc", None),
        ("$EDC/p-1/gw-1/MQTT/NOTIFY/gw-2/install", None),
        ("$EDC/p-1/~gw-1/DEPLOY-V2/NOTIFY/gw-2/install", None),
        ("$EDC/p-1/~gw-1/CONF-V1/REPLY/abc/def", None),
        ("prov/v1/gw-1/request", None),
        ("", None),
    ],
)
def test_a_topic_names_the_device(topic: str, expected: Topic | None) -> None:
    assert parse_topic(topic, "p-1") == expected


@given(any_text)
def test_any_topic_is_taken_apart_or_not(topic: str) -> None:
    parse_topic(topic, "provision")


@given(client_ids)
def test_requests_name_a_requester_that_no_client_can_be(client_id: str) -> None:
    application = {"name": "heater", "version": "1", "url": "https://x/y", "sha256": "a" * 64, "size": 1}
    download = kura_messages.download_request("p-1", client_id, STEP, application)
    configuration = kura_messages.configuration_request("p-1", client_id, STEP, b"<xml/>")
    for request in (download, configuration):
        assert request.metrics["requester.client.id"] == f"~{client_id}"
        assert request.metrics["request.id"] == "a" * 32
    assert not names.is_client_id(f"~{client_id}", 255)
    assert download.topic == f"$EDC/p-1/{client_id}/DEPLOY-V2/EXEC/download"
    assert configuration.topic == f"$EDC/p-1/{client_id}/CONF-V1/PUT/configurations"
    assert configuration.body == b"<xml/>"
    told = {name: value for name, value in download.metrics.items() if name.startswith(("dp.", "job"))}
    assert told == {
        "job.id": 7, "dp.uri": "https://x/y", "dp.name": "heater", "dp.version": "1", "dp.download.protocol": "HTTPS",
        "dp.download.hash": "SHA-256:" + "a" * 64, "dp.install": True, "dp.install.system.update": False,
        "dp.reboot": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({}, Prov()),
        ({"username": "", "activationKey": ""}, Prov()),
        (
            {"username": "f", "password": "x", "activationKey": "k", "provisioningCertificateVersion": 3, "more": 1},
            Prov(username="f", activation_key="k", certificate_version="3"),
        ),
        ({"activationKey": 123}, Prov(activation_key="123")),
        ({"activationKey": "k" * 129}, Malformed("bad_activation_key")),
        ({"activationKey": b"k"}, Malformed("bad_activation_key")),
        ({"username": "a\0b"}, Malformed("bad_metric")),
        ({"provisioningCertificateVersion": "x" * 256}, Malformed("bad_metric")),
    ],
)
def test_an_ask(metrics: dict[str, Any], expected: object) -> None:
    assert parse_prov(metrics) == expected


def test_an_ask_shows_no_key() -> None:
    assert "sesame" not in repr(parse_prov({"activationKey": "sesame"}))


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"response.code": 200}, Reply(request_id="r", code=200)),
        ({"response.code": "500"}, Reply(request_id="r", code=500)),
        (
            {"response.code": 500, "response.exception.message": "no"},
            Reply(request_id="r", code=500, text="no"),
        ),
        (
            {"response.code": 1, "response.exception.message": "x" * 2000},
            Reply(request_id="r", code=1, text="x" * 1024),
        ),
        ({"response.code": 1, "response.exception.message": "\0"}, Reply(request_id="r", code=1)),
        ({"response.code": 1, "response.exception.message": 5}, Reply(request_id="r", code=1)),
        ({}, Malformed("bad_response_code")),
        ({"response.code": True}, Malformed("bad_response_code")),
        ({"response.code": 200.0}, Malformed("bad_response_code")),
        ({"response.code": "٢٠٠"}, Malformed("bad_response_code")),
        ({"response.code": "9" * 5000}, Malformed("bad_response_code")),
    ],
)
def test_a_reply(metrics: dict[str, Any], expected: object) -> None:
    assert parse_reply("r", metrics) == expected


@pytest.mark.parametrize(
    ("resource", "metrics", "expected"),
    [
        (
            "install",
            {"job.id": 7, "dp.install.status": "COMPLETED", "dp.download.status": "FAILED"},
            Notice(job_id=7, resource="install", status="COMPLETED"),
        ),
        (
            "download",
            {"job.id": 7, "dp.download.status": "FAILED", "dp.download.error.message": "404"},
            Notice(job_id=7, resource="download", status="FAILED", text="404"),
        ),
        ("install", {"dp.install.status": "COMPLETED"}, Malformed("bad_job")),
        ("install", {"job.id": "7", "dp.install.status": "COMPLETED"}, Malformed("bad_job")),
        ("install", {"job.id": True, "dp.install.status": "COMPLETED"}, Malformed("bad_job")),
        ("install", {"job.id": 7, "dp.download.status": "COMPLETED"}, Malformed("bad_status")),
        ("uninstall", {"job.id": 7, "dp.uninstall.status": "COMPLETED"}, Malformed("bad_status")),
        ("", {"job.id": 7}, Malformed("bad_status")),
    ],
)
def test_a_notice(resource: str, metrics: dict[str, Any], expected: object) -> None:
    assert parse_notify(resource, metrics) == expected


def test_a_ca_is_an_entry_of_the_keystore() -> None:
    """The same CA has the same alias, whatever the step: sent again it is no second entry."""
    first, second = (Step(position=n, kind=StepKind.CA, state=StepState.WAITING, request_id=f"r{n}") for n in (1, 2))
    request = kura_messages.ca_request("provision", "gw-1", first, "PEM", "SSLKeystore")
    assert request.topic == "$EDC/provision/gw-1/KEYS-V1/POST/keystores/entries/certificate"
    assert request.metrics == {"request.id": "r1", "requester.client.id": "~gw-1"}
    entry = json.loads(request.body)
    assert (entry.pop("keystoreServicePid"), entry.pop("certificate")) == ("SSLKeystore", "PEM")
    assert re.fullmatch(r"provision-[0-9a-f]{16}", entry.pop("alias"))
    assert entry == {}
    assert kura_messages.ca_request("provision", "gw-1", second, "PEM", "SSLKeystore").body == request.body
    assert kura_messages.ca_request("provision", "gw-1", first, "other", "SSLKeystore").body != request.body
    alias = f"provision-{hashlib.sha256(b'PEM').hexdigest()[:16]}"
    assert request.body == f'{{"keystoreServicePid":"SSLKeystore","alias":"{alias}","certificate":"PEM"}}'.encode()


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"username": b"x"}, "bad_metric"),
        ({"username": "\0"}, "bad_metric"),
        ({"provisioningCertificateVersion": b"x"}, "bad_metric"),
        ({"provisioningCertificateVersion": "x" * 256}, "bad_metric"),
        ({"activationKey": b"x"}, "bad_activation_key"),
        ({"activationKey": "\0"}, "bad_activation_key"),
        ({"activationKey": b"x", "username": b"x"}, "bad_metric"),
    ],
)
def test_what_is_no_text_in_an_ask_is_named(metrics: dict[str, Any], reason: str) -> None:
    assert parse_prov(metrics) == Malformed(reason)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("9" * 9, Reply(request_id="r", code=999_999_999)), ("0" * 10, Malformed("bad_response_code"))],
)
def test_a_response_code_has_nine_digits_at_most(code: str, expected: object) -> None:
    assert parse_reply("r", {"response.code": code}) == expected
