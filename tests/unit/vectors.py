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


def rows(name: str, table: str) -> list[dict[str, Any]]:
    """One list of rows of a table."""
    found: list[dict[str, Any]] = load(name)[table]
    assert found
    return found
