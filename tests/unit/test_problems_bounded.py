"""However large a bad input, what is said of it is small, and said soon."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from service import configuration_file
from service.core import applications
from service.core.problems import LONGEST_SHOWN, MOST_PROBLEMS, InvalidInput, shown
from service.import_file import MOST_UNKNOWN, Reader

MANY = 40_000
FOLDER = Path("nowhere")


def test_a_name_is_cut_and_can_be_sent() -> None:
    assert shown("é") == "é"
    assert shown("a\ud800b") == "a\\ud800b"
    assert shown("x" * LONGEST_SHOWN) == "x" * LONGEST_SHOWN
    assert shown("x" * 10**6) == "x" * LONGEST_SHOWN + "…"


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"x" * 300_000: dict.fromkeys(map(str, range(MANY)))}).encode(),
        b'<esf:configurations xmlns:esf="http://eurotech.com/esf/2.0"><esf:configuration pid="%s"><esf:properties>'
        b"%s</esf:properties></esf:configuration></esf:configurations>" % (b"x" * 60_000, b"<esf:property/>" * 19_000),
        json.dumps(dict.fromkeys((f"{number} " for number in range(MANY)), 1)).encode(),
    ],
    ids=["parameters of a long component", "the same in XML", "components"],
)
def test_a_configuration_with_endless_problems_says_some(data: bytes) -> None:
    """The first of these was worth 12 GB of text once."""
    _, problems = configuration_file.read(data)
    assert len(problems) == MOST_PROBLEMS + 1
    assert problems[-1].rule == "too_many_problems"
    assert sum(len(problem.text) for problem in problems) < 100_000


def test_a_list_of_what_are_no_applications_says_some() -> None:
    found, problems = applications.parse(b"[" + b"1," * MANY + b"1]")
    assert (len(found), len(problems)) == (0, MOST_PROBLEMS)
    assert len(list(applications.check_applications([{}] * MANY))) == MOST_PROBLEMS


def read(data: bytes, format_: str) -> int:
    """How many problems the file has, or its first row."""
    try:
        [row] = Reader(file=io.BytesIO(data), format=format_, folder=FOLDER).rows()
    except InvalidInput as invalid:
        return len(invalid.problems)
    return len(row.problems)


def test_a_line_with_endless_names_costs_no_more_than_its_length() -> None:
    """Counting each name in the whole line would take half an hour."""
    began = time.process_time()
    names = [f"n{number}" for number in range(MANY)]
    fields = ",".join(f'"{name}":1' for name in (*names, *names)).encode()
    assert read(b"{" + fields + b"}", "ndjson") <= 3 * MOST_UNKNOWN
    assert read(",".join((*names, *names)).encode(), "csv") <= 3 * MOST_UNKNOWN
    assert time.process_time() - began < 10
