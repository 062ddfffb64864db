"""
`python -m tests.support.reliability FILE`: the figures that tests recorded (tests/support/figures.py) into
docs/reliability.json and the table of docs/reliability.md. Those of the same commands are replaced; the benchmarks'
figures that show a goal come from docs/benchmarks.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- figures: written by make test-long, make soak, make bench -->", "<!-- end of figures -->"
# Rows of the benchmarks that show a goal of the same table under another name.
SHOWN_BY = {"B8": "G14", "B10": "G13", "B5": "G17"}
COMMAND = 'make bench ARGS="{}"'

Row = dict[str, Any]


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """What a command found last is what it found."""
    commands = {row["command"] for row in new}
    return [row for row in old if row["command"] not in commands] + new


def measured(bench: dict[str, Any]) -> list[Row]:
    """The benchmarks' figures that have a goal of ours."""
    found = []
    for figure in bench.get("figures", []):
        goal = SHOWN_BY.get(figure["row"], figure["row"])
        if not re.fullmatch(r"G\d+", goal) or figure["goal"] is None:
            continue
        ((kind, value),) = figure["goal"].items()
        unit = f" {figure['unit']}" if figure["unit"] else ""
        found.append(
            {
                "goal": goal,
                "what": figure["what"],
                "asked": f"{kind.replace('_', ' ')} {value:g}{unit}",
                "reached": f"{figure['median']:g}{unit}",
                "command": COMMAND.format(figure["row"]),
                "good": figure["reached"],
            }
        )
    return found


def _place(goal: str) -> tuple[str, int]:
    """G2 before G10, and the invariants (I1-I9, I12) behind the goals."""
    return goal[0], int(re.findall(r"\d+", goal)[0])


def table(rows: list[Row]) -> str:
    """In the order of the goals; what several tests say in the same words stands there once."""
    lines = ["| goal | what | asked | reached | command |", "|---|---|---|---|---|"]
    ordered = sorted(rows, key=lambda row: (_place(row["goal"]), row["command"], row["what"]))
    for cells, times in Counter(map(_cells, ordered)).items():
        goal, what, asked, reached, command = cells
        often = f", {times} times" if times > 1 else ""
        lines.append(f"| {goal} | {what}{often} | {asked} | {reached} | `{command}` |")
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    reached = row["reached"] if row["good"] else f"**{row['reached']}: missed**"
    return row["goal"], row["what"], row["asked"], reached, row["command"]


def write(docs: Path, new: list[Row]) -> None:
    """Both files."""
    kept, page, bench = docs / "reliability.json", docs / "reliability.md", docs / "benchmarks" / "bench.json"
    old = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    rows = merged(old, new)
    kept.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if bench.exists():
        rows = rows + measured(json.loads(bench.read_text(encoding="utf-8")))
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", encoding="utf-8")


def main(path: Path) -> None:
    """The lines of that file, if there are any."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    write(DOCS, [json.loads(line) for line in text.splitlines()])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
