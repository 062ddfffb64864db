"""What a Kura gateway gets: the additional configuration, and last the generated part, which always wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.configuration_file import read
from service.core import device_config, kura_xml
from service.core.device_config import OVERRIDDEN, TRANSPORT, Configuration, Value
from service.core.kura_configuration import AUTO_CONNECT, DATA_SERVICE, merge_for_kura
from tests.support import kura_snapshot

GENERATED = {
    "endpoint": "mqtts://broker.example:8883",
    "account": "acme",
    "client_id": "gw-1",
    "username": "d-user",
    "password": "p" * 43,
}
FIVE = {
    "broker-url": Value(type="String", clear="mqtts://broker.example:8883"),
    "topic.context.account-name": Value(type="String", clear="acme"),
    "client-id": Value(type="String", clear="gw-1"),
    "username": Value(type="String", clear="d-user"),
    "password": Value(type="Password", clear="p" * 43),
}
ON = {AUTO_CONNECT: Value(type="Boolean", clear=True)}


def merge(configuration: Configuration) -> Configuration:
    return merge_for_kura(configuration, **GENERATED)


def text(value: str) -> Value:
    return Value(type="String", clear=value)


def test_nothing_added() -> None:
    merged = merge({})
    assert merged == {DATA_SERVICE: ON, TRANSPORT: FIVE}
    assert list(merged) == [DATA_SERVICE, TRANSPORT]
    assert list(merged[TRANSPORT]) == list(FIVE)


def test_the_generated_part_comes_last_and_the_rest_in_order() -> None:
    merged = merge(
        {TRANSPORT: {"z": text("1"), "a": text("2")}, "z": {"b": text("3"), "a": text("4")}, DATA_SERVICE: {}, "a": {}}
    )
    assert list(merged) == ["a", "z", DATA_SERVICE, TRANSPORT]
    assert list(merged["z"]) == ["a", "b"]
    assert list(merged[TRANSPORT]) == ["a", "z", *FIVE]


cased = st.sampled_from(sorted(OVERRIDDEN)).flatmap(
    lambda name: st.lists(st.booleans(), min_size=len(name), max_size=len(name)).map(
        lambda up: "".join(c.upper() if u else c for c, u in zip(name, up, strict=True))
    )
)
transports = st.sampled_from([TRANSPORT, TRANSPORT.upper(), TRANSPORT + "-2", f" {TRANSPORT}"])


@given(st.lists(st.tuples(transports, cased | st.just("keep"))))
def test_the_five_win_whatever_case_or_instance(given: list[tuple[str, str]]) -> None:
    configuration: dict[str, dict[str, Value]] = {}
    for component, name in given:
        configuration.setdefault(component, {})[name] = text("theirs")
    merged = merge(configuration)
    found = {(c, n): v for c, parameters in merged.items() for n, v in parameters.items() if n.lower() in OVERRIDDEN}
    assert found == {(TRANSPORT, name): value for name, value in FIVE.items()}
    kept = {c for c, parameters in merged.items() if "keep" in parameters}
    assert kept == {component for component, name in given if name == "keep"}


@pytest.mark.parametrize("name", [AUTO_CONNECT, AUTO_CONNECT.upper()])
def test_auto_connect_is_on(name: str) -> None:
    off = {DATA_SERVICE: {name: Value(type="Boolean", clear=False), "other": text("x")}}
    assert merge(off)[DATA_SERVICE] == {"other": text("x"), **ON}


@pytest.mark.parametrize("endpoint", ["mqtt://h:1", "mqtts://h", "ws://h/mqtt", "wss://h:443/mqtt"])
def test_the_endpoint_goes_as_it_is(endpoint: str) -> None:
    merged = merge_for_kura({}, **{**GENERATED, "endpoint": endpoint})
    assert merged[TRANSPORT]["broker-url"] == text(endpoint)


def test_a_snapshot_is_sent_as_it_was_but_for_what_is_generated() -> None:
    """Through XML, storage and XML again."""
    snapshot, problems = read(kura_snapshot.write())
    assert problems == []
    stored = device_config.from_document(device_config.to_document(device_config.without_overridden(snapshot)))
    sent, problems = read(kura_xml.render(merge(stored)))
    assert problems == []
    assert {name: sent[TRANSPORT][name] for name in FIVE} == FIVE
    assert sent[DATA_SERVICE][AUTO_CONNECT] == ON[AUTO_CONNECT]

    def rest(configuration: Configuration) -> dict[str, dict[str, Value]]:
        return {
            c: {n: v for n, v in parameters.items() if not (c == TRANSPORT and n in FIVE) and n != AUTO_CONNECT}
            for c, parameters in configuration.items()
        }

    assert rest(sent) == rest(snapshot)
    assert sum(map(len, rest(sent).values())) > 150
