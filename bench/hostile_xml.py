"""
Each hostile file of tests/support/hostile_xml.py, read as an additional device configuration in a process of its own:
how long until it was refused (the best of five), and how much more memory the first time took.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, single
from service.configuration_file import read
from tests.support.hostile_xml import FILES

TRIES = 5
GOAL_MS = 100.0
GOAL_MIB = 10.0


def peak() -> int:
    """The most KiB that this process had in use so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_here(name: str) -> None:
    """Print [milliseconds, MiB, rules] of one file."""
    with tempfile.NamedTemporaryFile() as secret:
        make, _ = FILES[name]
        data = make(Path(secret.name))
        before = peak()
        times, rules, more = [], set(), 0
        for number in range(TRIES):
            began = time.perf_counter()
            _, problems = read(data)
            times.append(time.perf_counter() - began)
            rules = {problem.rule for problem in problems}
            more = peak() - before if number == 0 else more
    print(json.dumps([min(times) * 1000, more / 1024, sorted(rules)]))


async def measure() -> list[Figure]:
    """Each file: how long until it was refused, and how much memory it took."""
    figures = []
    for name, (_, rule) in FILES.items():
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.hostile_xml", name, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await child.communicate()
        milliseconds, mebibytes, rules = json.loads(out)
        assert rules == [rule], name
        figures.append(single("XML", f"{name}: refused after", milliseconds, "ms", at_most=GOAL_MS))
        figures.append(single("XML", f"{name}: memory", mebibytes, "MiB", at_most=GOAL_MIB))
    return figures


if __name__ == "__main__":
    measure_here(sys.argv[1])
