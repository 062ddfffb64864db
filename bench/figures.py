"""Figures: values beside a goal, what a table and a file say of them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed. Raises ValueError where there are none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What the median must not exceed (`at_most`), or must come to (`at_least`): one of the two."""

    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a goal is either at most or at least something")

    @property
    def value(self) -> float:
        """The number itself."""
        return self.at_most if self.at_most is not None else self.at_least or 0.0

    def is_reached(self, median: float) -> bool:
        """By this median."""
        return median <= self.value if self.at_most is not None else median >= self.value

    def __str__(self) -> str:
        return f"at {'most' if self.at_most is not None else 'least'} {number(self.value)}"

    def to_json(self) -> dict[str, float]:
        """{"at_most": ...} or {"at_least": ...}."""
        return {"at_most" if self.at_most is not None else "at_least": self.value}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """
    What was measured some times (five, if it can be): `values` in `unit`; "" for a ratio.

    `cpu_seconds` says, by process, what all counted measurements together cost.
    """

    row: str
    what: str
    unit: str = ""
    values: tuple[float, ...]
    goal: Goal | None = None
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.row} {self.what}: no values")

    @property
    def minimum(self) -> float:
        """The least."""
        return min(self.values)

    @property
    def median(self) -> float:
        """Which decides whether the goal is reached."""
        return statistics.median(self.values)

    @property
    def maximum(self) -> float:
        """The most."""
        return max(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None: there is none."""
        return None if self.goal is None else self.goal.is_reached(self.median)

    def to_json(self) -> dict[str, Any]:
        """As bench.json has it."""
        return {
            "row": self.row,
            "what": self.what,
            "unit": self.unit,
            "values": [rounded(value) for value in self.values],
            "minimum": rounded(self.minimum),
            "median": rounded(self.median),
            "maximum": rounded(self.maximum),
            "goal": self.goal.to_json() if self.goal is not None else None,
            "reached": self.reached,
            "cpu_seconds": {name: round(seconds, 2) for name, seconds in self.cpu_seconds.items()},
        }


def from_json(document: Mapping[str, Any]) -> Figure:
    """What `to_json` wrote."""
    return Figure(
        row=document["row"],
        what=document["what"],
        unit=document["unit"],
        values=tuple(document["values"]),
        goal=Goal(**document["goal"]) if document["goal"] is not None else None,
        cpu_seconds=document["cpu_seconds"],
    )


def single(row: str, what: str, value: float, unit: str = "", *, at_most: float | None = None) -> Figure:
    """A figure that was measured once, as good as it is small."""
    return Figure(
        row=row, what=what, unit=unit, values=(value,), goal=Goal(at_most=at_most) if at_most is not None else None
    )


def rounded(value: float) -> float:
    """To four digits: the rest is noise."""
    return float(f"{value:.4g}")


def number(value: float) -> str:
    """For people: three digits, more only before the point."""
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def verdict(figure: Figure) -> str:
    """Beside the goal."""
    return {None: "", True: "reached", False: "NOT REACHED"}[figure.reached]


def cells(figure: Figure) -> tuple[str, ...]:
    """Row, what, unit, minimum, median, maximum, goal, verdict, CPU seconds by process."""
    spread = (number(figure.minimum), number(figure.median), number(figure.maximum))
    cpu = ", ".join(f"{name} {seconds:.1f}" for name, seconds in figure.cpu_seconds.items())
    goal = str(figure.goal) if figure.goal is not None else ""
    return (figure.row, figure.what, figure.unit, *spread, goal, verdict(figure), cpu)


HEADINGS = ("row", "what", "unit", "minimum", "median", "maximum", "goal", "", "CPU seconds")


def line(figure: Figure) -> str:
    """One figure for a terminal."""
    row, what, unit, *spread, goal, said, cpu = cells(figure)
    return (
        f"{row:<7} {what:<62} {' / '.join(spread):>26} {unit:<5} {f'{goal}: {said}' if goal else '':<26} {cpu}".rstrip()
    )


def markdown(figures: Iterable[Figure]) -> str:
    """A table for a page."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(cells(figure) for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
