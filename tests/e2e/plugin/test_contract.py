"""The requests, byte for byte, and what is never asked at all."""

from __future__ import annotations

import base64
import json

import pytest

from tests.e2e.mqtt_raw import AUTH, CONNACK, Client, Will, field, packet
from tests.e2e.plugin.broker import NAME, SECRET, Broker
from tests.e2e.plugin.conftest import StartBroker
from tests.e2e.plugin.hooks_stub import DENY, Hooks

own = pytest.mark.own_plugin
REFUSED = {4: 5, 5: 0x87}


@own
async def test_request_is_exact(start_broker: StartBroker, hooks: Hooks) -> None:
    """Every header and every byte, so that the contract does not change unknowingly."""
    await start_broker()
    (probe,) = hooks.questions
    assert probe.line == "POST /hooks/superuser HTTP/1.1"
    assert probe.headers == {
        "host": f"127.0.0.1:{hooks.port}",
        "authorization": "Basic " + base64.b64encode(f"{NAME}:{SECRET}".encode()).decode(),
        "user-agent": "mosquitto-provisioning",
        "content-type": "application/json",
        "accept": "application/json",
        "content-length": "21",
    }
    assert probe.body == b'{"username":"~probe"}'


@own
@pytest.mark.parametrize(("version", "clean"), [(4, True), (4, False), (5, True), (5, False)])
async def test_login_question(broker: Broker, hooks: Hooks, version: int, clean: bool) -> None:
    """The three facts of the contract, and our additions behind them."""
    await broker.client("c1", version=version, clean=clean)
    (question,) = hooks.questions
    assert question.line == "POST /hooks/user HTTP/1.1"
    assert question.credentials == f"{NAME}:{SECRET}"
    assert question.body.decode() == (
        '{"username":"u-c1","password":"pw","clientid":"c1","address":"127.0.0.1",'
        f'"protocol":{version},"clean":{json.dumps(clean)}}}'
    )


async def test_mqtt_3_1(broker: Broker, hooks: Hooks) -> None:
    """The oldest protocol that Mosquitto speaks."""
    async with await Client.open(broker.port) as client:
        old = field("MQIsdp") + b"\x03\xc2\0\x3c" + field("c1") + field("u") + field("p")
        await client.send(packet(1, old))
        connack = await client.read(CONNACK)
        assert connack is not None
        assert connack.body == b"\0\0"
    assert hooks.asked("user")[0].get("protocol", 3) == 3


async def test_access_questions(broker: Broker, hooks: Hooks) -> None:
    """4 for a filter, 2 for a message, 1 for each delivery; nothing for UNSUBSCRIBE, PINGREQ and DISCONNECT."""
    async with await broker.client("c1") as client:
        assert await client.subscribe("a/+/#", 1) == 1
        assert await client.publish("a/b", b"x", 1) == 0
        assert await client.message() is not None
        assert await client.unsubscribe("a/+/#")
        await client.disconnect()
    facts = {"username": "u-c1", "clientid": "c1"}
    assert hooks.asked("acl") == [
        {**facts, "topic": "a/+/#", "acc": 4},
        {**facts, "topic": "a/b", "acc": 2},
        {**facts, "topic": "a/b", "acc": 1},
    ]
    assert len(hooks.questions) == 4


@own
async def test_access_question_is_exact(broker: Broker, hooks: Hooks) -> None:
    """The bytes."""
    async with await broker.client("c1") as client:
        await client.subscribe("$share/g/a/#")
    assert hooks.questions[-1].line == "POST /hooks/acl HTTP/1.1"
    assert hooks.questions[-1].body == b'{"username":"u-c1","clientid":"c1","topic":"$share/g/a/#","acc":4}'


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("username", "password"),
    [(None, None), ("", None), ("", ""), ("", "p"), ("u", None), ("u", ""), ("u", "\0p")],
)
async def test_login_without_name_or_password(
    broker: Broker, hooks: Hooks, version: int, username: str | None, password: str | None
) -> None:
    """Refused at once, although these hooks would have said yes."""
    async with await Client.open(broker.port, version=version) as client:
        code = await client.connect("c1", username=username, password=password)
        assert code == REFUSED[version]
        assert not await client.ping()
    assert hooks.questions == []


async def test_password_without_username(broker: Broker, hooks: Hooks) -> None:
    """MQTT 5 allows it, the plugin does not."""
    async with await Client.open(broker.port, version=5) as client:
        assert await client.connect("c1", password="p") == 0x87
    assert hooks.questions == []


async def test_no_client_id(broker: Broker, hooks: Hooks) -> None:
    """Mosquitto makes one, and the hooks get to see it."""
    async with await Client.open(broker.port) as client:
        assert await client.connect("", username="u", password="p") == 0
    assert len(hooks.asked("user")[0]["clientid"]) > 20


async def test_nul_in_a_password(broker: Broker, hooks: Hooks) -> None:
    """Mosquitto 2.0 hands over C strings, so the hooks see what stands before the NUL."""
    async with await Client.open(broker.port) as client:
        await client.connect("c1", username="u", password=b"ab\0cd")
    assert hooks.asked("user")[0]["password"] == "ab"


@pytest.mark.parametrize("username", [b"u\0x", b"u\xff", b"u\xed\xa0\x80"])
async def test_bad_bytes_in_names(broker: Broker, hooks: Hooks, username: bytes) -> None:
    """The broker closes the connection before anybody is asked."""
    for client_id, name in ((b"c1", username), (username, b"u")):
        async with await Client.open(broker.port) as client:
            assert await client.connect(client_id, username=name, password="p") in (None, 2)
            assert not await client.ping()
    assert hooks.questions == []


