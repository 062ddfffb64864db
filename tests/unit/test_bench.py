"""The pure parts of bench/: statistics, goals, what is written."""

from __future__ import annotations

import asyncio
import importlib
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench import generators, results
from bench.__main__ import MEASUREMENTS, ROWS, Measurement, chosen
from bench.chart import LEFT, MOST, RIGHT, WIDTH, draw
from bench.cpu import Taken, added, difference, in_turns, plain, ratio
from bench.figures import Figure, Goal, from_json, line, number, quantile, single
from bench.logins import chunks

MACHINE = {"cores": "2", "CPU": "one of them", "kernel": "6.1"}
PAGE = f"# Page\n\n{results.BEGIN}\nold\n{results.END}\n\nAfter.\n"


def figure(row: str = "B1", values: tuple[float, ...] = (1.0, 3.0, 2.0), goal: Goal | None = None) -> Figure:
    return Figure(row=row, what="what <it> is", unit="s", values=values, goal=goal, cpu_seconds={"broker": 1.25})


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [((5.0,), 0.99, 5.0), (range(1, 101), 0.5, 51), (range(1, 101), 0.99, 100), ((3.0, 1.0, 2.0), 0.0, 1.0)],
)
def test_quantile(values: tuple[float, ...], share: float, expected: float) -> None:
    assert quantile(values, share) == expected


def test_nothing_has_no_quantile_and_makes_no_figure() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile((), 0.5)
    with pytest.raises(ValueError, match="B1 what <it> is: no values"):
        figure(values=())


@pytest.mark.parametrize("sides", [{}, {"at_most": 1.0, "at_least": 1.0}])
def test_a_goal_has_one_side(sides: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either"):
        Goal(**sides)


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal(at_most=2.0), True),
        (Goal(at_most=1.9), False),
        (Goal(at_least=2.0), True),
        (Goal(at_least=2.1), False),
        (Goal(at_most=0), False),
        (None, None),
    ],
)
def test_the_median_decides(goal: Goal | None, reached: bool | None) -> None:
    found = figure(goal=goal)
    assert (found.minimum, found.median, found.maximum, found.reached) == (1.0, 2.0, 3.0, reached)
    assert ("NOT REACHED" in line(found)) is (reached is False)


@pytest.mark.parametrize("goal", [Goal(at_most=0), Goal(at_least=0.45), None])
def test_a_figure_outlives_its_file(goal: Goal | None) -> None:
    assert from_json(json.loads(json.dumps(figure(goal=goal).to_json()))) == figure(goal=goal)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1.0449, "1.04"), (0.00012, "1.2e-04"), (123456.7, "123,457"), (99.96, "100")]
)
def test_numbers_for_people(value: float, text: str) -> None:
    assert number(value) == text


async def test_sides_take_turns_and_the_first_turn_is_not_counted() -> None:
    called: list[tuple[str, int]] = []

    async def side(name: str, value: float, turn: int) -> Taken:
        called.append((name, turn))
        return Taken(value=value + turn, cpu_seconds={name: 1.0})

    one, other = await in_turns(lambda turn: side("one", 10, turn), lambda turn: side("other", 0, turn), times=2)
    assert called == [("other", 0), ("one", 0), ("one", 1), ("other", 1), ("other", 2), ("one", 2)]
    assert ratio("B1", "x", one, other).values == (11.0, 6.0)
    assert ratio("B1", "x", one, other).cpu_seconds == {"one": 2.0, "other": 2.0}
    assert plain("B1", "x", "s", other).values == (1.0, 2.0)


