"""Figures are printed, and kept where a file is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.figures import record


def _record(good: bool = True) -> None:
    record("G10", "decisions", "0 differences", "0 differences of 200,000 tuples", "make test-long", good)


def test_printed_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RELIABILITY_FIGURES", raising=False)
    _record()
    assert capsys.readouterr().out == "\nG10: decisions: 0 differences of 200,000 tuples (asked: 0 differences)\n"


def test_kept_a_line_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "figures"
    monkeypatch.setenv("RELIABILITY_FIGURES", str(file))
    _record()
    _record(good=False)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["good"] for line in lines] == [True, False]
    assert lines[0] == {
        "goal": "G10",
        "what": "decisions",
        "asked": "0 differences",
        "reached": "0 differences of 200,000 tuples",
        "command": "make test-long",
        "good": True,
    }
