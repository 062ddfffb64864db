"""What cannot be read is denied: never a 5xx, never a trace, whatever is sent (D3)."""

from __future__ import annotations

from typing import Any

import pytest

from service.operations import users
from tests.support.gate import READ, WRITE
from tests.support.hooks_server import HooksServer
from tests.support.raw_http import FORM, JSON, Answer, encode
from tests.support.scene import ACCOUNT, PROVISION

USER: dict[str, Any] = {"username": "factory-gw-1", "password": "Factory-Password", "clientid": "gw-1"}
ACL: dict[str, Any] = {"username": "factory-gw-1", "clientid": "gw-1", "topic": "prov/v1/gw-1/reply", "acc": READ}
TEXTS = ("username", "password", "clientid", "topic")


def not_json() -> list[bytes]:
    """Bodies that are no JSON object with what is asked for."""
    return [
        b"", b" ", b"\0", b"{", b"}", b"{}", b"[]", b"null", b"true", b"1", b'""', b"NaN", b"nonsense", b"\xff\xfe",
        encode(USER, JSON)[:-1], encode(USER, JSON) + b"}", encode(USER, JSON) * 2, encode(USER, JSON) + b"\0",
        b"\xef\xbb\xbf" + encode(USER, JSON), encode(USER, JSON).replace(b"gw-1", b"\xff\xff"),
        encode(USER, JSON).replace(b"gw-1", b"\xed\xa0\x80"), encode(USER, JSON).replace(b"gw-1", b"gw\n-1"),
        encode(USER, JSON).replace(b'"', b"'"), encode(USER, JSON).replace(b",", b",,"), encode(USER, FORM),
        b"[" * 60_000, b'{"a":' * 10_000, b'{"username":' + b"[" * 50_000 + b"]" * 50_000, b"x" * 600_000,
        b'{"username":"' + b"x" * 600_000 + b'"}', b"9" * 60_000, b'{"x":' + b"9" * 60_000 + b"}", b"1e999999999",
        encode(USER, JSON).decode().encode("utf-16"), b'{"username":"\\ud800","password":"x","clientid":"gw-1"}',
        b'{"username":"factory-gw-1","password":"\\udfff\\ud800","clientid":"gw-1"}', b'{"username":"\\u12',
    ]  # fmt: skip


def not_form() -> list[bytes]:
    """Bodies that are no form with what is asked for, each thing once."""
    right = encode(USER, FORM)
    return [
        b"", b"&", b"=", b"===", b"username", b"username&password&clientid", b"\xff", b"%", b"%FF", b"x" * 600_000,
        right + b"&username=factory-gw-1", right + b"&clientid=gw-2", right + b"&password=x", right + b"&x=1&x=1",
        right.replace(b"gw-1", b"%FF"), right.replace(b"gw-1", b"%ED%A0%80"), right.replace(b"gw-1", b"gw-1%00"),
        right.replace(b"gw-1", b"\xc3\xa9"), right.replace(b"&", b";"), encode(USER, JSON), right[:-22],
        b"&".join(b"x%d=1" % number for number in range(1000)) + b"&" + right,
    ]  # fmt: skip


WRONG: tuple[Any, ...] = (None, 1, 1.5, True, [], ["factory-gw-1"], {}, {"$gt": ""})


def denied(answer: Answer) -> bool:
    """403 in the contract's words, and nothing else."""
    return (answer.status, answer.body) == (403, b'{"ok":false,"error":"not authorised"}')


@pytest.fixture
async def asked(hooks_server: HooksServer) -> HooksServer:
    """With a request that the right questions are about."""
    await hooks_server.scene.request()
    await users.put_responder_password(hooks_server.scene.admin)
    return hooks_server


async def test_what_is_no_body_is_denied(asked: HooksServer) -> None:
    async with asked.client(PROVISION) as client:
        assert (await client.ask("user", USER)).status == 200
        asked.scene.gate.store.calls.clear()
        for route in ("user", "acl"):
            for mode, bodies in ((JSON, not_json()), (FORM, not_form())):
                for body in bodies:
                    assert denied(await client.ask(route, body, mode=mode)), (route, mode, body[:80])
        assert asked.scene.gate.store.calls == []
        assert (await client.ask("user", USER)).status == 200


async def test_what_is_neither_json_nor_a_form_is_denied(asked: HooksServer) -> None:
    async with asked.client(PROVISION) as client:
        for mode in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "", "application/jsonx", "/"):
            assert denied(await client.ask("user", encode(USER, JSON), mode=mode)), mode
        for mode in ("application/json; charset=utf-8", "APPLICATION/JSON"):
            assert (await client.ask("user", encode(USER, JSON), mode=mode)).status == 200, mode


async def test_missing_fields_and_wrong_types_are_denied(asked: HooksServer) -> None:
    async with asked.client(PROVISION) as client:
        for route, fields in (("user", USER), ("acl", ACL)):
            assert (await client.ask(route, fields)).status == 200
            for name in fields:
                less = {other: value for other, value in fields.items() if other != name}
                for mode in (JSON, FORM):
                    assert denied(await client.ask(route, less, mode=mode)), (route, name)
                    assert denied(await client.ask(route, {**less, name.upper(): "x"}, mode=mode)), (route, name)
                for value in WRONG if name in TEXTS else (None, "4", 1.5, True, [], {}, "", "READ"):
                    assert denied(await client.ask(route, {**fields, name: value})), (route, name, value)
        not_boolean: tuple[Any, ...] = (1, "true", [], 0.0)
        for clean in not_boolean:
            assert denied(await client.ask("user", {**USER, "clean": clean}))


