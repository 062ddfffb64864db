"""mosquitto-go-auth's requests, byte for byte, over a raw socket (brokers.md section 1)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


def basic(name: str, secret: str) -> str:
    """The header that Go makes of `http://name:secret@host`."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def encode(fields: Mapping[str, Any], mode: str) -> bytes:
    """As Go marshals a map: keys in order; in JSON `<`, `>` and `&` as escapes."""
    if mode == FORM:
        return "&".join(f"{quote_plus(k)}={quote_plus(str(fields[k]), safe='')}" for k in sorted(fields)).encode()
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def request_bytes(
    path: str, body: bytes, *, mode: str, authorization: str | None, port: int, method: str = "POST"
) -> bytes:
    """Header order and all. In form mode go-auth does not name itself."""
    agent = "mosquitto-2.0.21" if mode == JSON else "Go-http-client/1.1"
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"User-Agent: {agent}",
        f"Content-Length: {len(body)}",
        *([f"Authorization: {authorization}"] if authorization is not None else []),
        f"Content-Type: {mode}",
        "Accept-Encoding: gzip",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


@dataclass(frozen=True)
class Answer:
    """A response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def granted(self) -> bool:
        """What go-auth makes of it with `http_response_mode json`: 2xx, and `ok` is true."""
        return 200 <= self.status < 300 and json.loads(self.body).get("ok") is True


@dataclass(kw_only=True)
class Client:
    """One kept-alive connection."""

    port: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    authorization: str | None

    async def send(self, raw: bytes) -> Answer:
        """Bytes as they are."""
        self.writer.write(raw)
        await self.writer.drain()
        return await self.read()

    async def read(self) -> Answer:
        """One response; its body is as long as it says."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split()[1]), headers, body)

    async def ask(self, route: str, fields: Mapping[str, Any] | bytes, *, mode: str = JSON, **options: Any) -> Answer:
        """A question, as go-auth asks it; bytes are sent as the body."""
        body = fields if isinstance(fields, bytes) else encode(fields, mode)
        path = route if route.startswith("/") else f"/hooks/{route}"
        values = {"authorization": self.authorization, "port": self.port, **options}
        return await self.send(request_bytes(path, body, mode=mode, **values))

    async def user(self, username: str, password: str, client_id: str, *, mode: str = JSON) -> Answer:
        """A CONNECT."""
        return await self.ask("user", {"clientid": client_id, "password": password, "username": username}, mode=mode)

    async def acl(self, username: str, client_id: str, topic: str, acc: int, *, mode: str = JSON) -> Answer:
        """A topic check."""
        fields = {"acc": acc, "clientid": client_id, "topic": topic, "username": username}
        return await self.ask("acl", fields, mode=mode)


@asynccontextmanager
async def connected(port: int, authorization: str | None) -> AsyncIterator[Client]:
    """A connection to 127.0.0.1, closed afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(port=port, reader=reader, writer=writer, authorization=authorization)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
