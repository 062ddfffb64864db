"""How a figure is printed: what, the goal, what was reached."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def line(what: str, reached: float, goal: float | None = None, unit: str = "ms") -> None:
    """One figure. `reached` is as good as it is small."""
    beside = (
        f"goal at most {goal:g} {unit}: {'reached' if reached <= goal else 'NOT REACHED'}" if goal is not None else ""
    )
    print(f"  {what:<58} {reached:10.1f} {unit:<3} {beside}", flush=True)
