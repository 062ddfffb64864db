"""
Every parser takes anything: the corpus of past findings, poison, and what hypothesis makes of good inputs.

`make fuzz` lets libFuzzer loose on the same targets, led by which lines an input reaches.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import seeds
from tests.fuzz.strategies import STRUCTURED
from tests.fuzz.targets import TARGETS

NAMES = sorted(TARGETS)
CORPUS = [(name, path) for name in NAMES for path in seeds.findings(name)]


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """Mutated bytes, and structured ones where the target has some."""
    strategies = [seeds.mutated(seeds.all_of(name)), st.binary(max_size=200)]
    return st.one_of(*([STRUCTURED[name]] if name in STRUCTURED else []), *strategies)


def fuzz(name: str, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs(name))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


@pytest.mark.parametrize("name", NAMES)
def test_a_parser_takes_anything(name: str) -> None:
    for data in (*seeds.good()[name], *seeds.POISON):
        TARGETS[name](data)
    fuzz(name, 40)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_parser_takes_anything_for_long(name: str) -> None:
    fuzz(name, 20_000)


@pytest.mark.parametrize(("name", "path"), CORPUS, ids=[f"{name}-{path.name}" for name, path in CORPUS])
def test_what_was_found_once_stays_mended(name: str, path: Path) -> None:
    TARGETS[name](path.read_bytes())


def test_the_corpus_is_of_targets() -> None:
    """A folder with a misspelt name would be run by nobody."""
    assert {path.name for path in seeds.CORPUS.iterdir()} <= set(NAMES)
    assert set(seeds.good()) == set(NAMES)
