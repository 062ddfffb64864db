"""A timeline as a person reads it: its order, what is folded, what was left out, and that everything has a sentence."""

from __future__ import annotations

import ast
import datetime
import re
from typing import Any

from service.core import timeline
from service.core.explanations import KINDS, REASONS, sentence
from service.core.timeline import Row, Source
from tests.unit.test_docs import ROOT, doc, reasons_in_code

START = datetime.datetime(2030, 1, 31, 8, tzinfo=datetime.UTC)


def moment(minutes: float) -> datetime.datetime:
    return START + datetime.timedelta(minutes=minutes)


def row(minutes: float, what: str, **fields: Any) -> Row:
    return {
        "at": moment(minutes),
        "until": moment(minutes),
        "times": 1,
        "what": what,
        "by": "hooks",
        "reason": None,
        "account": None,
        "correlation_id": None,
        "detail": {},
        **fields,
    }


def whats(rows: list[Row]) -> list[tuple[str, int]]:
    return [(row["what"], row["times"]) for row in rows]


def test_sources_are_merged_in_order_and_ties_keep_the_sources_order() -> None:
    first = Source(rows=[row(1, "connect_allowed"), row(5, "last_login")])
    second = Source(rows=[row(1, "run_started"), row(1, "ask_repeated"), row(3, "confirmed")])
    assert [row["what"] for row in timeline.merge([first, second], 10)] == [
        "connect_allowed", "run_started", "ask_repeated", "confirmed", "last_login"
    ]  # fmt: skip


def test_similar_counters_become_one_row() -> None:
    wrong = [row(n, "connect_refused", reason="wrong_password", times=2, until=moment(n + 0.5)) for n in (0, 2, 4)]
    unknown = [row(n, "connect_refused", reason="unknown_user") for n in (1, 3)]
    [first, second] = timeline.fold(sorted(wrong + unknown, key=lambda row: row["at"]))
    assert (first["reason"], first["times"], first["detail"]["times"]) == ("wrong_password", 6, 6)
    assert (first["at"], first["until"]) == (moment(0), moment(4.5))
    assert (second["reason"], second["times"]) == ("unknown_user", 2)


def test_what_happened_in_between_keeps_counters_apart() -> None:
    refused = [row(n, "connect_refused", reason="request_disabled") for n in (0, 1, 3)]
    rows = [*refused[:2], row(2, "request_enabled"), refused[2]]
    assert whats(timeline.fold(rows)) == [("connect_refused", 2), ("request_enabled", 1), ("connect_refused", 1)]


def test_what_has_a_correlation_id_is_never_folded() -> None:
    rows = [row(n, "ask_refused", reason="expired", correlation_id=str(n)) for n in range(3)]
    assert timeline.fold(rows) == rows


def test_the_newest_rows_are_shown_and_the_first_says_that_some_were_left_out() -> None:
    source = Source(rows=[row(n, "ask_repeated") for n in range(5)])
    assert whats(timeline.merge([source], 5)) == [("ask_repeated", 1)] * 5
    shown = timeline.merge([source], 2)
    assert [(row["what"], row["at"]) for row in shown] == [
        ("left_out", moment(3)), ("ask_repeated", moment(3)), ("ask_repeated", moment(4))
    ]  # fmt: skip
    assert shown[0]["detail"] == {"at_least": 3, "more": False}


def test_rows_before_a_source_is_complete_are_left_out_with_it() -> None:
    """Else the timeline would show a time of which it knows only a part."""
    cut = Source(rows=[row(n, "ask_repeated") for n in (5, 6)], has_more=True)
    shown = timeline.merge([cut, Source(rows=[row(1, "request_created"), row(7, "confirmed")])], 2)
    assert [row["what"] for row in shown] == ["left_out", "ask_repeated", "confirmed"]
    assert shown[0]["detail"]["more"] is True


def test_a_source_that_was_cut_is_known_from_its_oldest_row_on() -> None:
    """That moment is shown of every source, and what was before it of none."""
    cut = Source(rows=[row(5, "ask_repeated"), row(6, "confirmed")], has_more=True)
    whole = Source(rows=[row(4, "request_created"), row(5, "request_enabled"), row(7, "request_disabled")])
    assert [(each["what"], each["at"]) for each in timeline.merge([cut, whole], 10)] == [
        ("left_out", moment(5)), ("ask_repeated", moment(5)), ("request_enabled", moment(5)),
        ("confirmed", moment(6)), ("request_disabled", moment(7)),
    ]  # fmt: skip


