"""Every query that the code names is there: what is missing would show only when it is asked."""

from __future__ import annotations

import re
from pathlib import Path

from service.db import queries

ROOT = Path(__file__).resolve().parents[2]


def named() -> dict[str, set[str]]:
    """File of queries -> the names that the code has of them."""
    found: dict[str, set[str]] = {}
    for path in (*ROOT.glob("service/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/**/*.py")):
        text = path.read_text(encoding="utf-8")
        for variable, file in re.findall(r'^(_?[A-Z_]+)(?:: [^=\n]+)? = queries\.load\("(\w+)"\)', text, re.MULTILINE):
            found.setdefault(file, set()).update(re.findall(rf'\b{variable}\["(\w+)"\]', text))
    return found


def test_every_query_that_is_named_is_there() -> None:
    for file, names in named().items():
        assert names - set(queries.load(file)) == set(), file
