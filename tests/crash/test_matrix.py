"""Killed before and after every commit, publication and acknowledgement: nothing is lost, nothing is there twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from service.operations.administration import Administration
from tests.crash.points import POINTS, Point
from tests.crash.stories import Stage
from tests.crash.theatre import Theatre
from tests.support.database import Database
from tests.support.figures import record
from tests.support.world import World

# A world tells several stories, one after another.
PARTS = 8
# So many in `make test`; the other half of the forty is administrators' commands and the asks of test_crashes.
SAMPLED = 4
SAMPLE = POINTS[:: len(POINTS) // 20]


@pytest.fixture
async def theatre(database: Database, admin: Administration, tmp_path: Path) -> AsyncIterator[Theatre]:
    world = World(database=database, admin=admin)
    try:
        await world.prepare()
        theatre = Theatre(stage=Stage(world=world, folder=tmp_path))
        theatre.open()
        yield theatre
    finally:
        world.close()


async def tell_all(theatre: Theatre, points: Sequence[Point], command: str) -> None:
    """One after another; what failed is said at the end."""
    failed = []
    for point in points:
        try:
            await theatre.tell(point)
        except AssertionError as error:
            failed.append(str(error))
    record(
        goal="G2",
        what=f"{len(points)} points of devices' stories, the process killed at each and started again",
        asked="0 violations",
        reached=str(len(failed)),
        command=command,
        good=not failed,
    )
    assert not failed, "\n".join(failed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(SAMPLED))
async def test_some_points(theatre: Theatre, part: int) -> None:
    await tell_all(theatre, SAMPLE[part::SAMPLED], "make test")


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
async def test_every_point(theatre: Theatre, part: int) -> None:
    await tell_all(theatre, POINTS[part::PARTS], "make test-long")
