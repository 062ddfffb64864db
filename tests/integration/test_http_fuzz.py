"""Requests that are wrong in any byte, to the hooks and to the administrators' API: answered, never a 500 (G9)."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.web import admin as admin_web
from service.web import hooks as hooks_web
from tests.fuzz import seeds
from tests.support import figures
from tests.support.api import serving as serving_api
from tests.support.hooks_server import HooksServer
from tests.support.raw_http import FORM, JSON, basic, encode, request_bytes
from tests.support.scene import PROVISION, Scene

AT_ONCE, AT_ONCE_SECONDS, PATIENCE, SLOW = 16, 0.25, 30.0, 1.0
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass(kw_only=True)
class Log:
    """Stands in for a face's log: what it calls an error is one."""

    errors: list[dict[str, Any]] = field(default_factory=list)

    def info(self, event: str, **fields: Any) -> None:
        """Nothing is wrong."""

    def warning(self, event: str, **fields: Any) -> None:
        """Nothing is wrong with us."""

    def error(self, event: str, **fields: Any) -> None:
        """Something is."""
        self.errors.append({"event": event, **fields, "error": repr(sys.exc_info()[1])})


@dataclass(kw_only=True)
class Fuzzer:
    """Sends raw bytes, each on a connection of its own."""

    port: int
    seeds: list[bytes]
    statuses: Counter[int] = field(default_factory=Counter)
    slow: int = 0

    async def send(self, data: bytes) -> bytes:
        """Everything that comes back until the server closes, having seen our end."""
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            answer = await self._first(reader)
            writer.write_eof()
            answer += await asyncio.wait_for(reader.read(), PATIENCE)
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
        self.slow += time.monotonic() - began > SLOW
        self.statuses.update(int(status) for status in _STATUS.findall(answer))
        return answer

    @staticmethod
    async def _first(reader: asyncio.StreamReader) -> bytes:
        """What comes at once; nothing where the server waits for more. After our end it answers no question."""
        with suppress(TimeoutError):
            return await asyncio.wait_for(reader.read(65_536), AT_ONCE_SECONDS)
        return b""

    async def run(self, many: int, seed: int) -> list[tuple[bytes, bytes]]:
        """Mutated requests with their answers, which are kept where they might be grants."""
        chance = Random(seed)
        granted: list[tuple[bytes, bytes]] = []

        async def worker() -> None:
            for _ in range(many // AT_ONCE):
                data = seeds.mutate(chance, self.seeds)
                answer = await self.send(data)
                if b'"ok":true' in answer.replace(b" ", b""):
                    granted.append((data, answer))

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return granted


def hook_requests(server: HooksServer) -> list[bytes]:
    """Questions that are to be denied, by the right broker and by nobody; feeds and reports; odd framing."""
    right, wrong = basic(PROVISION, server.scene.secrets[PROVISION]), basic(PROVISION, "x")
    found = []
    for authorization in (right, right, right, wrong, None):
        for mode in (JSON, FORM):
            for route, fields in (("user", seeds.USER), ("acl", seeds.ACL), ("superuser", {"username": "x"})):
                options: dict[str, Any] = {"mode": mode, "authorization": authorization, "port": server.port}
                found.append(request_bytes(f"/hooks/{route}", encode(fields, mode), **options))
        options = {"mode": JSON, "authorization": authorization, "port": server.port}
        found.append(request_bytes("/hooks/changes?since=1:1:", b"", method="GET", **options))
        found.append(request_bytes("/hooks/clients", seeds.dump({"clients": seeds.REPORTS["seen"]}), **options))
        found.append(request_bytes("/hooks/reports", seeds.dump(seeds.REPORTS), **options))
    body = b'5\r\n{"use\r\n1\r\nr\r\n0\r\n\r\n'
    chunked = found[0].partition(b"\r\n\r\n")[0].replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX")
    return [*found, chunked + b"\r\n\r\n" + body, found[0] + found[1], found[0].replace(b"POST", b"HEAD")]


def is_verdict(request: bytes) -> bool:
    """Whether a yes to it lets somebody in; the feed and the reports are answered "ok" as well."""
    return re.search(rb"/hooks/(changes|clients|reports)", request) is None


async def fuzz_hooks(server: HooksServer, monkeypatch: pytest.MonkeyPatch, many: int, command: str) -> None:
    log = Log()
    monkeypatch.setattr(hooks_web, "_log", log)
    fuzzer = Fuzzer(port=server.port, seeds=hook_requests(server))
    answered = await fuzzer.run(many, 1)
    granted = [request for request, _ in answered if is_verdict(request)]
    report("the hooks", fuzzer, many, len(granted), command, not granted and not log.errors)
    assert [each["error"] for each in log.errors[:3]] == []
    assert granted == []
    assert fuzzer.statuses[500] == 0
    assert fuzzer.statuses[403] > many / 20, "they get as far as the question"
    await server.scene.request("good")
    async with server.client(PROVISION) as client:
        assert (await client.user("factory-good", "Factory-Password", "good")).status in (200, 503)


def report(whom: str, fuzzer: Fuzzer, many: int, granted: int, command: str, good: bool) -> None:
    broken = fuzzer.statuses[500]
    reached = f"{many} requests: {broken} times 500, 0 hangs ({fuzzer.slow} over 1 s), {granted} grants"
    asked = "20,000: 0 times 500, 0 hangs over 1 s, 0 grants"
    figures.record("G9", f"raw bytes to {whom}", asked, reached, command, good and not broken)


def api_requests(port: int, token: str) -> list[bytes]:
    """One of each kind of operation, and more than one way to be nobody."""
    account = "/api/v1/accounts/acme"
    asked: list[tuple[str, str, Any]] = [
        ("GET", f"{account}/provision-requests?limit=2&status=OPEN&since=2030-01-01T00:00:00Z", None),
        ("POST", f"{account}/provision-requests", seeds.REQUEST), ("GET", f"{account}/provision-requests/gw-1", None),
        ("GET", f"{account}/provision-requests/gw-1/explain?limit=5", None),
        ("PATCH", f"{account}/provision-requests/gw-1", {"reserve_user": True}),
        ("GET", f"{account}/devices?text=x&after=y", None), ("GET", "/api/v1/brokers", None),
        ("POST", "/api/v1/accounts", {"name": "other"}), ("GET", "/api/v1/openapi.json", None), ("GET", "/", None),
    ]  # fmt: skip
    found = []
    for method, path, document in asked:
        body = b"" if document is None else json.dumps(document).encode()
        head = [
            f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}",
            f"Authorization: Bearer {token}", "Content-Type: application/json", 'If-Match: "1"', "Idempotency-Key: k",
        ]  # fmt: skip
        found.append(("\r\n".join(head) + "\r\n\r\n").encode() + body)
    return found


