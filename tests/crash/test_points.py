"""The table of points is the code's: each boundary of it is in the table, each passage of the table is crossed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.crash.points import CALL, PASSAGES, POINTS, PUBLISH, SITES, STATEMENT, TRANSACTION
from tests.crash.stories import STORIES

SERVICE = Path(__file__).resolve().parents[2] / "service"
# Devices, and what is no process of ours.
OTHERS = {"mqtt/device.py", "mqtt/kura_device.py", "mqtt/client.py", "db/migrations.py"}
FOLDERS = ("db", "mqtt", "operations", "web", "api")


def crossings(path: Path) -> Iterator[tuple[str, str]]:
    """(place, kind) of every boundary in a file."""

    def visit(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = (*names, node.name)
        if isinstance(node, ast.Call):
            kind = kind_of(node.func)
            if kind is not None:
                yield f"{path.relative_to(SERVICE)}:{'.'.join(names)}", kind
        for child in ast.iter_child_nodes(node):
            yield from visit(child, names)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), ())


def kind_of(function: ast.expr) -> str | None:
    """Of what is called: the boundary that it is, if it is one."""
    if isinstance(function, ast.Name):
        return TRANSACTION if function.id in ("transaction", "open_case") else None
    if not isinstance(function, ast.Attribute):
        return None
    owner = function.value.id if isinstance(function.value, ast.Name) else None
    if function.attr in ("account_transaction", "platform_transaction"):
        return TRANSACTION
    if function.attr == "acquire" and ast.unparse(function.value).endswith("pool"):
        return STATEMENT
    if owner == "self" and function.attr in ("_call", "_fetch"):
        return STATEMENT
    if (owner, function.attr) == ("Session", "open"):
        return CALL
    return PUBLISH if (owner, function.attr) == ("connection", "publish") else None


def found_in_code() -> set[tuple[str, str]]:
    """Every boundary of the services and of the operations."""
    files = (path for folder in FOLDERS for path in sorted((SERVICE / folder).glob("*.py")))
    return {each for path in files if str(path.relative_to(SERVICE)) not in OTHERS for each in crossings(path)}


def test_every_boundary_is_in_the_table() -> None:
    found = found_in_code()
    assert sorted(found - set(SITES)) == [], "the code has boundaries that the table does not know"
    assert sorted(set(SITES) - found) == [], "the table has boundaries that the code does not"


def test_every_site_that_writes_is_passed() -> None:
    """What the table says of a site is an operation of a passage, a command's, or a reason why nothing is written."""
    passed = {passage.operation for passage in PASSAGES}
    for site, says in SITES.items():
        if isinstance(says, tuple):
            assert set(says) <= passed, site


def test_every_story_is_told() -> None:
    assert {passage.story for passage in PASSAGES} == set(STORIES)


def test_points_differ() -> None:
    assert len(set(POINTS)) == len(POINTS)
