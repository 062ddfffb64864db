"""A broker that goes away in the middle of its question is no error of ours."""

from __future__ import annotations

import asyncio

import pytest

from service.web import hooks
from tests.support.hooks_server import HooksServer
from tests.support.raw_http import JSON, basic, request_bytes
from tests.support.scene import PROVISION


async def test_half_a_question_is_no_failure(hooks_server: HooksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is logged as an error, and the next question is answered."""
    failed: list[object] = []
    seen = asyncio.Event()
    respond = hooks.respond

    def responding(*arguments: object, **options: object) -> object:
        seen.set()
        return respond(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hooks, "respond", responding)
    monkeypatch.setattr(hooks._log, "error", lambda event, **_: failed.append(event), raising=False)
    authorization = basic(PROVISION, hooks_server.scene.secrets[PROVISION])
    whole = request_bytes("/hooks/user", b"x" * 100, mode=JSON, authorization=authorization, port=hooks_server.port)
    _, writer = await asyncio.open_connection("127.0.0.1", hooks_server.port)
    writer.write(whole[:-50])
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.wait_for(seen.wait(), 20)
    assert failed == []