async def fuzz_api(scene: Scene, monkeypatch: pytest.MonkeyPatch, many: int, command: str) -> None:
    log = Log()
    monkeypatch.setattr(admin_web, "_log", log)
    await scene.provision("gw-1")
    async with serving_api(scene.admin) as api:
        port = urlsplit(api.url).port
        assert port is not None
        assert api.token is not None
        fuzzer = Fuzzer(port=port, seeds=api_requests(port, api.token))
        await fuzzer.run(many, 2)
        report("the administrators' API", fuzzer, many, 0, command, not log.errors)
        assert [each["error"] for each in log.errors[:3]] == []
        assert fuzzer.statuses[500] == 0
        assert fuzzer.statuses[200] + fuzzer.statuses[404] > many / 20, "they get as far as the operation"
        shown = await api("GET", "/accounts/acme/provision-requests")
        assert shown.status == 200, shown.text


async def test_hooks_take_any_bytes(hooks_server: HooksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    await fuzz_hooks(hooks_server, monkeypatch, 320, "make test")


async def test_the_api_takes_any_bytes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await fuzz_api(scene, monkeypatch, 400, "make test")


@pytest.mark.long
@pytest.mark.timeout(1500)
async def test_hooks_take_20_000_requests(hooks_server: HooksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    await fuzz_hooks(hooks_server, monkeypatch, 20_000, "make test-long")


@pytest.mark.long
@pytest.mark.timeout(1500)
async def test_the_api_takes_20_000_requests(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await fuzz_api(scene, monkeypatch, 20_000, "make test-long")
