"""The hooks over raw sockets, asked as mosquitto-go-auth asks (brokers.md sections 1 and 6)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from service.db.pool import Unavailable
from service.keys import new_secret
from service.operations import users
from service.web.hooks import KEEPALIVE
from tests.support.gate import READ, SUBSCRIBE, WRITE
from tests.support.hooks_server import HooksServer, serving
from tests.support.raw_http import FORM, JSON, Client, encode, request_bytes
from tests.support.scene import ACCOUNT, PROVISION, Device, Scene

ALLOWED = (200, b'{"ok":true}')
DENIED = (403, b'{"ok":false,"error":"not authorised"}')
UNAVAILABLE = (503, b'{"ok":false,"error":"unavailable"}')


async def both(client: Client, route: str, fields: dict[str, Any]) -> tuple[int, bytes]:
    """The answer, which must be the same in both modes."""
    answers = [await client.ask(route, fields, mode=mode) for mode in (JSON, FORM)]
    assert len({(answer.status, answer.body) for answer in answers}) == 1, (route, fields)
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    return answers[0].status, answers[0].body


def test_requests_are_go_auths() -> None:
    """Byte for byte as they were seen on the wire."""
    assert encode({"username": "u1", "password": "p1", "clientid": "c1"}, JSON) == (
        b'{"clientid":"c1","password":"p1","username":"u1"}'
    )
    fields = {"username": "u1", "clientid": "c1", "topic": "a/#", "acc": 4}
    assert encode(fields, JSON) == b'{"acc":4,"clientid":"c1","topic":"a/#","username":"u1"}'
    assert encode(fields, FORM) == b"acc=4&clientid=c1&topic=a%2F%23&username=u1"
    assert request_bytes("/hooks/user", b"{}", mode=JSON, authorization="Basic eDp5", port=80) == (
        b"POST /hooks/user HTTP/1.1\r\nHost: 127.0.0.1:80\r\nUser-Agent: mosquitto-2.0.21\r\nContent-Length: 2\r\n"
        b"Authorization: Basic eDp5\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{}"
    )


async def test_user(hooks_server: HooksServer) -> None:
    """Right pair allowed; wrong password, unknown user, another client id denied; each kind at its own brokers."""
    scene = hooks_server.scene
    device: Device = await scene.run("gw-1")
    await scene.request("gw-2", provision_password="Another-Password")
    factory, password = device.factory_username, device.factory_password
    questions = [
        (PROVISION, (factory, password, "gw-1"), ALLOWED),
        (PROVISION, (factory, password + "x", "gw-1"), DENIED),
        (PROVISION, (factory, password[:-1], "gw-1"), DENIED),
        (PROVISION, (factory, password, "gw-2"), DENIED),
        (PROVISION, (factory, password, "gw-3"), DENIED),
        (PROVISION, (factory.upper(), password, "gw-1"), DENIED),
        (PROVISION, (factory, password, "GW-1"), DENIED),
        (PROVISION, ("factory-gw-2", password, "gw-2"), DENIED),
        (PROVISION, ("nobody", password, "gw-1"), DENIED),
        (PROVISION, (device.username, device.password, "gw-1"), DENIED),
        (ACCOUNT, (factory, password, "gw-1"), DENIED),
        (ACCOUNT, (device.username, device.password, "gw-2"), DENIED),
        (ACCOUNT, (device.username, password, "gw-1"), DENIED),
        (ACCOUNT, (device.username, device.password, "gw-1"), ALLOWED),
        (ACCOUNT, (device.username, device.password, "gw-2"), DENIED),
    ]
    for broker, (username, secret, client_id), expected in questions:
        async with hooks_server.client(broker) as client:
            fields = {"username": username, "password": secret, "clientid": client_id}
            assert await both(client, "user", fields) == expected, (broker, username, client_id)


ACL = [
    ("prov/v1/gw-1/request", WRITE, True),
    ("prov/v1/gw-1/status", WRITE, True),
    ("prov/v1/gw-1/reply", READ, True),
    ("prov/v1/gw-1/reply", SUBSCRIBE, True),
    ("prov/v1/gw-1/request", READ, False),
    ("prov/v1/gw-1/request", SUBSCRIBE, False),
    ("prov/v1/gw-1/reply", WRITE, False),
    ("prov/v1/gw-2/request", WRITE, False),
    ("prov/v1/gw-2/reply", SUBSCRIBE, False),
    ("prov/v1/gw-1/request/more", WRITE, False),
    ("prov/v1/gw-1", WRITE, False),
    ("/prov/v1/gw-1/request", WRITE, False),
    ("prov/v1/gw-1/request/", WRITE, False),
    ("prov/v1/+/reply", SUBSCRIBE, False),
    ("prov/v1/gw-1/#", SUBSCRIBE, False),
    ("#", SUBSCRIBE, False),
    ("+/+/+/+", SUBSCRIBE, False),
    ("$share/g/prov/v1/gw-1/reply", SUBSCRIBE, False),
    ("$SYS/#", SUBSCRIBE, False),
    ("$SYS/broker/uptime", READ, False),
    ("$CONTROL/dynamic-security/v1", WRITE, False),
    ("prov/v1/gw-1/reply", 0, False),
    ("prov/v1/gw-1/reply", 3, False),
    ("prov/v1/gw-1/reply", 5, False),
    ("prov/v1/gw-1/reply", 8, False),
    ("prov/v1/gw-1/reply", -1, False),
    ("prov/v1/gw-1/reply", 2**40, False),
    ("a b/'\"<>&;=%", WRITE, False),
    ("prov/v1/gw-1/réply", READ, False),
    ("x" * 65_000, WRITE, False),
    ("", WRITE, False),
]


async def test_acl(hooks_server: HooksServer) -> None:
    """Exact topic, user, client id and access allowed; another of any of them denied."""
    device = await hooks_server.scene.request("gw-1")
    await hooks_server.scene.request("gw-2")
    async with hooks_server.client(PROVISION) as client:
        for topic, acc, allowed in ACL:
            fields = {"username": device.factory_username, "clientid": "gw-1", "topic": topic, "acc": acc}
            assert await both(client, "acl", fields) == (ALLOWED if allowed else DENIED), (topic, acc)
            for change in ({"clientid": "gw-2"}, {"username": "factory-gw-2"}, {"username": "nobody"}):
                if topic.startswith("prov/v1/gw-1"):
                    assert await both(client, "acl", {**fields, **change}) == DENIED, (topic, acc, change)


async def test_nobody_is_a_superuser(hooks_server: HooksServer) -> None:
    device = await hooks_server.scene.request()
    await users.put_responder_password(hooks_server.scene.admin)
    for broker in (PROVISION, ACCOUNT):
        async with hooks_server.client(broker) as client:
            for username in (device.factory_username, "nobody", "~responder", "~takeover", "admin", ""):
                assert await both(client, "superuser", {"username": username}) == DENIED
    assert hooks_server.scene.gate.store.calls.count("facts") == 0


async def test_the_responder_logs_in(hooks_server: HooksServer) -> None:
    """With its own client id, on every broker."""
    password = await users.put_responder_password(hooks_server.scene.admin)
    for broker, client_id, secret, expected in (
        (PROVISION, "~responder", password, ALLOWED),
        (PROVISION, "~responder", new_secret(), DENIED),
        (PROVISION, "gw-1", password, DENIED),
        (ACCOUNT, "~responder", password, ALLOWED),
        (ACCOUNT, "~responder", new_secret(), DENIED),
    ):
        async with hooks_server.client(broker) as client:
            fields = {"username": "~responder", "password": secret, "clientid": client_id}
            assert await both(client, "user", fields) == expected


async def test_what_our_plugin_adds_is_no_trouble(hooks_server: HooksServer) -> None:
    """Address, protocol and session; of a session that is not clean the provision broker's devices are refused."""
    device = await hooks_server.scene.request()
    fields: dict[str, Any] = {
        "username": device.factory_username, "password": device.factory_password, "clientid": "gw-1",
        "address": "192.0.2.1", "protocol": 5, "unknown": ["x", {"y": None}],
    }  # fmt: skip
    async with hooks_server.client(PROVISION) as client:
        for clean, expected in ((True, ALLOWED), (False, DENIED)):
            answer = await client.ask("user", {**fields, "clean": clean})
            assert (answer.status, answer.body) == expected


