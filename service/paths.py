"""Where the SQL files are: beside the package, in a checkout as in the image."""

from __future__ import annotations

from pathlib import Path

SQL = Path(__file__).resolve().parent.parent / "sql"
MIGRATIONS = SQL / "migrations"
QUERIES = SQL / "queries"
