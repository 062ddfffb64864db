"""Processes run on uvloop where it is installed, and as well without it."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from service.web.process import CannotRun, run


def loop_of(event_loop: str) -> type[asyncio.AbstractEventLoop]:
    """What a process runs on."""
    found: list[type[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        found.append(type(asyncio.get_running_loop()))

    run(main(), event_loop)
    return found[0]


def test_uvloop_is_used_where_it_is_installed() -> None:
    assert issubclass(loop_of("auto"), uvloop.Loop)
    assert issubclass(loop_of("uvloop"), uvloop.Loop)
    assert not issubclass(loop_of("asyncio"), uvloop.Loop)


def test_nothing_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a setting says so."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert not issubclass(loop_of("auto"), uvloop.Loop)
    with pytest.raises(CannotRun, match="PROVISION_EVENT_LOOP"):
        loop_of("uvloop")
