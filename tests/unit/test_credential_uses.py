"""Uses of factory credentials, counted between two flushes."""

from __future__ import annotations

from service.memory import MOST_USES, Uses


def test_the_last_password_of_a_client_counts() -> None:
    uses = Uses()
    uses.count("fleet", "old_password", "gw-1")
    uses.count("fleet", "new_password", "gw-1")
    uses.count("fleet", "new_password", "gw-2")
    uses.count("fleet", "old_password", "gw-2")
    told = {(row["kind"], row["what"]) for row in uses.take()}
    assert told == {("new_password", "gw-1"), ("old_password", "gw-2")}
    assert uses.take() == []


def test_what_could_not_be_written_is_older() -> None:
    uses = Uses()
    uses.count("fleet", "old_password", "gw-1")
    uses.count("fleet", "address", "192.0.2.1")
    taken = uses.take()
    uses.count("fleet", "new_password", "gw-1")
    uses.count("fleet", "address", "192.0.2.1")
    uses.give_back(taken)
    told = {(row["kind"], row["what"]): row["count"] for row in uses.take()}
    assert told == {("new_password", "gw-1"): 1, ("address", "192.0.2.1"): 2}


def test_a_flood_is_counted_in_one() -> None:
    uses = Uses()
    for number in range(MOST_USES + 10):
        uses.count("fleet", "unknown_client_id", f"x-{number}")
    rows = uses.take()
    assert len(rows) == MOST_USES + 1
    assert rows[-1] == {"username": "fleet", "kind": "unknown_client_id", "what": "*", "count": 10}


def test_text_of_strangers_is_escaped() -> None:
    uses = Uses()
    uses.count("fleet", "address", "\x1b[2J" + "x" * 1000)
    (row,) = uses.take()
    assert "\x1b" not in row["what"]
    assert len(row["what"]) <= 256
