"""What becomes of a run whose deadline passed: the sweep and an ask do the same, and nobody waits for the sweep."""

from __future__ import annotations

import asyncio
import datetime

import asyncpg
import pytest

from service.operations import sweep
from service.operations.questions import Outcome
from tests.support.desk import say
from tests.support.scene import Scene, expire, now, somebody_waits, until

DAY = datetime.timedelta(days=1)


async def close_overdue(scene: Scene) -> list[str]:
    """One turn of the sweep."""
    return await sweep.close_overdue(scene.desk.pool, scene.database.event_key)


async def test_the_sweep_closes_what_passed(scene: Scene) -> None:
    """No attempt; its user goes, and its device; the request is OPEN and its device may ask again."""
    device = await scene.run()
    await scene.run("gw-2")
    await expire(scene.database)
    assert await close_overdue(scene) == ["gw-1"]
    await scene.database.check_invariants()
    assert (await scene.state(), await scene.run_state()) == ("OPEN", "STOPPED")
    assert (await scene.state("gw-2"), await scene.run_state("gw-2")) == ("RUNNING", "RUNNING")
    row = (await scene.database.fetch("SELECT attempts, enabled FROM provision_requests WHERE client_id = 'gw-1'"))[0]
    assert (row["attempts"], row["enabled"]) == (0, True)
    for table in ("devices", "device_connections"):
        assert await scene.database.fetch(f"SELECT FROM {table} WHERE client_id = 'gw-1'") == []
    assert await scene.database.fetch("SELECT FROM users WHERE name = $1", device.username) == []
    event = (await scene.events())[-1]
    assert (event["kind"], event["reason"], event["source"], event["actor"]) == (
        "run_ended", "past_deadline", "sweep", "responder",
    )  # fmt: skip
    assert (await scene.login(device)).reason == "unknown_user"
    assert await close_overdue(scene) == []
    reply = await scene.ask(device)
    assert reply["result"] == "accepted"
    assert await scene.login(device)


async def test_an_ask_closes_as_the_sweep_would_and_begins_anew(scene: Scene) -> None:
    device = await scene.run()
    first = device.reply
    await expire(scene.database)
    second = await scene.ask(device)
    assert second["result"] == "accepted"
    for name in ("run", "digest"):
        assert second[name] != first[name]
    assert second["connection"]["username"] != first["connection"]["username"]
    await scene.database.check_invariants()
    runs = await scene.database.fetch(
        "SELECT number, state, failure, salt, user_id FROM provision_runs ORDER BY number"
    )
    assert [(row["state"], row["failure"]) for row in runs] == [("STOPPED", "past_deadline"), ("RUNNING", None)]
    assert (runs[0]["salt"], runs[0]["user_id"]) == (None, None)
    assert await scene.kinds() == ["request_created", "run_started", "run_ended", "run_started"]
    ended = (await scene.events())[2]
    assert (ended["reason"], ended["source"], ended["actor"]) == ("past_deadline", "sweep", "responder")
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 0
    assert await scene.login(device)


async def test_outside_the_window_an_ask_begins_nothing(scene: Scene) -> None:
    """The run is left for the sweep: its time is over, and so is the window."""
    device = await scene.run(activates_on=now() - 2 * DAY, expires_on=now() + DAY)
    await scene.database.execute("UPDATE provision_requests SET expires_on = clock_timestamp() - interval '1 hour'")
    repeated = await scene.ask(device)
    assert repeated["result"] == "accepted", "a run once begun may be repeated after it"
    await expire(scene.database)
    refused = await scene.ask(device)
    assert (refused["result"], refused["code"]) == ("refused", "expired")
    assert (await scene.login(device)).reason == "past_deadline"
    assert await close_overdue(scene) == ["gw-1"]
    assert await scene.state() == "OPEN"


@pytest.mark.parametrize("said", ["installing", "applied", "failed"])
async def test_a_status_past_the_deadline_is_too_late(scene: Scene, said: str) -> None:
    """As it would be a moment later, when the sweep was there: the credential that is dead stays dead."""
    device = await scene.run()
    await expire(scene.database)
    await say(scene.desk, "gw-1", device.run, said)
    assert (await scene.kinds())[-1] == "status_ignored"
    assert (await scene.login(device)).reason == "past_deadline"
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 0


