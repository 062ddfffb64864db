"""Where figures are kept: bench.json, the picture, and the part of the page that has the table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.chart import draw
from bench.figures import Figure, from_json, markdown

BEGIN, END = "<!-- begin figures -->", "<!-- end figures -->"
TITLE = "Benchmarks: the median as a part of its goal"


def merged(before: Iterable[Figure], new: Sequence[Figure], order: Sequence[str]) -> list[Figure]:
    """New figures in place of those of the same rows, in the order of the rows."""
    measured = {figure.row for figure in new}
    together = [*(figure for figure in before if figure.row not in measured), *new]
    return sorted(together, key=lambda figure: order.index(figure.row) if figure.row in order else len(order))


def with_figures(page: str, machine: Mapping[str, str], figures: Sequence[Figure]) -> str:
    """The page with machine and table between its marks. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs {BEGIN} and {END}")
    described = ", ".join(f"{value} cores" if name == "cores" else f"{name} {value}" for name, value in machine.items())
    return f"{before}{BEGIN}\n\nMeasured on: {described}.\n\n{markdown(figures)}\n\n{END}{after}"


def read(folder: Path, machine: Mapping[str, str]) -> list[Figure]:
    """What was kept there, if it is from this very machine."""
    path = folder / "bench.json"
    if not path.exists():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["machine"] != dict(machine):
        return []
    return [from_json(figure) for figure in document["figures"]]


def write(folder: Path, machine: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """All three. The page has to be there."""
    page = folder / "README.md"
    text = with_figures(page.read_text(encoding="utf-8"), machine, figures)
    document = {"machine": dict(machine), "figures": [figure.to_json() for figure in figures]}
    (folder / "bench.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "bench.svg").write_text(draw(figures, TITLE), encoding="utf-8")
    page.write_text(text, encoding="utf-8")
