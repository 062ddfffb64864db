"""`provision request preview`: what would be sent, on either wire, and how two requests differ."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.core import kura_xml
from service.core.device_config import TRANSPORT, Value
from service.operations.administration import Administration
from tests.support.command import INVALID, Program, contents
from tests.support.database import ENDPOINT, Database, make_account, make_request
from tests.support.desk import ask
from tests.support.faces import on_database
from tests.support.scene import Scene

APPLICATION = {"name": "heater", "version": "1", "url": "https://h/x", "sha256": "ab" * 32, "size": 5}
CONFIGURATION = {
    "org.example.Modem": {
        "apn": Value(type="String", clear="iot"),
        "pin": Value(type="Password", clear="1234-canary"),
        "odd": Value(type="String", clear="\u202e\x9b[31m"),
    },
    TRANSPORT: {"BROKER-URL": Value(type="String", clear="mqtt://theirs"), "keep-alive": Value(type="Short", clear=30)},
}


@pytest.fixture
async def command(admin: Administration, database: Database, program: Program) -> Program:
    await make_account(admin)
    await make_request(admin, additional_device_configuration=CONFIGURATION, applications=[APPLICATION])
    return program


async def test_json_as_it_would_be_sent(scene: Scene, database: Database, program: Program) -> None:
    """Compared with what is sent then."""
    await scene.request("gw-1", additional_device_configuration=CONFIGURATION, applications=[APPLICATION])
    done = await program.process("request", "preview", "gw-1")
    assert "canary" not in done.out
    previewed = json.loads(done.out)
    sent = await ask(scene.desk, "gw-1")
    assert sent["configuration"]["org.example.Modem"].pop("pin") == "1234-canary"
    assert previewed["configuration"]["org.example.Modem"].pop("pin") == "***"
    for secret in ("username", "password"):
        assert sent["connection"].pop(secret) != previewed["connection"].pop(secret) == "***"
    assert {part: previewed[part] for part in ("connection", "configuration", "applications")} == {
        part: sent[part] for part in ("connection", "configuration", "applications")
    }
    assert previewed["overridden"][TRANSPORT]["broker-url"] == "connection.endpoint"


async def test_xml_as_it_would_be_sent(command: Program, database: Database) -> None:
    before = await contents(database)
    done = await command.process("request", "preview", "gw-1", "--wire", "kura")
    assert done.err == ""
    assert "canary" not in done.out
    assert "theirs" not in done.out
    assert done.out.isascii()
    assert f'{kura_xml.MARK}\n      <esf:property name="broker-url"' in done.out
    assert f"<esf:value>{ENDPOINT}</esf:value>" in done.out
    document = (await command("request", "preview", "gw-1", "--wire", "kura", "--json")).json()
    assert (document["account"], document["client_id"], document["wire"]) == ("acme", "gw-1", "kura")
    assert document["answer"].encode("ascii", "xmlcharrefreplace").decode() == done.out
    assert document["applications"] == [APPLICATION]
    assert len(document["overridden"][TRANSPORT]) == 5
    assert 500 < document["bytes"] < document["limit"] == 49_152
    assert await contents(database) == before


@on_database
async def test_an_answer_that_is_too_long_by_now_is_told(command: Program) -> None:
    for wire in ("json", "kura"):
        document = (await command("request", "preview", "gw-1", "--wire", wire, "--json")).json()
        done = await command("request", "preview", "gw-1", "--wire", wire)
        assert done.err == ""
    long = {"c": {str(n): "\u2028" * 900 for n in range(4)}}
    await command("request", "change", "gw-1", "--configuration", "-", stdin=json.dumps(long))
    done = await command("request", "preview", "gw-1", PROVISION_ANSWER_LIMIT="4096")
    assert done.err.startswith("gw-1: the answer has ")
    assert done.err.endswith(" bytes, at most 4096 are sent\n")
    assert document["bytes"] > 0


async def test_how_two_differ(command: Program, admin: Administration) -> None:
    other = {"org.example.Modem": {**CONFIGURATION["org.example.Modem"], "apn": Value(type="String", clear="private")}}
    await make_request(admin, "gw-2", additional_device_configuration=other)
    document = (await command("request", "preview", "gw-1", "--diff", "gw-2", "--json")).json()
    assert document.pop("secret_on_both_sides") == [{"component": "org.example.Modem", "parameter": "pin"}]
    differ: list[dict[str, Any]] = document.pop("differences")
    assert document == {"account": "acme", "client_id": "gw-1", "other": "gw-2", "wire": "json"}
    assert [(each["component"], each["parameter"]) for each in differ] == [
        ("applications", "1"), ("connection", "client_id"), (TRANSPORT, "keep-alive"), ("org.example.Modem", "apn"),
    ]  # fmt: skip
    assert differ[-1]["this"] == {"type": "String", "value": "iot"}
    done = await command.process("request", "preview", "gw-1", "--diff", "gw-2", "--wire", "kura")
    assert done.err == "org.example.Modem.pin is secret on both sides, and not compared\n"
    lines = done.out.splitlines()
    assert lines[0].split() == ["component", "parameter", "this", "other"]
    assert ["org.example.Modem", "apn", "iot", "private"] in [line.split() for line in lines]
    assert [TRANSPORT, "client-id", "gw-1", "gw-2"] in [line.split() for line in lines]
    done = await command("request", "preview", "gw-1", "--diff", "gw-1")
    assert done.out == "nothing differs\n"


async def test_previews_of_nothing(command: Program) -> None:
    for words in (("gw-9",), ("gw-1", "--diff", "gw-9"), ("gw-9", "--account", "other"), ("\udcff",)):
        done = await command("request", "preview", *words, "--json", status=INVALID)
        assert done.out == ""
    done = await command("request", "preview", "gw-9", "--json", status=INVALID, PROVISION_ACCOUNT="")
    assert done.problems() == {("client_id", "not_found")}
    assert (await command("request", "preview", "gw-1", PROVISION_ACCOUNT="")).json()["connection"]["account"] == "acme"
    await command("request", "preview", "gw-1", "--wire", "coap", status=INVALID)
