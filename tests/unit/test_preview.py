"""Previews: what would be sent, secrets hidden, what provisioning overrides marked; and how two differ."""

from __future__ import annotations

import dataclasses
from typing import Any

from service.configuration_file import read
from service.core import kura_xml
from service.core.device_config import OVERRIDDEN, TRANSPORT, Value
from service.core.kura_configuration import AUTO_CONNECT, DATA_SERVICE
from service.core.preview import HIDDEN, Difference, Preview, differences, hide

SECRET = Value(type="Password", sealed="k1.canary")
CONFIGURATION = {
    "c": {"a": Value(type="String", clear="x"), "pin": SECRET, "n": Value(type="Long", clear=2**60)},
    TRANSPORT: {"keep-alive": Value(type="Integer", clear=30)},
}
APPLICATION = {"name": "heater", "version": "1", "url": "https://h/x", "sha256": "ab" * 32, "size": 1}


def preview(wire: str = "json", **changes: Any) -> Preview:
    made = Preview(
        account="acme",
        client_id="gw-1",
        endpoint="mqtt://b:1",
        wire=wire,
        configuration=hide(CONFIGURATION),
        applications=[APPLICATION],
    )
    return dataclasses.replace(made, **changes)


def test_as_json() -> None:
    document = preview().to_json()
    assert document["connection"] == {
        "endpoint": "mqtt://b:1", "account": "acme", "client_id": "gw-1", "username": HIDDEN, "password": HIDDEN,
    }  # fmt: skip
    assert document["configuration"] == {"c": {"a": "x", "pin": HIDDEN, "n": str(2**60)}, TRANSPORT: {"keep-alive": 30}}
    assert document["applications"] == [APPLICATION]
    assert {name.replace("client-id", "clientid") for name in document["overridden"][TRANSPORT]} | {"client-id"} == (
        OVERRIDDEN
    )
    for place in document["overridden"][TRANSPORT].values():
        part, _, name = place.partition(".")
        assert name in document[part]


def test_as_kura_xml() -> None:
    xml = preview("kura").to_xml()
    assert xml.count(kura_xml.MARK.encode()) == 6
    assert b"canary" not in xml
    configuration, problems = read(xml)
    assert problems == []
    assert configuration["c"]["pin"] == Value(type="Password", clear=HIDDEN)
    assert configuration[TRANSPORT]["password"] == Value(type="Password", clear=HIDDEN)
    assert configuration[TRANSPORT]["username"] == Value(type="String", clear=HIDDEN)
    assert configuration[TRANSPORT]["broker-url"] == Value(type="String", clear="mqtt://b:1")
    assert configuration[DATA_SERVICE][AUTO_CONNECT] == Value(type="Boolean", clear=True)
    assert preview("kura").overridden.keys() == {DATA_SERVICE, TRANSPORT}


def test_the_same_does_not_differ() -> None:
    for wire in ("json", "kura"):
        assert differences(preview(wire), preview(wire)) == ([], [("c", "pin")])


def test_each_difference_is_named() -> None:
    other = preview(
        client_id="gw-2",
        configuration=hide({"c": {"a": Value(type="String", clear="y"), "new": SECRET}, TRANSPORT: {}}),
        applications=[],
    )
    differ, untold = differences(preview(), other)
    assert untold == []
    hidden = {"type": "Password", "value": HIDDEN}
    assert differ == [
        Difference(component="applications", parameter="1", this=APPLICATION, other=None),
        Difference(
            component="c", parameter="a", this={"type": "String", "value": "x"}, other={"type": "String", "value": "y"}
        ),
        Difference(component="c", parameter="n", this={"type": "Long", "value": 2**60}, other=None),
        Difference(component="c", parameter="new", this=None, other=hidden),
        Difference(component="c", parameter="pin", this=hidden, other=None),
        Difference(component="connection", parameter="client_id", this="gw-1", other="gw-2"),
        Difference(component=TRANSPORT, parameter="keep-alive", this={"type": "Integer", "value": 30}, other=None),
    ]


def test_for_kura_the_connection_is_in_the_transport() -> None:
    differ, _ = differences(preview("kura"), preview("kura", endpoint="wss://b/x"))
    assert [(each.component, each.parameter) for each in differ] == [(TRANSPORT, "broker-url")]


def test_the_username_and_password_of_each_run_are_no_difference() -> None:
    """Also where one side alone has them in its configuration, as Kura does."""
    assert [
        (each.component, each.parameter)
        for each in differences(preview("json"), preview("kura"))[0]
        if each.component in ("connection", TRANSPORT)
    ] == [
        ("connection", "account"),
        ("connection", "client_id"),
        ("connection", "endpoint"),
        (TRANSPORT, "broker-url"),
        (TRANSPORT, "client-id"),
        (TRANSPORT, "topic.context.account-name"),
    ]
