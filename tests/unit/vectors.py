"""Tables kept as data in tests/vectors: one JSON document each, with an "about"; other languages read them too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def load(name: str) -> dict[str, Any]:
    """The table `name`."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


def shown(*values: object) -> str:
    """The name of a row: ASCII without backslashes, which pytest escapes anew each time that it runs in one process."""
    return ascii(" ".join(map(str, values)))[1:-1].replace("\\", "/")[:60]


def is_stable(name: str) -> bool:
    """Whether a test may have this name."""
    return name.isascii() and "\\" not in name


def rows(name: str, table: str) -> list[dict[str, Any]]:
    """One list of rows of a table."""
    found: list[dict[str, Any]] = load(name)[table]
    assert found
    return found
