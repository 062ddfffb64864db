"""The hooks' HTTP side in this process, on a port of its own, before a scene's Admission."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from service.operations.admission import Admission
from service.web.hooks import KEEPALIVE, build_server
from service.web.process import serve
from tests.support.raw_http import Client, basic, connected
from tests.support.scene import Scene


@dataclass(frozen=True, kw_only=True)
class HooksServer:
    """Where it listens, and before whom."""

    scene: Scene
    port: int

    def client(self, broker: str, secret: str | None = None) -> AbstractAsyncContextManager[Client]:
        """A broker's connection, with its own secret by default."""
        return connected(self.port, basic(broker, self.scene.secrets[broker] if secret is None else secret))

    def stranger(self, authorization: str | None = None) -> AbstractAsyncContextManager[Client]:
        """Anybody's connection."""
        return connected(self.port, authorization)


@asynccontextmanager
async def serving(
    scene: Scene, admission: Admission | None = None, *, keepalive: float = KEEPALIVE
) -> AsyncIterator[HooksServer]:
    """As `python -m service hooks` serves it."""
    server = build_server(admission or scene.gate.admission, keepalive=keepalive)
    runner = await serve(server, "127.0.0.1", 0, "a free port")
    try:
        yield HooksServer(scene=scene, port=runner.addresses[0][1])
    finally:
        await runner.cleanup()
