"""Rows of a generated platform: put in by phase, with every constraint and trigger of the schema on."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg

# Parents before children.
TABLES = (
    "accounts", "brokers", "broker_accounts", "users", "user_permissions", "credentials", "provision_requests",
    "devices", "provision_runs", "device_connections", "releases", "one_time_passwords", "heartbeats",
)  # fmt: skip
FIRST = 1


@dataclass
class Rows:
    """
    Rows and updates by phase. What a trigger refuses while something else is not there yet, comes in a later phase: the
    new account's request after the release, the release's end after the request.
    """

    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(100_000))
    _rows: dict[int, list[tuple[str, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    _updates: dict[int, list[tuple[str, int, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))

    def put(self, table: str, phase: int = FIRST, **row: Any) -> None:
        """A row without a number of its own."""
        self._rows[phase].append((table, row))

    def add(self, table: str, phase: int = FIRST, **row: Any) -> int:
        """A row; returns its id."""
        number = next(self._ids)
        self.put(table, phase, id=number, **row)
        return number

    def change(self, table: str, phase: int, number: int, **values: Any) -> None:
        """Values of a row, changed at the end of a phase."""
        self._updates[phase].append((table, number, values))

    async def write(self, connection: asyncpg.Connection[Any]) -> None:
        """All of them in one transaction."""
        async with connection.transaction():
            for phase in sorted({*self._rows, *self._updates}):
                for table in TABLES:
                    await _insert(connection, table, [row for name, row in self._rows[phase] if name == table])
                for table, number, values in self._updates[phase]:
                    await _update(connection, table, number, values)


async def _insert(connection: asyncpg.Connection[Any], table: str, rows: list[dict[str, Any]]) -> None:
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_columns[tuple(sorted(row))].append(row)
    for columns, alike in by_columns.items():
        names = ", ".join(columns)
        await connection.execute(
            f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE"
            f" SELECT {names} FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb)",
            json.dumps(alike),
        )


async def _update(connection: asyncpg.Connection[Any], table: str, number: int, values: dict[str, Any]) -> None:
    names = ", ".join(values)
    await connection.execute(
        f"UPDATE {table} SET ({names}) = (SELECT {names} FROM jsonb_populate_record(NULL::{table}, $1::jsonb))"
        " WHERE id = $2",
        json.dumps(values),
        number,
    )
