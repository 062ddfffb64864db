"""The table of roles and operations in docs/access.md: `make docs` writes it from core/access.py and the routes."""

from __future__ import annotations

from pathlib import Path

from service.api.table import ROUTES
from service.core.access import OPERATIONS, Role

PATH = Path(__file__).parents[2] / "docs" / "access.md"
BEGIN, END = "<!-- roles: written by make docs -->\n", "<!-- end of roles -->\n"


def roles_table() -> str:
    """A row for each operation, a column for each role."""
    words = [role.value.replace("_", " ") for role in Role]
    lines = [f"| operation | | {' | '.join(words)} |", f"|---|---|{'---|' * len(words)}"]
    for route in ROUTES:
        cells = ["yes" if role in OPERATIONS[route.name] else "" for role in Role]
        lines.append(f"| `{route.name}` | `{route.method} {route.path}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """docs/access.md with the table in its place."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{roles_table()}\n{END}{tail}"


if __name__ == "__main__":
    PATH.write_text(with_table(PATH.read_text(encoding="utf-8")), encoding="utf-8")
