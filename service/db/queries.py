"""
Named queries: `sql/queries/<table>.sql` holds `-- name: <query>`, a line or more of purpose, and the statement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from service.paths import QUERIES

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


def load(table: str) -> Mapping[str, str]:
    """The queries of one file by name. A name given twice, or text before the first one, is an error."""
    text = (QUERIES / f"{table}.sql").read_text(encoding="utf-8")
    head, *parts = _NAME.split(text)
    names, statements = parts[::2], parts[1::2]
    if any(line and not line.startswith("--") for line in head.splitlines()):
        raise ValueError(f"{table}.sql: a statement before the first name")
    if len(set(names)) != len(names):
        raise ValueError(f"{table}.sql: a name is given twice")
    return MappingProxyType(
        {name: statement.strip().removesuffix(";") for name, statement in zip(names, statements, strict=True)}
    )
