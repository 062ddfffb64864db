"""How much is measured: `make bench` for every day, `make bench-large` all of it."""

from __future__ import annotations

import os

_NAME = "BENCH_LARGE"


def is_large() -> bool:
    """Whether the slow measurements were asked for; a measurement may then take more of everything."""
    return os.environ.get(_NAME) == "1"


def set_large(large: bool) -> None:
    """For this process and those that it starts."""
    os.environ[_NAME] = "1" if large else "0"
