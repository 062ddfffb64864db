"""
`python -m bench [--large] [--write] [ROW...]`: figures beside their goals, one measurement after another.

Without rows: those for every day, with `--large` all; B6 is measured with `--large` alone. `--write` keeps them in
docs/benchmarks, with those of other rows that this machine has measured before.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import machine, results, scale
from bench.figures import Figure, line

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@dataclass(frozen=True)
class Measurement:
    """A module of this package whose `async def measure() -> list[Figure]` measures these rows."""

    module: str
    rows: tuple[str, ...]
    everyday: bool = True


MEASUREMENTS = (
    Measurement("logins", ("B1",)),
    Measurement("messages", ("B2", "B3")),
    Measurement("hooks", ("B4",)),
    Measurement("provisioning", ("B5", "B6")),
    Measurement("large_tables", ("B7",), everyday=False),
    Measurement("revocations", ("B8",)),
    Measurement("takeover", ("B8",)),
    Measurement("plugin_memory", ("B9",)),
    Measurement("hooks_memory", ("B9",)),
    Measurement("bystander", ("B10",)),
    Measurement("generator", ("load",)),
    Measurement("hostile_xml", ("XML",)),
    Measurement("bulk_import", ("import",), everyday=False),
    Measurement("outage", ("G6",)),
    Measurement("restarts", ("G7",)),
    Measurement("migrations", ("G22", "G23")),
    Measurement("held", ("G15",), everyday=False),
    Measurement("soak", ("G21",), everyday=False),
)
ROWS = tuple(dict.fromkeys(row for measurement in MEASUREMENTS for row in measurement.rows))


def chosen(rows: Sequence[str], *, large: bool) -> list[Measurement]:
    """Which modules measure these rows; none given: all, the slow ones only if `large`."""
    if rows:
        return [measurement for measurement in MEASUREMENTS if set(rows) & set(measurement.rows)]
    return [measurement for measurement in MEASUREMENTS if measurement.everyday or large]


def run(measurements: Sequence[Measurement]) -> tuple[list[Figure], bool]:
    """Their figures, printed as they come; and whether all could be measured."""
    figures: list[Figure] = []
    complete = True
    for measurement in measurements:
        began = time.monotonic()
        module = importlib.import_module(f"bench.{measurement.module}")
        try:
            found = asyncio.run(module.measure())
        except Exception as error:  # the others are worth having all the same
            complete = False
            print(f"{', '.join(measurement.rows)}: not measured: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        for figure in found:
            print(line(figure))
        print(f"        ({measurement.module}: {time.monotonic() - began:.0f} s)", flush=True)
        figures += found
    return figures, complete


def main() -> int:
    """Exit status: 0 measured, whatever the figures say; 1 something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="the slow measurements too, and more of everything")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {FOLDER.parent.name}/{FOLDER.name}")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    scale.set_large(arguments.large)
    here = machine.describe()
    print("; ".join(f"{name} {value}" for name, value in here.items()))
    figures, complete = run(chosen(arguments.rows, large=arguments.large))
    if arguments.write:
        results.write(FOLDER, here, results.merged(results.read(FOLDER, here), figures, ROWS))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
