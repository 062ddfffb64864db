"""The administrators' API on a test's database, over real HTTP."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from service.core.access import Role
from service.operations import tokens
from service.operations.administration import Administration
from service.web.admin import build_app


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str = field(repr=False)

    @property
    def document(self) -> Any:
        return json.loads(self.text)

    @property
    def problems(self) -> set[tuple[str, str]]:
        """(field, rule) of each."""
        assert self.headers["Content-Type"] == "application/problem+json"
        return {(each["field"], each["rule"]) for each in self.document["problems"]}


@dataclass(kw_only=True)
class Api:
    """A client of a running server. `token` None: nobody's."""

    url: str
    session: aiohttp.ClientSession
    token: str | None = None

    def as_(self, token: str | None) -> Api:
        """The same server for somebody else."""
        return Api(url=self.url, session=self.session, token=token)

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        data: Any = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
            data = io.BytesIO(data)
        async with self.session.request(method, f"{self.url}{path}", data=data, headers=sent) as response:
            return Reply(status=response.status, headers=response.headers, text=await response.text())


@asynccontextmanager
async def serving(
    admin: Administration, *, tls: ssl.SSLContext | None = None, before: Any = None, name: str = "root"
) -> AsyncIterator[Api]:
    """Served on loopback, asked as a platform administrator; `before`: a middleware that sees every call first."""
    app = build_app(admin, "test")
    if before is not None:
        app.middlewares.insert(0, before)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    made = await tokens.create_token(admin, None, name, role=Role.PLATFORM_ADMINISTRATOR)
    scheme = "http" if tls is None else "https"
    async with aiohttp.ClientSession() as session:
        try:
            yield Api(url=f"{scheme}://127.0.0.1:{port}/api/v1", session=session, token=made.token)
        finally:
            await runner.cleanup()


async def token_of(admin: Administration, role: Role, account: str | None = "acme") -> str:
    """A new token of a role."""
    whose = None if role is Role.PLATFORM_ADMINISTRATOR else account
    name = f"{role.value}-{account or ''}"[:60].strip("-")
    return (await tokens.create_token(admin, whose, name, role=role)).token