OURS = ("~responder", "~takeover")
ODD_NAMES = (
    "", " ", "\0", "gw\0-1", "gw-1\0", "a" * 30_000, "gw-1\n", "../gw-1", "gw-1' OR '1'='1", "%s", "{}", "é", "gw-１",
    "gw/1", "gw+1", "gw#1", "~", "~x", "~RESPONDER", "~responder ", "\u202egw-1",
    "'; DROP TABLE users; --", "\ud7ff\ue000", "𝔤𝔴-1",
)  # fmt: skip


@pytest.mark.parametrize("broker", [PROVISION, ACCOUNT])
async def test_odd_names_are_denied(asked: HooksServer, broker: str) -> None:
    """In every field, in both modes, with the names that are ours as well."""
    async with asked.client(broker) as client:
        for odd in ODD_NAMES:
            for mode in (JSON, FORM):
                for fields in (
                    {**USER, "username": odd},
                    {**USER, "clientid": odd},
                    {**USER, "password": odd},
                    *({**USER, "username": ours, "clientid": odd} for ours in OURS),
                    *({**USER, "username": ours, "password": odd} for ours in OURS),
                ):
                    assert denied(await client.ask("user", fields, mode=mode)), fields
                for fields in (
                    {**ACL, "username": odd},
                    {**ACL, "clientid": odd},
                    {**ACL, "topic": odd},
                    *({**ACL, "username": ours, "clientid": odd} for ours in OURS),
                    {**ACL, "username": "~responder", "clientid": "~responder", "topic": odd},
                ):
                    assert denied(await client.ask("acl", fields, mode=mode)), fields


async def test_unknown_accesses_are_denied(asked: HooksServer) -> None:
    """Closed on both sides, in both modes; what is no number is none in a form either."""
    async with asked.client(PROVISION) as client:
        for acc in (-1, 0, 3, 5, 6, 7, 8, 255, 2**31, 2**63, 2**64, 10**400):
            for mode in (JSON, FORM):
                assert denied(await client.ask("acl", {**ACL, "acc": acc}, mode=mode)), acc
        for text in ("", " 1", "1 ", "1.0", "1e0", "0x1", "٤", "+1", "01", "true", "read", "1" * 5000):
            assert denied(await client.ask("acl", {**ACL, "acc": text}, mode=FORM)), text


async def test_every_refusal_can_be_written_down(asked: HooksServer) -> None:
    """However odd its names: what was refused above reaches the counters, and nothing of it is lost on the way."""
    gate = asked.scene.gate
    async with asked.client(PROVISION) as client:
        for odd in (*ODD_NAMES, "x" * 60_000):
            await client.ask("user", {**USER, "username": odd})
            await client.ask("user", {**USER, "clientid": odd})
            await client.ask("acl", {**ACL, "topic": odd, "acc": WRITE})
            await client.ask("acl", {**ACL, "username": odd})
        await client.ask("acl", {**ACL, "acc": 10**3000})
    refusals = gate.admission.refusals.take()
    await gate.store.count_refusals(refusals)
    written = await asked.scene.database.value("SELECT sum(count) FROM refusals")
    assert written == sum(row["count"] for row in refusals) == 4 * (len(ODD_NAMES) + 1) + 1


async def test_passwords_at_the_edge(asked: HooksServer) -> None:
    """bcrypt reads 72 bytes: of 73 none is tried; what is not printable ASCII is denied before it is looked up."""
    scene = asked.scene
    longest = "Aa-" + "x" * 69
    device = await scene.request("gw-2", provision_password=longest)
    gate = scene.gate
    async with asked.client(PROVISION) as client:
        for mode in (JSON, FORM):
            assert (await client.user(device.factory_username, longest, "gw-2", mode=mode)).status == 200
            for wrong in (longest[:-1], longest[:-1] + "y", "x" + longest[1:]):
                assert denied(await client.user(device.factory_username, wrong, "gw-2", mode=mode))
            hashes, calls = gate.admission.slow_hashes.hasher.hashes, len(gate.store.calls)
            for wrong in (
                longest + "x", longest + "x" * 60_000, longest[:-1] + "é", longest[:-2] + "é", "�" * 12,
                longest[:-1] + "\0", longest + "\0", "\t" + longest[1:], longest[:-1] + "\x7f",
                "Факторы-Пароль", "\ufeff" + longest[:60],
            ):  # fmt: skip
                assert denied(await client.user(device.factory_username, wrong, "gw-2", mode=mode)), wrong
            assert (gate.admission.slow_hashes.hasher.hashes, len(gate.store.calls)) == (hashes, calls)
        assert denied(await client.ask("user", b"clientid=gw-2&password=%FF%FE&username=factory-gw-2", mode=FORM))


async def test_before_the_brokers_are_known_nobody_is_blamed(asked: HooksServer) -> None:
    """401 would end our plugin's start with a wrong cause, and is a refusal to go-auth."""
    asked.scene.gate.admission.brokers.loaded = False
    async with asked.client(PROVISION) as client:
        for route, fields in (("user", USER), ("acl", ACL), ("superuser", {"username": "x"})):
            assert (await client.ask(route, fields)).status == 503
        asked.scene.gate.admission.brokers.loaded = True
        assert (await client.ask("user", USER)).status == 200
