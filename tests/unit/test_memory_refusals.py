"""Counted refusals: bounded, however hard somebody knocks, and fit to be stored and shown."""

from __future__ import annotations

from hypothesis import given

from service.grants_memory import Client
from service.memory import MOST_OF_NOBODY, MOST_OF_USERNAME, MOST_REFUSALS, Refusals, printable
from tests.unit.strategies import any_text

CLIENT: Client = ("provision", "factory", "gw-1")


def test_refusals_are_counted_by_who_and_why() -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.count(CLIENT, "wrong_password")
    refusals.count(CLIENT, "no_grant", "a/b", "READ")
    refusals.count(("account", "factory", "gw-1"), "wrong_password")
    row = {"broker": "provision", "username": "factory", "client_id": "gw-1"}
    assert refusals.take() == [
        {**row, "reason": "wrong_password", "count": 3},
        {**row, "reason": "no_grant", "count": 1, "topic": "a/b", "access": "READ"},
        {**row, "broker": "account", "reason": "wrong_password", "count": 1},
    ]
    assert refusals.take() == []


def test_the_last_topic_is_kept() -> None:
    refusals = Refusals()
    refusals.count(CLIENT, "no_grant", "a", "READ")
    refusals.count(CLIENT, "no_grant", "b", "WRITE")
    (row,) = refusals.take()
    assert (row["count"], row["topic"], row["access"]) == (2, "b", "WRITE")


def test_a_flood_of_names_is_counted_under_one() -> None:
    """And leaves room for those whose username is somebody's."""
    refusals = Refusals()
    for number in range(MOST_REFUSALS + 250):
        refusals.count(("provision", f"user-{number}", "gw"), "unknown_user")
    refusals.count(CLIENT, "wrong_password")
    rows = refusals.take()
    assert len(rows) == MOST_OF_NOBODY + 2
    assert rows[-2] == {
        "broker": "provision",
        "username": "*",
        "client_id": "*",
        "reason": "unknown_user",
        "count": MOST_REFUSALS + 250 - MOST_OF_NOBODY,
    }
    assert rows[-1]["client_id"] == "gw-1"
    assert sum(row["count"] for row in rows) == MOST_REFUSALS + 251


def test_a_flood_of_client_ids_is_counted_under_its_username() -> None:
    refusals = Refusals()
    for number in range(1000):
        refusals.count(("provision", "factory", f"x-{number}"), "wrong_password")
    refusals.count(("provision", "other", "gw-1"), "wrong_password")
    rows = {(row["username"], row["client_id"]): row["count"] for row in refusals.take()}
    assert len(rows) == MOST_OF_USERNAME + 2
    assert rows["factory", "*"] == 1000 - MOST_OF_USERNAME
    assert rows["other", "gw-1"] == 1
    refusals.count(("provision", "factory", "x-999"), "wrong_password")
    assert [row["client_id"] for row in refusals.take()] == ["x-999"]


def test_all_of_them_keep_to_the_bound() -> None:
    refusals = Refusals()
    for number in range(10 * MOST_REFUSALS):
        refusals.count(("provision", f"user-{number}", "gw"), "wrong_password")
    rows = refusals.take()
    assert len(rows) == MOST_REFUSALS + 1
    assert (rows[-1]["username"], rows[-1]["count"]) == ("*", 9 * MOST_REFUSALS)


def test_a_name_that_was_there_before_the_flood_is_still_counted() -> None:
    refusals = Refusals()
    for number in range(MOST_REFUSALS):
        refusals.count(("provision", f"user-{number}", "gw"), "unknown_user")
    refusals.count(("provision", "user-7", "gw"), "unknown_user")
    assert refusals.take()[7]["count"] == 2


def test_what_could_not_be_written_is_added_to_what_came_since() -> None:
    refusals = Refusals()
    refusals.count(CLIENT, "no_grant", "old", "READ")
    refusals.count(("provision", "other", "gw-2"), "no_grant")
    taken = refusals.take()
    refusals.count(CLIENT, "no_grant", "new", "WRITE")
    refusals.give_back(taken)
    rows = {row["username"]: row for row in refusals.take()}
    assert rows["factory"]["count"] == 2
    assert (rows["factory"]["topic"], rows["factory"]["access"]) == ("new", "WRITE")
    assert rows["other"]["count"] == 1


def test_what_is_given_back_keeps_to_the_bound() -> None:
    refusals = Refusals()
    for number in range(MOST_REFUSALS):
        refusals.count(("provision", f"old-{number}", "gw"), "wrong_password")
    taken = refusals.take()
    for number in range(MOST_REFUSALS - 1):
        refusals.count(("provision", f"new-{number}", "gw"), "wrong_password")
    refusals.give_back(taken)
    assert len(refusals.take()) == MOST_REFUSALS


def test_names_of_strangers_are_stored_as_escapes() -> None:
    refusals = Refusals()
    refusals.count(("provision", "a\nb\x1b[31m", "é\ud800"), "malformed_username", "t\0\u2028", "READ")
    (row,) = refusals.take()
    assert row["username"] == "a\\nb\\x1b[31m"
    assert row["client_id"] == "\\xe9\\ud800"
    assert row["topic"] == "t\\x00\\u2028"


def test_long_names_are_cut() -> None:
    refusals = Refusals()
    refusals.count(("provision", "u" * 10_000, "é" * 10_000), "malformed_username", "t" * 65_535, "READ")
    (row,) = refusals.take()
    assert row["username"] == "u" * 256
    assert len(row["client_id"]) == 256
    assert row["topic"] == "t" * 512


@given(any_text)
def test_any_text_becomes_printable_ascii(text: str) -> None:
    """What Postgres, a terminal and a log line can take, and no longer than allowed."""
    for longest in (1, 7, 256):
        shown = printable(text, longest)
        assert len(shown) <= longest
        assert shown == "" or (shown.isascii() and shown.isprintable())


def test_plain_text_stays_as_it_is() -> None:
    assert printable("prov/v1/gw-1/reply", 512) == "prov/v1/gw-1/reply"
