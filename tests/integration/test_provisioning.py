"""The main path on a real Postgres: an ask becomes a run, a login confirms it."""

from __future__ import annotations

import json

from tests.support.database import Database, make_account, make_request
from tests.support.desk import ask, open_answer
from service.operations.administration import Administration
from service.operations.asks import Desk


async def test_a_good_ask_begins_a_run(admin: Administration, database: Database, desk: Desk) -> None:
    """A good ask makes user, device and connection, and answers with the new credentials."""
    await make_account(admin)
    await make_request(admin)
    reply = await ask(desk, "gw-1")
    assert reply["result"] == "accepted"
    await database.check_invariants()
    again = await ask(desk, "gw-1", id="another")
    assert {k: v for k, v in again.items() if k not in ("id", "server_time", "confirm_within")} == {
        k: v for k, v in reply.items() if k not in ("id", "server_time", "confirm_within")
    }
