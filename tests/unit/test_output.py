"""What commands print: text of strangers stays text, for people and for programs."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given

from service.cli import output
from service.core.problems import InvalidInput, Problem
from tests.unit.strategies import any_text

# What rich takes for markup, for emoji (MAC addresses hold such codes) or for something to fold.
TEXTS = [
    "gw-1",
    "[red]gw[/]",
    "[link=https://evil]click[/link]",
    r"\[red]gw",
    r"\\[red]gw",
    r"\[/]",
    "[/]",
    "gw\\",
    "]",
    "[[x]]",
    "00:ab:cd:00:a:b",
    "gw:cat:1",
    ":x:",
    "x" * 500,
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_strangers_is_printed_to_the_letter(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_text("client ", (text, "bold"))
    assert capsys.readouterr().out == f"client {text}\n"
    output.notice(text)
    assert capsys.readouterr().err == f"{text}\n"


@pytest.mark.parametrize("text", TEXTS)
def test_tables_and_records_print_it_to_the_letter_too(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table([{"client_id": text, "other": None}], ["client_id", "other"], empty="nothing")
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["client", "id", "other"]
    assert row.split() == [text, "-"]
    output.print_record({"client_id": text, "detail": {"a": text}})
    assert capsys.readouterr().out.count(text) == 2


def test_an_empty_table_is_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table([], ["client_id"], empty="nothing is known of [x]")
    assert capsys.readouterr().out == "nothing is known of [x]\n"


@given(any_text)
def test_no_text_moves_the_cursor(text: str) -> None:
    """Control characters, line ends, direction marks and lone surrogates are shown as escapes."""
    assert output.clean(text).isprintable()
    if text.isprintable():
        assert output.clean(text) == text


def test_escapes_say_which_character_it_was() -> None:
    assert output.clean("a\nb\x1b[2J\u202e\ud800") == r"a\nb\x1b[2J\u202e\ud800"


def test_json_is_ascii_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime.datetime(2030, 1, 31, 8, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    value = {"é\u2028\x1b": ["😀", None, True], "at": moment}
    for show in (output.print_json, output.print_line):
        show(value)
        written = capsys.readouterr().out
        assert written.isascii()
        assert "\x1b" not in written
        assert json.loads(written) == {"é\u2028\x1b": ["😀", None, True], "at": "2030-01-31T06:00:00Z"}
    assert written.count("\n") == 1


def test_problems_are_printed_by_field_beside_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    error = InvalidInput([Problem(field="client_id", rule="client_id", text="is [wrong]\n")])
    output.print_problems(error, as_json=False)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "client_id: is [wrong]\\n\n")
    output.print_problems(error, as_json=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert json.loads(printed.err) == {
        "problems": [{"field": "client_id", "rule": "client_id", "text": "is [wrong]\n"}]
    }


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        ("", ""),
        ([], "-"),
        ({}, "-"),
        (["a", 1], "a, 1"),
        (("a",), "a"),
        ({"a": [1]}, '{"a": [1]}'),
        (datetime.datetime(2030, 1, 31, 8, tzinfo=datetime.UTC), "2030-01-31T08:00:00Z"),
    ],
)
def test_a_cell_shows_a_value(value: object, cell: str) -> None:
    assert output.cell(value) == cell
