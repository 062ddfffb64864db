"""
Applications: packages that a device installs before it is configured, in order.

At most nine, as in Everyware Cloud, unless a setting says otherwise. One is {"name", "version", "url", "sha256",
"size"}, its size in bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from service.core.problems import MOST_PROBLEMS, Problem

FIELD = "applications"
MOST_APPLICATIONS = 9
LONGEST_TEXT = 255
LONGEST_URL = 2048
LARGEST_SIZE = 2**53 - 1  # what every JSON reader holds exactly (RFC 7493)

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)
_FIELDS = ("name", "version", "url", "sha256", "size")
_NAMES = ", ".join(_FIELDS)


def parse(data: bytes) -> tuple[list[dict[str, Any]], list[Problem]]:
    """
    Read `[{"name", "version", "url", "sha256", "size"}, ...]` from JSON.

    A field that is given twice is a problem here; what else is wrong with an application, `check_applications` says.
    """
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except UnicodeDecodeError:
        return [], [Problem(field=FIELD, rule="unreadable", text="is not UTF-8")]
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, list) or isinstance(document, _Pairs):
        return [], [Problem(field=FIELD, rule="not_a_list", text=f"must be a JSON list of objects with {_NAMES}")]
    problems: list[Problem] = []
    for place, pairs in enumerate(document, 1):
        if len(problems) >= MOST_PROBLEMS:
            break
        if not isinstance(pairs, _Pairs):
            problems.append(Problem(field=FIELD, rule="fields", text=f"{place}: must be an object with {_NAMES}"))
        elif len(dict(pairs)) < len(pairs):
            problems.append(Problem(field=FIELD, rule="duplicate_field", text=f"{place}: a field is given twice"))
    return [dict(pairs) for pairs in document if isinstance(pairs, _Pairs)], problems


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its duplicates."""


def check_applications(applications: Sequence[Mapping[str, Any]], most: int = MOST_APPLICATIONS) -> Iterator[Problem]:
    """Every problem up to `MOST_PROBLEMS`, each naming the application by its place from 1."""
    return islice(_check(applications, most), MOST_PROBLEMS)


def _check(applications: Sequence[Mapping[str, Any]], most: int) -> Iterator[Problem]:
    if len(applications) > most:
        yield Problem(field=FIELD, rule="too_many", text=f"at most {most} applications")
    seen: set[str] = set()
    for place, application in enumerate(applications, 1):
        for rule, text in _check_one(application):
            yield Problem(field=FIELD, rule=rule, text=f"{place}: {text}")
        name = application.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield Problem(field=FIELD, rule="duplicate", text=f"{place}: the name is given twice")
        seen.add(name)


def _check_one(application: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if set(application) != set(_FIELDS):
        yield "fields", f"must have {_NAMES}, and nothing else"
    for name in ("name", "version"):
        if name in application and not _is_text(application[name]):
            yield name, f"{name} must have 1 to {LONGEST_TEXT} printable ASCII characters"
    if "url" in application and not _is_url(application["url"]):
        yield "url", "url must be https://host/..., without user or password"
    if "sha256" in application and not _is_sha256(application["sha256"]):
        yield "sha256", "sha256 must have 64 lower-case hexadecimal characters"
    if "size" in application and not _is_size(application["size"]):
        yield "size", "size must be a number of bytes above 0"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and bool(_TEXT.fullmatch(value))


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_SIZE


def _is_url(value: object) -> bool:
    if not isinstance(value, str) or len(value) > LONGEST_URL or not value.isascii() or not value.isprintable():
        return False
    try:
        parts = urlsplit(value)
        port_is_good = parts.port != 0
    except ValueError:
        return False
    return (
        value.startswith("https://") and bool(parts.hostname) and "@" not in parts.netloc and " " not in value
        and port_is_good
    )  # fmt: skip
