"""The table of reliability figures: what is new replaces what the same command found before."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.reliability import BEGIN, END, measured, merged, table, write


def row(goal: str, reached: str, command: str = "make test-long", *, good: bool = True) -> dict[str, object]:
    return {"goal": goal, "what": "things", "asked": "0", "reached": reached, "command": command, "good": good}


def test_a_command_replaces_what_it_found_before() -> None:
    old = [row("G1", "0"), row("G2", "0"), row("G21", "1", "make soak")]
    assert merged(old, [row("G1", "1")]) == [row("G21", "1", "make soak"), row("G1", "1")]
    assert merged(old, []) == old


def test_goals_are_in_order_and_a_miss_is_bold() -> None:
    lines = table([row("G21", "5", good=False), row("G3", "0")]).splitlines()[2:]
    assert lines == [
        "| G3 | things | 0 | 0 | `make test-long` |",
        "| G21 | things | 0 | **5: missed** | `make test-long` |",
    ]


def test_what_several_tests_say_alike_stands_there_once() -> None:
    lines = table([row("G2", "0"), row("G2", "1", good=False), row("G2", "0")]).splitlines()[2:]
    assert lines == [
        "| G2 | things, 2 times | 0 | 0 | `make test-long` |",
        "| G2 | things | 0 | **1: missed** | `make test-long` |",
    ]


def test_benchmarks_show_goals_too() -> None:
    kick = {
        "row": "B8",
        "what": "to the kick",
        "unit": "ms",
        "median": 155.0,
        "goal": {"at_most": 1000},
        "reached": True,
    }
    others = [{**kick, "row": "B2"}, {**kick, "goal": None}]
    [found] = measured({"figures": [kick, *others]})
    assert (found["goal"], found["asked"], found["reached"]) == ("G14", "at most 1000 ms", "155 ms")


def test_both_files_are_written(tmp_path: Path) -> None:
    (tmp_path / "reliability.md").write_text(f"Before\n{BEGIN}\nold\n{END}\nAfter\n")
    write(tmp_path, [row("G1", "0")])
    write(tmp_path, [row("G2", "0", "make soak")])
    text = (tmp_path / "reliability.md").read_text()
    assert text.startswith("Before\n")
    assert text.endswith(f"{END}\nAfter\n")
    assert text.count("| G") == 2
    assert "old" not in text
    assert len(json.loads((tmp_path / "reliability.json").read_text())) == 2


def test_invariants_stand_behind_the_goals() -> None:
    rows = [
        {"goal": goal, "what": "w", "asked": "a", "reached": "r", "command": "c", "good": True}
        for goal in ("I1-I9, I12", "G10", "G2")
    ]
    lines = table(rows).splitlines()[2:]
    assert [line.split(" ")[1] for line in lines] == ["G2", "G10", "I1-I9,"]