def test_cpu_seconds_by_name() -> None:
    assert difference({"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 4.0}) == {"a": 0.5, "b": 2.0}
    assert added([{"a": 1.0}, {"a": 1.0, "b": 2.0}]) == {"a": 2.0, "b": 2.0}


def test_the_picture_is_xml_and_every_goal_is_at_one_place() -> None:
    figures = [
        figure(goal=Goal(at_most=2.0)),
        figure("B2", (1.0,), Goal(at_least=2.0)),
        figure("B3", (900.0,), Goal(at_most=1.0)),
        figure("none"),
    ]
    root = ElementTree.fromstring(draw(figures, 'a "title" & more'))
    bars = [element for element in root.iter() if element.tag.endswith("rect")]
    half = (WIDTH - LEFT - RIGHT) / MOST
    assert [(bar.get("class"), float(bar.get("width", ""))) for bar in bars] == [
        ("reached", half),
        ("missed", half / 2),
        ("missed", half * MOST),
    ]
    goal = next(element for element in root.iter() if element.get("class") == "goal")
    assert float(goal.get("x1", "")) == LEFT + half
    assert root.get("aria-label") == 'a "title" & more'


def test_a_page_gets_machine_and_table() -> None:
    page = results.with_figures(PAGE, MACHINE, [figure(goal=Goal(at_most=2.0))])
    assert page.startswith("# Page\n\n")
    assert page.endswith(f"{results.END}\n\nAfter.\n")
    assert "old" not in page
    assert "Measured on: 2 cores, CPU one of them, kernel 6.1." in page
    assert "| B1 | what <it> is | s | 1 | 2 | 3 | at most 2 | reached | broker 1.2 |" in page
    assert results.with_figures(page, MACHINE, [figure(goal=Goal(at_most=2.0))]) == page
    with pytest.raises(ValueError, match="the page needs"):
        results.with_figures("# Page", MACHINE, [])


def test_a_row_that_is_measured_again_replaces_its_figures_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(PAGE)
    results.write(tmp_path, MACHINE, [figure("B1"), figure("B1"), figure("B2")])
    before = results.read(tmp_path, MACHINE)
    assert [kept.row for kept in before] == ["B1", "B1", "B2"]
    assert results.merged(before, [figure("B3"), figure("B1", (9.0,))], ("B1", "B2", "B3")) == [
        figure("B1", (9.0,)),
        figure("B2"),
        figure("B3"),
    ]
    assert results.read(tmp_path, {**MACHINE, "cores": "4"}) == []
    assert "<svg" in (tmp_path / "bench.svg").read_text()


def test_which_measurements_are_chosen() -> None:
    assert {measurement.module for measurement in chosen([], large=True)} == {each.module for each in MEASUREMENTS}
    assert all(measurement.everyday for measurement in chosen([], large=False))
    slow = next(measurement for measurement in MEASUREMENTS if not measurement.everyday)
    assert chosen([slow.rows[0]], large=False) == [slow]
    assert [measurement.rows for measurement in chosen(["B3"], large=False)] == [("B2", "B3")]
    assert [measurement.module for measurement in chosen(["B8"], large=False)] == ["revocations", "takeover"]
    assert len(set(ROWS)) == len(ROWS)


def test_measured_once() -> None:
    assert single("outage", "lost", 0, at_most=0).reached
    assert single("outage", "lost", 1).reached is None


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.module)
def test_every_measurement_is_there(measurement: Measurement) -> None:
    module = importlib.import_module(f"bench.{measurement.module}")
    assert asyncio.iscoroutinefunction(module.measure)
    assert module.__doc__ is not None


def test_turns_have_devices_of_their_own() -> None:
    chunked = chunks(1000, 50, 7)
    assert [len(chunk) for chunk in chunked] == [50] * 7
    assert len({number for chunk in chunked for number in chunk}) == 350
    assert chunked == chunks(1000, 50, 7)


def test_users_are_written_for_us_alone(tmp_path: Path) -> None:
    path = generators.write_users(tmp_path, "some", [("c-1", "u-1", "secret"), ("c-2",)])
    assert path.read_text() == "c-1\tu-1\tsecret\nc-2\n"
    assert path.stat().st_mode & 0o077 == 0