@own
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("password", [b"\xff", b"\xfe", b"ok\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
async def test_password_that_is_not_utf8(broker: Broker, hooks: Hooks, password: bytes, version: int) -> None:
    """Refused here: JSON cannot carry it, and replacing bytes would make different passwords equal."""
    async with await Client.open(broker.port, version=version) as client:
        assert await client.connect("c1", username="u", password=password) == REFUSED[version]
    assert hooks.questions == []


@pytest.mark.parametrize(
    "text",
    ['"', "\\", '","ok":true,"x":"', "\\u0000", "é€😀", "\u2028\ufeff", "%u%c %s%n", "x" * 60000, "€" * 21000],
    ids=["quote", "backslash", "injection", "escape", "UTF-8", "separator", "percent", "60 kB", "63 kB of UTF-8"],
)
async def test_text_arrives_unchanged(broker: Broker, hooks: Hooks, text: str) -> None:
    """As password, username and topic."""
    async with await Client.open(broker.port) as client:
        assert await client.connect("c1", username=text, password=text) == 0
        assert await client.publish(text, qos=1) == 0
    assert (hooks.asked("user")[0]["username"], hooks.asked("user")[0]["password"]) == (text, text)
    assert hooks.asked("acl")[0]["topic"] == text


@own
async def test_every_control_character_in_a_password(broker: Broker, hooks: Hooks) -> None:
    """The body that carries them has none of them."""
    text = "".join(map(chr, range(1, 0x80)))
    async with await Client.open(broker.port) as client:
        assert await client.connect("c1", username="u", password=text) == 0
    assert hooks.asked("user")[0]["password"] == text
    assert min(hooks.questions[0].body) >= 0x20


@own
async def test_large_body_is_not_held_back(broker: Broker, hooks: Hooks) -> None:
    """No `Expect: 100-continue`: the stub does not answer it, and the broker would stand still for a second."""
    async with await Client.open(broker.port) as client:
        assert await client.connect("c1", username="u", password="x" * 60000) == 0
    assert "expect" not in hooks.questions[0].headers


@pytest.mark.parametrize("name", ["a+b", "a#b"])
async def test_wildcards_in_names(broker: Broker, hooks: Hooks, name: str) -> None:
    """The hooks decide about the login; every access is denied without them, by Mosquitto or by our plugin."""
    for client_id, username in ((name, "u"), ("c1", name)):
        async with await Client.open(broker.port) as client:
            assert await client.connect(client_id, username=username, password="p") == 0
            assert await client.subscribe("t") == 0x80
    assert hooks.asked("acl") == []


@pytest.mark.parametrize("allowed", [True, False])
async def test_will_is_checked_when_it_fires(broker: Broker, hooks: Hooks, allowed: bool) -> None:
    """Not at CONNECT; and it is checked as the client that left it."""
    watcher, other = await broker.client("watcher"), await broker.client("other")
    await watcher.subscribe("#")
    client = await Client.open(broker.port)
    assert await client.connect("c1", username="u", password="p", will=Will("w", b"x")) == 0
    assert {"username": "u", "clientid": "c1", "topic": "w", "acc": 2} not in hooks.asked("acl")
    if not allowed:
        hooks.deciding("acl", DENY, clientid="c1")
    client.close()
    while not any(question.get("clientid") == "c1" for question in hooks.asked("acl")):
        await other.ping()
    assert {"username": "u", "clientid": "c1", "topic": "w", "acc": 2} in hooks.asked("acl")
    assert await watcher.waiting_messages() == (["w"] if allowed else [])


async def test_extended_authentication(broker: Broker, hooks: Hooks) -> None:
    """An authentication method of MQTT 5 is refused: nobody asks for a password there, and nothing checks it."""
    async with await Client.open(broker.port, version=5) as client:
        method = b"\x15" + field("PLAIN") + b"\x16" + field("data")
        assert await client.connect("c1", username="u", password="p", properties=method) == 0x8C
        assert not await client.ping()
    assert hooks.questions == []


async def test_reauthentication(broker: Broker, hooks: Hooks) -> None:
    """An AUTH packet on a connection that began without a method ends it."""
    async with await broker.client("c1", version=5) as client:
        await client.send(packet(AUTH, b"\x19" + b"\x08\x15" + field("PLAIN")))
        assert not await client.ping()
    assert len(hooks.questions) == 1


async def test_second_connect(broker: Broker, hooks: Hooks) -> None:
    """Nobody changes who he is on a connection."""
    async with await broker.client("c1") as client:
        assert await client.connect("c2", username="u", password="p") is None
    assert len(hooks.asked("user")) == 1


async def test_retained_message(broker: Broker, hooks: Hooks) -> None:
    """A READ is asked for a retained message too."""
    async with await broker.client("p") as publisher:
        assert await publisher.publish("r", b"x", 1, retain=True) == 0
    hooks.deciding("acl", DENY, clientid="s", acc=1)
    async with await broker.client("s") as subscriber:
        assert await subscriber.subscribe("r") == 0
        assert await subscriber.waiting_messages() == []
    assert {"username": "u-s", "clientid": "s", "topic": "r", "acc": 1} in hooks.asked("acl")


async def test_control_topics(broker: Broker, hooks: Hooks) -> None:
    """$SYS is not writable whatever the hooks say; $CONTROL is theirs to refuse."""
    async with await broker.client("c1") as client:
        await client.publish("$SYS/x")
        await client.publish("$CONTROL/x")
    assert [question["topic"] for question in hooks.asked("acl")] == ["$CONTROL/x"]
