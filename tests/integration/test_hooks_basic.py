"""Who asks comes first: without a broker's own Basic every route is 401, and nobody is asked anything (D1)."""

from __future__ import annotations

import base64
import itertools

from service.operations import accounts
from tests.support.hooks_server import HooksServer
from tests.support.raw_http import FORM, JSON, basic, request_bytes
from tests.support.scene import ACCOUNT, PROVISION

ROUTES = (
    "/hooks/user", "/hooks/acl", "/hooks/superuser", "/hooks/user/", "/hooks", "/", "/hooks/change", "/hooks/report",
    "/metrics", "/livez", "/hooks/../hooks/user", "//hooks/user", "/hooks/user?x=1", "/%00",
    "/hooks/%2e%2e/user", "/hooks/*",
)  # fmt: skip
METHODS = ("POST", "GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")
BODY = b'{"clientid":"gw-1","password":"p","username":"factory-gw-1"}'


def malformed(secret: str) -> list[str | None]:
    """Headers that are no broker's Basic."""

    def encoded(text: bytes) -> str:
        return base64.b64encode(text).decode()

    right = encoded(f"{PROVISION}:{secret}".encode())
    return [
        None, "", "Basic", "Basic ", f"Basic  {right}", f"basic{right}", f"Bearer {right}", f"Digest {right}", right,
        f"Basic {right}x", f"Basic {right[:-4]}", f"Basic {right} {right}", "Basic !!!!", "Basic \xe9\xe9\xe9\xe9",
        f"Basic {encoded(PROVISION.encode())}", f"Basic {encoded(b':')}", f"Basic {encoded(b':' + secret.encode())}",
        f"Basic {encoded(PROVISION.encode() + b':')}", f"Basic {encoded(b'x:' + secret.encode())}",
        f"Basic {encoded(PROVISION.encode() + b':' + secret.encode() + b' ')}",
        f"Basic {encoded(PROVISION.upper().encode() + b':' + secret.encode())}",
        f"Basic {encoded(PROVISION.encode() + b':' + secret.encode() + bytes(1))}",
        f"Basic {encoded(bytes([0xff, 0xfe]))}", f"Basic {encoded(ACCOUNT.encode() + b':' + secret.encode())}",
        f"Basic {'A' * 8000}", basic("nobody", secret), basic(PROVISION, secret[::-1]), basic(PROVISION, secret[:-1]),
    ]  # fmt: skip


async def test_without_the_right_basic_everything_is_401(hooks_server: HooksServer) -> None:
    """Every route there is or is not, whatever the method: no database query, no bcrypt, the same answer."""
    scene = hooks_server.scene
    scene.gate.store.calls.clear()
    answers = set()
    for authorization in (None, basic(PROVISION, "wrong"), basic("nobody", "x")):
        for route in ROUTES:
            for method in METHODS:
                async with hooks_server.stranger() as client:
                    answer = await client.send(
                        request_bytes(
                            route, BODY, mode=JSON, authorization=authorization, port=hooks_server.port, method=method
                        )
                    )
                    assert answer.status == 401, (route, method)
                    assert answer.headers["www-authenticate"] == 'Basic realm="hooks"'
                    answers.add(answer.body)
    assert answers == {b'{"ok":false,"error":"unauthenticated"}'}
    assert scene.gate.store.calls == []
    assert scene.gate.admission.slow_hashes.hasher.hashes == 0


async def test_what_is_no_basic_is_401(hooks_server: HooksServer) -> None:
    scene = hooks_server.scene
    scene.gate.store.calls.clear()
    async with hooks_server.stranger() as client:
        for authorization in malformed(scene.secrets[PROVISION]):
            for mode in (JSON, FORM):
                answer = await client.ask("user", BODY, mode=mode, authorization=authorization)
                assert answer.status == 401, authorization
    assert scene.gate.store.calls == []


async def test_an_expectation_is_not_answered_before_the_basic(hooks_server: HooksServer) -> None:
    """`Expect` is handled by the library before our guard: it must not tell one stranger from another."""
    head = b"POST /hooks/user HTTP/1.1\r\nHost: x\r\nExpect: the-unexpected\r\nContent-Length: 2\r\n\r\n{}"
    async with hooks_server.stranger() as client:
        assert (await client.send(head)).status in (401, 417)


async def test_what_is_not_http_is_not_answered_as_a_question(hooks_server: HooksServer) -> None:
    for raw in (
        b"FOO /hooks/user HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"POST\r\n\r\n",
        b"GET /hooks/user HTTP/9.9\r\n\r\n",
    ):
        async with hooks_server.stranger() as client:
            client.writer.write(raw)
            client.writer.write_eof()
            reply = await client.reader.read()
            assert reply == b"" or reply.split()[1][:1] == b"4"
            assert b"Traceback" not in reply


async def test_a_broker_is_who_its_secret_says(hooks_server: HooksServer) -> None:
    """One broker's secret is none of another's; a wrong broker's verdicts are its own."""
    scene = hooks_server.scene
    device = await scene.request()
    async with hooks_server.client(PROVISION, scene.secrets[ACCOUNT]) as client:
        assert (await client.user(device.factory_username, device.factory_password, "gw-1")).status == 401
    async with hooks_server.client(ACCOUNT) as client:
        assert (await client.user(device.factory_username, device.factory_password, "gw-1")).status == 403


async def test_a_rotation(hooks_server: HooksServer) -> None:
    """While it is open both secrets are good, afterwards the new one only."""
    scene = hooks_server.scene
    old = scene.secrets[PROVISION]

    async def statuses(*secrets: str) -> list[int]:
        await scene.gate.follow()
        found = []
        for secret in secrets:
            async with hooks_server.client(PROVISION, secret) as client:
                found.append((await client.ask("superuser", b'{"username":"u"}')).status)
        return found

    assert await statuses(old) == [403]
    new = await accounts.begin_rotation(scene.admin, PROVISION)
    assert new != old
    assert await statuses(old, new, "x") == [403, 403, 401]
    await accounts.finish_rotation(scene.admin, PROVISION)
    assert await statuses(old, new) == [401, 403]
    newer = await accounts.begin_rotation(scene.admin, PROVISION)
    assert await statuses(old, new, newer) == [401, 403, 403]


async def test_a_new_broker_is_known_at_once(hooks_server: HooksServer) -> None:
    scene = hooks_server.scene
    secret = await accounts.create_broker(scene.admin, "another", role="account")
    await scene.gate.follow()
    async with hooks_server.client("another", secret) as client:
        assert (await client.ask("superuser", b"{}")).status == 403
    await scene.database.execute("DELETE FROM brokers WHERE name = 'another'")
    await scene.gate.follow()
    async with hooks_server.client("another", secret) as client:
        assert (await client.ask("superuser", b"{}")).status == 401


async def test_with_the_right_basic_other_routes_are_no_verdict(hooks_server: HooksServer) -> None:
    """404 and 405, never 2xx, 3xx (a slash too many) or 429, which go-auth would read as something."""
    async with hooks_server.client(PROVISION) as client:
        for route, method in itertools.product(ROUTES, METHODS):
            answer = await client.ask(route, BODY, method=method)
            if route.partition("?")[0] in ("/hooks/user", "/hooks/acl", "/hooks/superuser"):
                assert answer.status == (403 if method == "POST" else 405), (route, method)
            else:
                assert answer.status == 404, (route, method)
            assert not answer.granted
            assert "location" not in answer.headers
