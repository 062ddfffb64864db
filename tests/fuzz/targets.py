"""
One function for each thing that reads what others wrote: it takes any bytes, and fails where a promise is broken.

The promises: no other exception than the documented ones, a result that can be stored and shown, no more text about a
bad input than a few times the input. Hypothesis (test_targets.py) and libFuzzer (`make fuzz`) call them alike.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from service import configuration_file
from service.api import reading
from service.api.reading import NotUnderstood
from service.api.routes import Route
from service.api.table import ROUTES
from service.core import applications, certificates, device_config, endpoints, kura_messages, lifecycle, topics
from service.core.grants import Access, Grant, decide_acl
from service.core.messages import ID, Malformed, is_text, parse_ask, parse_status
from service.core.problems import InvalidInput, Problem
from service.core.verdicts import Denied
from service.import_file import FORMATS, Reader
from service.mqtt import kura_payload
from service.mqtt.kura_payload import READ_LIMIT, Unreadable
from service.operations.questions import AclQuestion
from service.web import hooks, plugin
from tests.support.raw_http import FORM, JSON

Target = Callable[[bytes], None]
PROVISION = "provision"
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
LARGEST_TEXT = 4096


def storable(value: object) -> bool:
    """Postgres keeps no NUL, UTF-8 no lone surrogate, JSON no NaN."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    has_nul = "\\u0000" in text.replace("\\\\", "")  # of two backslashes the first is none of JSON's
    return not has_nul and text.encode("utf-8").decode() == text


def check_problems(problems: Iterable[Problem], data: bytes) -> None:
    """They can be sent and printed, and a small input has no large ones."""
    found = list(problems)
    for problem in found:
        msgspec.json.encode([problem.field, problem.rule, problem.text])
        assert len(problem.field) + len(problem.text) <= LARGEST_TEXT, problem.rule
    assert len(found) <= 2 * len(data) + 20


def check_ask(data: bytes) -> None:
    """The JSON wire: both messages."""
    ask, status = parse_ask(data), parse_status(data)
    if isinstance(ask, Malformed):
        assert ask.id is None or ID.fullmatch(ask.id)
    else:
        assert storable([ask.id, ask.activation_key, dict(ask.device)])
    if not isinstance(status, Malformed):
        assert storable([status.run, status.step, status.detail])


def check_kura_payload(data: bytes) -> None:
    """Kura's payload, and every message that is made of one."""
    try:
        payload = kura_payload.decode(data)
    except Unreadable:
        return
    assert len(payload.body) + sum(map(len, payload.metrics)) <= READ_LIMIT
    prov = kura_messages.parse_prov(payload.metrics)
    if not isinstance(prov, Malformed):
        assert storable([prov.username, prov.activation_key, prov.certificate_version])
    reply = kura_messages.parse_reply("r", payload.metrics)
    if not isinstance(reply, Malformed):
        assert storable([reply.code, reply.text])
    for resource in ("download", "install"):
        notice = kura_messages.parse_notify(resource, payload.metrics)
        if not isinstance(notice, Malformed):
            assert storable([notice.job_id, notice.text])
    birth = lifecycle.read_birth(payload.metrics)
    assert storable(birth)
    assert len(json.dumps(birth)) <= lifecycle.BIRTH_BYTES


def check_kura_topic(data: bytes) -> None:
    """Whatever a topic is made of, it names nobody else than its level does."""
    topic = data.decode("utf-8", "surrogateescape")
    ours = kura_messages.parse_topic(topic, PROVISION)
    if ours is not None:
        assert topic.split("/")[1] == PROVISION
        assert ours.client_id in topic
    life = lifecycle.parse_topic(topic)
    if life is not None:
        assert topic == f"$EDC/{life.account}/{life.client_id}/MQTT/{life.said.value}"


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5, section 4.7, level by level; said otherwise than in core/topics.py."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted, given = topic_filter.split("/"), topic.split("/")
    while wanted:
        head = wanted.pop(0)
        if head == "#":
            return True
        if not given or (head != "+" and head != given[0]):
            return False
        given.pop(0)
    return not given


