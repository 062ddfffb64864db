"""Device connection coupling, against tests/vectors/coupling.json: the whole table of Kapua's outcomes."""

from __future__ import annotations

from typing import Any

import pytest

from service.core.coupling import Connection, Coupled, decide_coupling
from service.core.verdicts import Denied
from tests.unit import vectors

ASKING, OTHER = 7, 8
USERS = {"none": None, "same": ASKING, "other": OTHER}
ROWS = vectors.rows("coupling", "rows")
UNKNOWN = vectors.rows("coupling", "unknown")


def name(row: dict[str, Any]) -> str:
    connection = row["connection"]
    shape = "-".join(map(str, connection.values())) if connection else "absent"
    return f"{row['account_coupling']}-{shape}-elsewhere={row['reserved_elsewhere']}"


def decide(row: dict[str, Any]) -> Coupled | Denied:
    stored = row["connection"]
    connection = None
    if stored is not None:
        connection = Connection(
            id=1,
            version=1,
            coupling=stored["coupling"],
            user_id=USERS[stored["last_user"]],
            reserved_user_id=USERS[stored["reserved_user"]],
            allow_user_change=stored["allow_user_change"],
        )
    return decide_coupling(
        user_id=ASKING,
        connection=connection,
        account_coupling=row["account_coupling"],
        reserved_elsewhere=row["reserved_elsewhere"],
    )


def test_the_table_is_whole() -> None:
    """Two modes without a connection; four with one, by reserved user, last user, change or not, elsewhere or not."""
    assert len({name(row) for row in ROWS}) == 2 * 2 + 4 * 3 * 3 * 2 * 2
    assert len(ROWS) == 148


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_the_outcome_is_the_table_s(row: dict[str, Any]) -> None:
    expected = Coupled(changes=row["changes"]) if row["allowed"] else Denied(reason=row["reason"])
    assert decide(row) == expected


@pytest.mark.parametrize("row", UNKNOWN, ids=name)
def test_a_mode_that_nobody_knows_refuses(row: dict[str, Any]) -> None:
    assert decide(row) == Denied(reason="unknown_coupling")


def kapua(row: dict[str, Any]) -> bool:
    """
    Kapua's words, line by line (everyware.md 3.2), as a second hand on the table.

    `count`: how many connections are reserved for the user who asks.
    """
    conn = row["connection"]
    mode = conn["coupling"] if conn else "INHERITED"
    mode = row["account_coupling"] if mode == "INHERITED" else mode
    reserved = conn["reserved_user"] if conn else "none"
    count = row["reserved_elsewhere"] + (reserved == "same")
    if reserved != "none":
        return reserved == "same" and count <= 1
    if count > 0:
        return False
    if mode == "LOOSE" or conn is None:
        return True
    return bool(conn["allow_user_change"] or conn["last_user"] == "same")


def test_the_table_is_kapua_s_but_for_the_deleted_last_user() -> None:
    different = [row for row in ROWS if row["allowed"] != kapua(row)]
    assert different
    assert all(
        row["allowed"] and row["connection"]["last_user"] == "none" and row["connection"]["reserved_user"] == "none"
        for row in different
    )
    modes = {(row["account_coupling"], row["connection"]["coupling"]) for row in different}
    assert modes == {("STRICT", "INHERITED"), ("LOOSE", "STRICT")}
