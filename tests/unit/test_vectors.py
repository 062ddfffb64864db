"""The tables are plain JSON that other languages can read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit import vectors

FILES = sorted(path.stem for path in vectors.FOLDER.glob("*.json"))


def refuse_constant(name: str) -> None:
    raise ValueError(name)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), [name for name, _ in pairs]
    return dict(pairs)


def test_there_are_tables() -> None:
    assert {"topics", "grants", "coupling"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_table_is_strict_json_and_says_what_it_is(name: str) -> None:
    """No NaN, no duplicate names, not a byte that some parser reads differently."""
    text = (vectors.FOLDER / f"{name}.json").read_bytes().decode("ascii")
    document = json.loads(text, object_pairs_hook=unique, parse_constant=refuse_constant)
    assert isinstance(document["about"], str)
    assert document["about"]
    assert "\t" not in text


@pytest.mark.parametrize("name", FILES)
def test_no_row_is_there_twice(name: str) -> None:
    for table, rows in vectors.load(name).items():
        if isinstance(rows, list):
            written = [json.dumps(row, sort_keys=True) for row in rows]
            assert len(set(written)) == len(written), table
