"""Explanations of mutants that no test kills: each still fits a line of the code, and the report counts them right."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from tests.mutation.survivors import EXPLAINED, Mutant, changed_lines, entry, read_explained, report

DIFF = """--- service/core/budget.py
+++ service/core/budget.py
@@ -1,3 +1,3 @@
 def take(budget, now):
-    left = budget.tokens - 1
+    left = budget.tokens + 1
     return left"""
CHANGE = "- left = budget.tokens - 1\n+ left = budget.tokens + 1"
MUTANT = Mutant("service.core.budget.take", CHANGE)


def source_of(function: str) -> str:
    """The text of a function or method by its whole name, its lines without indentation."""
    module, _, rest = function.removeprefix("service.core.").partition(".")
    found: object = importlib.import_module(f"service.core.{module}")
    for name in rest.split("."):
        found = inspect.unwrap(getattr(found, name))
    assert callable(found)
    return "\n".join(line.strip() for line in inspect.getsource(found).splitlines())


def test_every_explanation_fits_the_code() -> None:
    for mutant in read_explained(EXPLAINED):
        gone = [line[2:] for line in mutant.change.splitlines() if line.startswith("- ")]
        text = source_of(mutant.function)
        assert gone, mutant
        assert [line for line in gone if line not in text] == [], mutant.function


def test_a_change_is_its_lines_without_their_indentation() -> None:
    assert changed_lines(DIFF) == CHANGE


def write(folder: Path, text: str, name: str = "budget.toml") -> Path:
    """A folder with that file of explanations."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_an_explanation_is_read_as_it_was_printed(tmp_path: Path) -> None:
    assert read_explained(write(tmp_path, entry(MUTANT, "nobody sees it"))) == {MUTANT: "nobody sees it"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (entry(MUTANT), "budget.toml"),
        (entry(MUTANT, "once") + entry(MUTANT, "twice"), "budget.toml"),
        (entry(MUTANT, "nobody sees it"), "steps.toml"),
    ],
)
def test_no_reason_twice_or_another_module_is_refused(text: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=name):
        read_explained(write(tmp_path, text, name))


def test_whoever_is_unexplained_or_no_longer_alive_fails_the_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RELIABILITY_FIGURES", raising=False)  # these figures are nobody's
    explained = {MUTANT: "nobody sees it"}
    assert report(9, 8, [MUTANT], explained)
    assert "9 mutants: 8 killed, 1 explained, 0 left" in capsys.readouterr().out
    assert not report(9, 8, [MUTANT], {})
    assert "8 killed, 0 explained, 1 left" in capsys.readouterr().out
    assert not report(9, 9, [], explained)
    assert "# explained, and killed or gone: 1" in capsys.readouterr().out
