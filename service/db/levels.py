"""The schema's levels, as the migrations' files name them. Apart from what applies them: services need no yoyo."""

from __future__ import annotations

from pathlib import Path

from service.paths import MIGRATIONS


def files(directory: Path = MIGRATIONS) -> list[Path]:
    """The migrations in order."""
    return sorted(path for path in directory.glob("*.sql") if not path.name.endswith(".rollback.sql"))


def expected_level(directory: Path = MIGRATIONS) -> str:
    """The level after the last file: what `schema_level()` must return."""
    return files(directory)[-1].stem