async def test_200_questions_on_one_connection(hooks_server: HooksServer) -> None:
    device = await hooks_server.scene.request()
    async with hooks_server.client(PROVISION) as client:
        for number in range(200):
            mode = JSON if number % 3 else FORM
            if number % 2:
                answer = await client.user(device.factory_username, device.factory_password, "gw-1", mode=mode)
            else:
                answer = await client.acl(device.factory_username, "gw-1", "prov/v1/gw-1/reply", READ, mode=mode)
            assert (answer.status, answer.body) == ALLOWED
            assert answer.headers.get("connection", "keep-alive").lower() != "close"


async def test_a_refused_question_does_not_close_the_connection(hooks_server: HooksServer) -> None:
    """go-auth does not repeat a POST on a connection that we close."""
    device = await hooks_server.scene.request()
    async with hooks_server.client(PROVISION) as client:
        for body in (b"", b"{", b"\xff", b"x" * 600_000, b"[" * 60_000):
            assert (await client.ask("user", body)).status == 403
            assert (await client.ask("nothing", b"{}")).status == 404
            assert (await client.user(device.factory_username, device.factory_password, "gw-1")).status == 200
        assert (await client.ask("user", b"x" * 600_000, authorization="Basic eDp5")).status == 401
        assert (await client.user(device.factory_username, device.factory_password, "gw-1")).status == 200