async def test_a_request_somebody_works_on_is_skipped(scene: Scene) -> None:
    await scene.run("gw-1")
    await scene.run("gw-2")
    for client_id in ("gw-1", "gw-2"):
        await expire(scene.database, client_id)
    other = await asyncpg.connect(scene.database.url().reveal())
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM provision_requests WHERE client_id = 'gw-1' FOR UPDATE")
        assert await close_overdue(scene) == ["gw-2"]
        await transaction.rollback()
    finally:
        await other.close()
    assert await close_overdue(scene) == ["gw-1"]


async def test_a_request_locked_after_the_sweep_looked_is_skipped_too(scene: Scene) -> None:
    """While it closes the first, somebody begins with the second: that one is left for the next time."""
    first = await scene.run("gw-1")
    await scene.run("gw-2")
    for client_id in ("gw-1", "gw-2"):
        await expire(scene.database, client_id)
    await scene.database.execute(
        "UPDATE provision_runs SET confirm_by = confirm_by - interval '1 hour' WHERE username = $1", first.username
    )
    one, two = [await asyncpg.connect(scene.database.url().reveal()) for _ in range(2)]
    try:
        holding, working = one.transaction(), two.transaction()
        await holding.start()
        await one.execute("SELECT FROM users WHERE name = $1 FOR UPDATE", first.username)
        turn = asyncio.create_task(close_overdue(scene))
        await somebody_waits(scene.database)  # the sweep, for the first one's user
        await working.start()
        await two.execute("SELECT FROM provision_requests WHERE client_id = 'gw-2' FOR UPDATE")
        await holding.rollback()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
        gone = "SELECT NOT EXISTS (SELECT FROM users WHERE name = $1)"

        async def ended_or_waits() -> bool:
            if not await scene.database.value(gone, first.username):
                return False
            return turn.done() or bool(await scene.database.value(waits, scene.database.name))

        await until(ended_or_waits)
        waited = not turn.done()
        await working.rollback()
        closed = await turn
    finally:
        await one.close()
        await two.close()
    assert not waited
    assert closed == ["gw-1"]


async def test_a_login_waits_for_nobody_long(scene: Scene) -> None:
    """200 ms, then 503: the broker stands still while it waits."""
    device = await scene.run()
    other = await asyncpg.connect(scene.database.url().reveal())
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM provision_requests FOR UPDATE")
        verdict = await scene.login(device)
        assert verdict.outcome is Outcome.UNAVAILABLE
        await transaction.rollback()
    finally:
        await other.close()
    assert await scene.login(device)


async def test_a_deadline_that_passes_while_a_login_waits_has_passed(scene: Scene) -> None:
    device = await scene.run()
    signature = await scene.database.value("SELECT oid::regprocedure::text FROM pg_proc WHERE proname = 'hook_login'")
    await scene.database.execute(f"ALTER FUNCTION {signature} SET lock_timeout = '100s'")
    other = await asyncpg.connect(scene.database.url().reveal())
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM provision_requests FOR UPDATE")
        login = asyncio.create_task(scene.login(device))
        await somebody_waits(scene.database)
        await expire(scene.database)
        await transaction.rollback()
        verdict = await login
    finally:
        await other.close()
    assert (verdict.outcome, verdict.reason) == (Outcome.UNAVAILABLE, "changed_meanwhile")
    assert await scene.state() == "RUNNING"
    assert (await scene.login(device)).reason == "past_deadline"


async def test_pruning_keeps_what_is_young(scene: Scene) -> None:
    """Refusals of thirty days and one-time passwords of five seconds."""
    database = scene.database
    await scene.gate.store.count_refusals(
        [{"broker": "b", "username": name, "client_id": "c", "reason": "r", "count": 1} for name in ("old", "new")]
    )
    await database.execute("UPDATE refusals SET minute = minute - interval '31 days' WHERE username = 'old'")
    await database.execute(
        "INSERT INTO one_time_passwords VALUES (sha256('old'), 'c', clock_timestamp() - interval '1 second'),"
        " (sha256('new'), 'c', clock_timestamp() + interval '1 hour')"
    )
    await sweep.prune(scene.desk.pool)
    assert [row[0] for row in await database.fetch("SELECT username FROM refusals")] == ["new"]
    assert await database.value("SELECT count(*) FROM one_time_passwords") == 1
