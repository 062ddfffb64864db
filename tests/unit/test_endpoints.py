"""Provision endpoints: what a device can make sense of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.endpoints import address, check_endpoint
from tests.unit.strategies import any_text

TOO_LONG = "must be a URL of at most 512 printable ASCII characters"
SCHEME = "must begin with mqtt://, mqtts://, ws:// or wss://"
HOST = "must be a URL with a host and, if any, a port from 1 to 65535"
USER = "must not contain a user or a password"
PATH = "must have no query or fragment, and a path only with ws:// or wss://"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("mqtt://broker", ("mqtt", "broker", 1883)),
        ("mqtts://broker.example", ("mqtts", "broker.example", 8883)),
        ("mqtt://broker/", ("mqtt", "broker", 1883)),
        ("mqtt://broker:1", ("mqtt", "broker", 1)),
        ("mqtts://broker:65535", ("mqtts", "broker", 65535)),
        ("mqtt://192.0.2.1:1883", ("mqtt", "192.0.2.1", 1883)),
        ("mqtts://[2001:db8::1]:8884", ("mqtts", "2001:db8::1", 8884)),
        ("ws://broker/mqtt", ("ws", "broker", 80)),
        ("wss://broker/mqtt", ("wss", "broker", 443)),
        ("wss://broker:8443/mqtt", ("wss", "broker", 8443)),
    ],
)
def test_a_good_endpoint_has_an_address(url: str, parts: tuple[str, str, int]) -> None:
    assert check_endpoint(url) == []
    assert address(url) == parts


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", SCHEME),
        ("broker", SCHEME),
        ("broker:1883", SCHEME),
        ("//broker", SCHEME),
        ("http://broker", SCHEME),
        ("tcp://broker", SCHEME),
        ("mqttx://broker", SCHEME),
        ("javascript:alert(1)", SCHEME),
        ("mqtt:broker", HOST),
        ("mqtt://", HOST),
        ("mqtt:///path", HOST),
        ("mqtt://:1883", HOST),
        ("mqtt://broker:0", HOST),
        ("mqtt://broker:65536", HOST),
        ("mqtt://broker:-1", HOST),
        ("mqtt://broker:port", HOST),
        ("mqtt://broker:18:83", HOST),
        ("mqtt://[2001:db8::1", HOST),
        ("mqtt://user@broker", USER),
        ("mqtt://user:secret@broker", USER),
        ("mqtt://@broker", USER),
        ("mqtt://:@broker", USER),
        ("mqtt://broker/path", PATH),
        ("mqtts://broker/mqtt", PATH),
        ("mqtt://broker?x=1", PATH),
        ("wss://broker/mqtt?x=1", PATH),
        ("wss://broker/mqtt#x", PATH),
        ("mqtt://bröker", TOO_LONG),
        ("mqtt://bro ker", TOO_LONG),
        ("mqtt://broker\n", TOO_LONG),
        ("mqtt://broker\0", TOO_LONG),
        ("mqtt://bro\tker", TOO_LONG),
        ("mqtt://" + "x" * 506, TOO_LONG),
    ],
)
def test_a_bad_endpoint_is_one_problem(url: str, text: str) -> None:
    (problem,) = check_endpoint(url)
    assert (problem.field, problem.rule, problem.text) == ("provision_endpoint", "endpoint", text)


def test_an_endpoint_has_at_most_512_characters() -> None:
    assert check_endpoint("mqtt://" + "x" * 505) == []


def test_a_problem_names_the_field_it_is_about() -> None:
    assert [problem.field for problem in check_endpoint("x", "endpoints")] == ["endpoints"]


def test_a_problem_does_not_repeat_the_password() -> None:
    (problem,) = check_endpoint("mqtt://user:hunter2@broker")
    assert "hunter2" not in str(problem)


@given(st.one_of(any_text, st.from_regex(r"(mqtts?|wss?)://[^a-z]{0,12}")))
def test_any_text_can_be_checked(text: str) -> None:
    """Nothing raises, and what has no problem has an address."""
    if not check_endpoint(text):
        scheme, host, port = address(text)
        assert scheme in ("mqtt", "mqtts", "ws", "wss")
        assert host
        assert 1 <= port <= 65535
