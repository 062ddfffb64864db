"""
Hypothesis draws the same examples every time and writes nothing into the checkout; a test that is run twice in one
process (as mutmut does) has the same name both times.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import configuration, settings

from tests.unit import vectors

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "mosquitto-provisioning-hypothesis")
settings.register_profile("unit", derandomize=True, database=None, deadline=None, max_examples=100)
settings.load_profile("unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest escapes what was given as the name of a parameter, and the next time the backslash of that."""
    for item in items:
        given = any("ids" in mark.kwargs for mark in item.iter_markers("parametrize"))
        if given and not vectors.is_stable(item.name):
            raise pytest.UsageError(f"{item.nodeid}: names of parameters by tests.unit.vectors.shown")
