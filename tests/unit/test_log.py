"""Logs: one JSON line an event, whatever strangers call themselves, and never what an exception quotes."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from service import log
from service.keys import Secret
from tests.unit import vectors

CANARY = "hunter2-c4n4ry"


class Lines:
    """What our logging writes to standard error, as it is when it is configured."""

    def __init__(self) -> None:
        self._stream = io.StringIO()

    def configure(self, level: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", self._stream)
            log.configure(level)

    def __call__(self) -> list[dict[str, Any]]:
        written = self._stream.getvalue()
        assert written.isascii()
        assert not written or written.endswith("\n")
        return [json.loads(line) for line in written.split("\n")[:-1]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Our logging at level info, undone afterwards."""
    handlers, level, gmqtt = logging.root.handlers[:], logging.root.level, logging.getLogger("gmqtt").level
    logging.root.handlers[:] = []  # `configure` closes those it finds
    lines = Lines()
    lines.configure("info")
    yield lines
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("gmqtt").setLevel(gmqtt)


def fail() -> None:
    raise ValueError(f"duplicate key value: ({CANARY})")


def test_an_event_is_a_line_with_its_fields(lines: Lines) -> None:
    log.get("hooks").info("refused", reason="no_grant", count=3, known=False)
    (event,) = lines()
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "refused",
        "component": "hooks",
        "level": "info",
        "reason": "no_grant",
        "count": 3,
        "known": False,
    }


@pytest.mark.parametrize(
    "hostile",
    [
        'gw\n{"event":"forged"}',
        "gw\r\nforged",
        "\x1b[2J\x1b[31mred",
        "a\u2028b\u2029c\x85d\x0be\x0cf",
        "\u202egnp.exe",
        "\0",
        "\ud800",
        "\ufeff",
        '"},{"x":"',
        "\\",
        "é😀",
        "\x7f",
    ],
    ids=vectors.shown,
)
def test_no_name_forges_a_line_or_moves_the_cursor(lines: Lines, hostile: str) -> None:
    log.get("hooks").warning("refused", client_id=hostile, topics=[hostile])
    logging.getLogger("some.library").warning("client %s", hostile)
    ours, theirs = lines()
    assert ours["client_id"] == hostile
    assert ours["topics"] == [hostile]
    assert theirs["event"] == f"client {hostile}"


def test_long_fields_are_cut(lines: Lines) -> None:
    log.get("hooks").info("e" * 1_000, client_id="x" * 100_000)
    logging.getLogger("some.library").error("y" * 100_000)
    ours, theirs = lines()
    assert ours["client_id"] == "x" * 512 + "…"
    assert ours["event"] == "e" * 512 + "…"
    assert theirs["event"] == "y" * 512


@pytest.mark.parametrize("how", ["exception", "exc_info", "error"])
def test_an_exception_is_logged_without_its_text(lines: Lines, how: str) -> None:
    """Its class and the last frames: database errors quote the values they are about."""
    logger = log.get("hooks")
    try:
        fail()
    except ValueError as error:
        if how == "exception":
            logger.exception("question_failed")
        else:
            logger.error("question_failed", exc_info=True if how == "exc_info" else error)
    (event,) = lines()
    assert event["error"] == "ValueError"
    assert event["event"] == "question_failed"
    assert [frame.split(":")[0] for frame in event["trace"]] == ["test_log.py", "test_log.py"]
    assert CANARY not in json.dumps(event)
    assert "exc_info" not in event


def test_an_exception_s_cause_is_not_quoted_either(lines: Lines) -> None:
    try:
        try:
            fail()
        except ValueError as cause:
            raise RuntimeError(CANARY) from cause
    except RuntimeError:
        log.get("hooks").error("question_failed", exc_info=True)
    (event,) = lines()
    assert event["error"] == "RuntimeError"
    assert CANARY not in json.dumps(event)


def test_a_deep_trace_is_cut_to_its_last_frames(lines: Lines) -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            fail()
        dig(depth - 1)

    try:
        dig(50)
    except ValueError:
        log.get("hooks").error("failed", exc_info=True)
    (event,) = lines()
    assert len(event["trace"]) == log.FRAMES


def test_without_an_exception_there_is_none(lines: Lines) -> None:
    log.get("hooks").error("failed", exc_info=True)
    (event,) = lines()
    assert "error" not in event


def test_a_library_s_exception_is_logged_without_its_text(lines: Lines) -> None:
    logger = logging.getLogger("asyncpg")
    try:
        fail()
    except ValueError:
        logger.exception("it failed")
        logger.error("it failed again", exc_info=sys.exc_info())
    first, second = lines()
    assert first == {"event": "it failed", "logger": "asyncpg", "level": "error", "error": "ValueError"}
    assert second["error"] == "ValueError"


def test_a_secret_in_a_field_stays_one(lines: Lines) -> None:
    log.get("hooks").info("started", password=Secret(CANARY), nested={"url": [Secret(CANARY)]})
    (event,) = lines()
    assert event["password"] == "Secret(***)"
    assert CANARY not in json.dumps(event)


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_the_setting_s(lines: Lines, level: str, seen: list[str]) -> None:
    lines.configure(level)
    logger = log.get("hooks")
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)("event")
    assert [event["level"] for event in lines()] == seen


def test_libraries_are_heard_from_warnings_on_and_gmqtt_hardly_ever(lines: Lines) -> None:
    """gmqtt logs packets with their payloads."""
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("gmqtt.mqtt.protocol").error(CANARY)
    logging.getLogger("some.library").warning("careful")
    assert [event["event"] for event in lines()] == ["careful"]
