"""Figures that tests reach beside their goals: printed, and kept where RELIABILITY_FIGURES names a file."""

from __future__ import annotations

import json
import os


def record(goal: str, what: str, asked: str, reached: str, command: str, good: bool) -> None:
    """
    One figure: its goal (`G10`), what was counted, the figure asked and the one reached, the command that shows it, and
    whether that is good enough. A line of JSON is appended in one write, so that several processes may keep one file.
    """
    print(f"\n{goal}: {what}: {reached} (asked: {asked}){'' if good else ', MISSED'}")
    path = os.environ.get("RELIABILITY_FIGURES")
    if not path:
        return
    figure = {"goal": goal, "what": what, "asked": asked, "reached": reached, "command": command, "good": good}
    line = json.dumps(figure, ensure_ascii=False) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