def check_topics(data: bytes) -> None:
    """Filters of three lines: what the first covers of the second, it matches of the third."""
    wide, narrow, topic, *_ = [*data.decode("utf-8", "surrogateescape").split("\n"), "", "", ""]
    assert isinstance(topics.is_filter(wide), bool)
    if topics.is_topic(topic) and topics.is_filter(wide):
        assert topics.covers(wide, topic) == matches(wide, topic)
        if topics.is_filter(narrow) and topics.covers(wide, narrow) and matches(narrow, topic):
            assert matches(wide, topic)
    for acc in (-1, 0, 1, 2, 3, 4, 5, 7, 255):
        grants = [Grant(filter="a/+/b", accesses=frozenset(Access))]
        decision = decide_acl(grants, acc, topic)
        assert isinstance(decision, Denied) or (acc in (1, 2, 4) and topics.covers("a/+/b", topic))


def check_configuration(data: bytes) -> None:
    """An additional device configuration: JSON, or Kura's XML."""
    configuration, problems = configuration_file.read(data)
    check_problems(problems, data)
    if not problems:
        document = device_config.to_document(configuration)
        assert storable(document)
        assert device_config.from_document(json.loads(json.dumps(document))) == configuration


def check_applications(data: bytes) -> None:
    """The list of packages."""
    found, problems = applications.parse(data)
    check_problems([*problems, *applications.check_applications(found)], data)


@cache
def empty_folder() -> Path:
    """Where the files that rows name are not."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def check_import(data: bytes) -> None:
    """An import file, in both formats."""
    for format_ in FORMATS:
        reader = Reader(file=io.BytesIO(data), format=format_, folder=empty_folder())
        try:
            reader.columns()
            for read in reader.rows():
                check_problems(read.problems, data)
                assert (read.row is None) == bool(read.problems)
                assert read.row is None or is_text(read.row.new.client_id, len(data))
        except InvalidInput as invalid:
            check_problems(invalid.problems, data)


_DECODERS: tuple[msgspec.json.Decoder[Any], ...] = tuple(map(msgspec.json.Decoder, (hooks._User, AclQuestion)))


def check_hook_body(data: bytes) -> None:
    """What brokers ask, in both modes, and what our plugin asks beyond it."""
    for mode in (JSON, FORM):
        for decoder in _DECODERS:
            body = hooks.parse_body(data, mode, decoder)
            assert body is None or all(
                value is None or is_text(value.replace("\0", ""), len(data))
                for value in (getattr(body, name, None) for name in ("username", "client_id", "topic", "password"))
            )
    for kind in (plugin.Clients, plugin.Reports):
        with contextlib.suppress(ValueError, RecursionError):
            msgspec.json.decode(data, type=kind)


@cache
def routes_with_bodies() -> list[Route]:
    """Of the administrators' API."""
    return [route for route in ROUTES if route.body is not None]


def check_api_body(data: bytes) -> None:
    """Every body of the administrators' API."""
    for route in routes_with_bodies():
        try:
            reading.read_body(route, data)
        except NotUnderstood:
            pass
        except InvalidInput as invalid:
            check_problems(invalid.problems, data)


def check_names(data: bytes) -> None:
    """URLs and certificates that administrators give."""
    text = data.decode("utf-8", "surrogateescape")
    found = endpoints.check_endpoint(text)
    check_problems(found, data)
    if not found:
        scheme, host, port = endpoints.address(text)
        assert scheme in endpoints.DEFAULT_PORTS
        assert host
        assert 0 < port < 65536
    ca, problems = certificates.read_ca(text, NOW)
    check_problems(problems, data)
    if ca is not None:
        assert certificates.split(ca)
        certificates.expires_on(ca)


TARGETS: dict[str, Target] = {
    "ask": check_ask,
    "kura_payload": check_kura_payload,
    "kura_topic": check_kura_topic,
    "topics": check_topics,
    "configuration": check_configuration,
    "applications": check_applications,
    "import": check_import,
    "hook_body": check_hook_body,
    "api_body": check_api_body,
    "names": check_names,
}

if __name__ == "__main__":
    print(*TARGETS)
