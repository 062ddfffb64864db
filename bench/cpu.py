"""CPU seconds of processes, and pairs that are measured in turn, so that what else the machine does hits both alike."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figure, Goal

PAIRS = 5
_TICK = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """User and system time until now (proc(5): fields 14 and 15 of stat)."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICK


def exact_cpu_seconds(pid: int) -> float:
    """The same by the scheduler's clock, in nanoseconds rather than ticks, of the threads that there are now."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9


def family_cpu_seconds(pid: int) -> float:
    """The same of a process, its children that it has reaped, and those that live: Postgres has one a connection."""
    fields = _stat(pid)
    total = sum(int(fields[place]) for place in (11, 12, 13, 14)) / _TICK
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            total += cpu_seconds(int(child))
        except OSError:  # it has just ended
            continue
    return total


def resident_bytes(pid: int) -> int:
    """Memory that a process has in use (proc(5): field 24 of stat, in pages)."""
    return int(_stat(pid)[21]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Processes whose CPU seconds are counted; `families` by the process that has the others."""

    processes: Mapping[str, int] = field(default_factory=dict)
    families: Mapping[str, int] = field(default_factory=dict)

    def now(self) -> dict[str, float]:
        """By name, until now."""
        alone = {name: cpu_seconds(pid) for name, pid in self.processes.items()}
        return alone | {name: family_cpu_seconds(pid) for name, pid in self.families.items()}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One measurement: a value, and the CPU seconds of the processes that had part in it."""

    value: float
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)


Measure = Callable[[int], Awaitable[Taken]]
"""Is told which pair it is for: 0 warms up."""


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each took meanwhile."""
    return {name: after[name] - before[name] for name in before}


def added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """CPU seconds by process, all together."""
    total: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.items():
            total[name] = total.get(name, 0.0) + seconds
    return total


async def in_turns(*sides: Measure, times: int = PAIRS) -> list[list[Taken]]:
    """
    What each side measured, side by side, `times` times; a first time warms up and is not counted.

    Every other time they go the other way round: whoever is second may find the machine warmer.
    """
    found: list[list[Taken]] = [[] for _ in sides]
    for number in range(times + 1):
        order = list(enumerate(sides))
        for place, side in order if number % 2 else reversed(order):
            taken = await side(number)
            if number:
                found[place].append(taken)
    return found


def ratio(row: str, what: str, measured: Sequence[Taken], peer: Sequence[Taken], goal: Goal | None = None) -> Figure:
    """measured / peer of each pair."""
    return Figure(
        row=row,
        what=what,
        values=tuple(one.value / other.value for one, other in zip(measured, peer, strict=True)),
        goal=goal,
        cpu_seconds=added(taken.cpu_seconds for taken in (*measured, *peer)),
    )


def plain(row: str, what: str, unit: str, taken: Sequence[Taken], goal: Goal | None = None) -> Figure:
    """The values as they are."""
    return Figure(
        row=row,
        what=what,
        unit=unit,
        values=tuple(one.value for one in taken),
        goal=goal,
        cpu_seconds=added(one.cpu_seconds for one in taken),
    )