def test_one_row_of_a_source_that_was_cut_is_enough_to_know_since_when() -> None:
    cut = Source(rows=[row(5, "ask_repeated")], has_more=True)
    assert whats(timeline.merge([cut], 10)) == [("left_out", 0), ("ask_repeated", 1)]


def test_what_was_left_out_is_a_row_like_any_other() -> None:
    """At the time of the first row that is shown, by nobody, with a sentence that says how to see more."""
    source = Source(rows=[row(n, "ask_repeated") for n in range(5)])
    assert timeline.merge([source], 2)[0] == {
        "at": moment(3),
        "until": moment(3),
        "times": 3,
        "what": "left_out",
        "by": None,
        "reason": None,
        "account": None,
        "correlation_id": None,
        "detail": {"at_least": 3, "more": False},
        "text": "older rows are not shown; ask for an earlier --until, or a higher --limit",
    }


def test_each_row_says_what_it_means_and_why() -> None:
    told = [row(0, "ask_refused", reason="expired"), row(1, "request_reopened")]
    assert [each["text"] for each in timeline.merge([Source(rows=told)], 10)] == [
        "the device asked and was refused; it was told a code and this correlation id: "
        "the request's window is over; change its expires on",
        "an administrator reopened the request: the device may ask again",
    ]


def test_counters_are_alike_in_whatever_order_their_details_are() -> None:
    details = ({"broker": "b", "username": "factory"}, {"username": "factory", "broker": "b"})
    rows = [row(n, "connect_allowed", detail=detail) for n, detail in enumerate(details)]
    assert timeline.fold(rows) == [
        row(0, "connect_allowed", until=moment(1), times=2, detail={"broker": "b", "username": "factory", "times": 2})
    ]


def test_nothing_is_nothing() -> None:
    assert timeline.merge([], 10) == timeline.merge([Source(rows=[])], 10) == []


def test_a_reduced_row_names_no_credential() -> None:
    shown = timeline.merge([Source(rows=[row(0, "connect_refused", detail={"username": "factory", "broker": "b"})])], 1)
    reduced = timeline.reduce(shown[0])
    assert "factory" not in str(reduced)
    assert reduced["detail"] == {"broker": "b", "times": 1}


def test_ages_are_in_the_largest_unit_that_fits() -> None:
    seconds = (-5, 0, 59.9, 60, 3599, 3600, 86399, 86400, 1e6)
    assert [timeline.age(value) for value in seconds] == [
        "0 s ago", "0 s ago", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "23 h ago", "1 d ago", "11 d ago"
    ]  # fmt: skip


def kinds_in_code() -> set[str]:
    """Kinds of events that concern a client id: every constant of such a form in the operations, and in the schema."""
    texts = set(re.findall(r"'(\w+)'", (ROOT / "sql" / "schema.sql").read_text(encoding="utf-8")))
    for path in ROOT.glob("service/operations/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
    said = r"(ask|request|run|step|device|connection|release|message|status|reply|credential)_"
    done = r"(\w+_)?(created|changed|enabled|disabled|stopped|reopened|deleted|started|moved|ended|sent|answered|failed"
    done += (
        r"|out|refused|repeated|contested|unreadable|ignored|connected|disconnected|missing|released|cancelled|used)"
    )
    return {text for text in texts if re.fullmatch(said + done, text)} - set(REASONS)


def test_every_kind_has_a_sentence_and_is_documented() -> None:
    found = kinds_in_code()
    assert {"ask_refused", "run_started", "run_ended", "device_connected", "request_changed", "step_sent"} <= found
    assert found - set(KINDS) == set()
    text = doc("explain.md")
    assert {kind for kind in KINDS if f"`{kind}`" not in text} == set()


def test_every_reason_has_a_sentence() -> None:
    written = re.search(r"## Reasons.*", doc("access.md"), re.DOTALL)
    assert written is not None
    documented = {
        reason
        for line in written[0].splitlines()
        if line.startswith("| `")
        for reason in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }
    assert len(documented) > 50
    assert (documented | reasons_in_code()) - set(REASONS) == set()
    assert set(REASONS) - documented == set()


def test_a_sentence_says_what_a_kind_means_and_the_reason_behind_it() -> None:
    assert sentence("device_missing", None) == "the device's connection broke without a goodbye"
    assert sentence("run_ended", "stopped") == "the run ended without a login: an administrator stopped the run"
    assert sentence("run_ended", "later_reason") == "the run ended without a login"
    assert sentence("later_kind", "stopped") == "later kind: an administrator stopped the run"


def test_a_word_of_a_later_version_is_shown_as_it_is() -> None:
    assert sentence("later_kind", "later_reason") == "later kind"
