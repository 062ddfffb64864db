"""CPU seconds of a process, and pairs that are measured in turn, so that what else the machine does hits both alike."""

from __future__ import annotations

import os
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path

PAIRS = 5
_TICK = os.sysconf("SC_CLK_TCK")

Measure = Callable[[], Awaitable[float]]


def cpu_seconds(pid: int) -> float:
    """User and system time until now (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def exact_cpu_seconds(pid: int) -> float:
    """The same by the scheduler's clock, in nanoseconds rather than ticks, of the threads that there are now."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9


async def ratios(measured: Measure, peer: Measure, pairs: int = PAIRS) -> list[float]:
    """measured / peer of each pair, in turns; the first pair warms up and is not counted."""
    found = []
    for number in range(pairs + 1):
        one, other = await measured(), await peer()
        if number:
            found.append(one / other)
    return sorted(found)


def print_ratio(what: str, found: list[float], *, at_most: float | None = None, at_least: float | None = None) -> None:
    """Minimum, median, maximum beside the goal of the median."""
    median = statistics.median(found)
    if at_most is not None:
        goal, good = f"at most {at_most:g}", median <= at_most
    else:
        assert at_least is not None
        goal, good = f"at least {at_least:g}", median >= at_least
    verdict = "reached" if good else "NOT REACHED"
    print(f"  {what:<58} {found[0]:.2f} / {median:.2f} / {found[-1]:.2f}  goal {goal}: {verdict}", flush=True)
