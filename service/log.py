"""
Logs: one JSON line an event, with an event name and fields; never a secret, never a whole payload.

JSON escapes what hostile client ids hold, so every line parses and no id forges another line.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import Any

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FIELD_MAX_LENGTH = 512


def _shorten(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key, value in event.items():
        if isinstance(value, str) and len(value) > FIELD_MAX_LENGTH and key != "exception":
            event[key] = value[:FIELD_MAX_LENGTH] + "…"
    return event


def configure(level: str) -> None:
    """Send our events and the libraries' warnings to standard error."""
    number = LEVELS[level.lower()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _brief_exception,
            _shorten,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LibraryFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # gmqtt logs packets with their payloads: none of it concerns anybody.
    logging.getLogger("gmqtt").setLevel(logging.CRITICAL)


class _LibraryFormatter(logging.Formatter):
    """A library's line in our form: no traceback, since its text may quote values."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        event = {
            "event": record.getMessage()[:FIELD_MAX_LENGTH],
            "logger": record.name,
            "level": record.levelname.lower(),
        }
        return json.dumps({**event, "error": error} if error else event)


FRAMES = 6


def _brief_exception(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The exception's class and the last frames of its way, not its text: database errors quote values."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
        event["trace"] = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames]
    return event


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events carry `component`."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(component=name)
    return logger