async def test_an_idle_connection_is_kept_for_an_hour(scene: Scene) -> None:
    """It closes in the end, and then another one is as good; a shorter time is set here to see it."""
    assert KEEPALIVE >= 3600
    device = await scene.request()
    async with serving(scene, keepalive=0.2) as server:
        async with server.client(PROVISION) as client:
            assert (await client.user(device.factory_username, device.factory_password, "gw-1")).status == 200
            assert await client.reader.read() == b""
        async with server.client(PROVISION) as client:
            assert (await client.user(device.factory_username, device.factory_password, "gw-1")).status == 200


async def test_trouble_is_503(hooks_server: HooksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it passes or not, without a word about it, on a connection that stays."""
    device = await hooks_server.scene.request()
    asked: list[Exception] = [Unavailable("x"), RuntimeError("a secret"), KeyError("a secret"), OSError("a secret")]

    async def fail(*_: object) -> None:
        raise asked[0]

    monkeypatch.setattr(hooks_server.scene.gate.store, "facts", fail)
    async with hooks_server.client(PROVISION) as client:
        while asked:
            for answer in (
                await client.user(device.factory_username, device.factory_password, "gw-1"),
                await client.acl(device.factory_username, "gw-1", "prov/v1/gw-1/reply", READ),
            ):
                assert (answer.status, answer.body) == UNAVAILABLE
            asked.pop(0)


async def test_many_brokers_at_once(hooks_server: HooksServer) -> None:
    """Each connection gets its own answers."""
    scene = hooks_server.scene
    device = await scene.provision()

    async def broker(number: int) -> None:
        async with hooks_server.client(ACCOUNT) as client:
            for step in range(10):
                wrong = (number + step) % 2
                answer = await client.user(device.username, device.password + "x" * wrong, "gw-1")
                assert json.loads(answer.body)["ok"] is not bool(wrong)

    await asyncio.gather(*(broker(number) for number in range(8)))


@pytest.mark.parametrize("character", ["x", "<", "é", "\x7f", "\U0001f600"])
async def test_topics_as_long_as_mqtt_has_them(hooks_server: HooksServer, character: str) -> None:
    """However a plugin escapes them in its question."""
    scene = hooks_server.scene
    device = await scene.provision("gw-1")
    start = "acme/gw-1/"
    times, left = divmod(65_535 - len(start), len(character.encode()))
    longest = start + character * times + "x" * left
    async with hooks_server.client(ACCOUNT) as client:
        for topic, expected in ((longest, ALLOWED), (longest + "x", DENIED)):
            fields = {"username": device.username, "clientid": "gw-1", "topic": topic, "acc": WRITE}
            assert await both(client, "acl", fields) == expected
            escaped = json.dumps(fields).encode()
            answer = await client.ask("acl", escaped)
            assert (answer.status, answer.body) == expected
