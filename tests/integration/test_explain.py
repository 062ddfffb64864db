"""`explain` on real rows: every source, whose rows an account sees, and floods that push out nobody else's."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from service.core.problems import InvalidInput
from service.operations import explain, moves, sweep
from service.operations.explain import Period
from tests.integration.test_account_move import GLOBEX, release, request, two
from tests.support.command import provision
from tests.support.database import Database
from tests.support.scene import ACCOUNT, PROVISION, Scene, now

__all__ = ["two"]

CLIENT_SHARE, OTHERS_SHARE = 20, 100


async def flush(scene: Scene) -> None:
    await scene.gate.store.count_refusals(scene.gate.admission.refusals.take())
    await scene.gate.store.count_logins(scene.gate.admission.logins.take())


def refusal(client_id: str, username: str, reason: str = "wrong_password", **more: Any) -> dict[str, Any]:
    return {
        "broker": PROVISION, "username": username, "client_id": client_id, "reason": reason, "count": 1, **more
    }  # fmt: skip


async def whats(scene: Scene, client_id: str = "gw-1", account: str | None = None) -> list[str]:
    return [row["what"] for row in await explain.explain(scene.admin, client_id, account)]


async def test_a_devices_whole_story(scene: Scene) -> None:
    device = await scene.request(generate_activation_key=True)
    assert not await scene.gate.connect(PROVISION, device.factory_username, "Wrong-Password", "gw-1")
    assert not await scene.gate.connect(PROVISION, device.factory_username, "Wrong-Password", "gw-1")
    assert await scene.factory_login(device)
    assert not await scene.gate.acl(PROVISION, device.factory_username, "gw-1", "prov/v1/gw-2/request", 2)
    await flush(scene)
    refused = await scene.ask(device, activation_key="a" * 32)
    await scene.ask(device)
    await scene.ask(device)
    assert await scene.login(device)
    await flush(scene)
    await scene.ask(device)
    rows = {row["what"]: row for row in await explain.explain(scene.admin, "gw-1", "acme")}
    assert set(rows) >= {
        "request_created", "connect_refused", "connect_allowed", "topic_refused", "ask_refused", "run_started",
        "ask_repeated", "confirmed", "last_login", "credential_contested",
    }  # fmt: skip
    assert (rows["connect_refused"]["reason"], rows["connect_refused"]["times"]) == ("wrong_password", 2)
    assert rows["connect_refused"]["detail"]["username"] == device.factory_username
    assert (rows["topic_refused"]["detail"]["topic"], rows["topic_refused"]["detail"]["access"]) == (
        "prov/v1/gw-2/request", "WRITE"
    )  # fmt: skip
    assert rows["connect_allowed"]["detail"]["broker"] == ACCOUNT
    assert rows["ask_refused"]["correlation_id"] == refused["correlation_id"]
    assert "another activation key" in rows["ask_refused"]["text"]
    assert rows["credential_contested"]["correlation_id"] is not None
    told = await explain.explain_correlation_id(scene.admin, refused["correlation_id"], "acme")
    assert [(row["what"], row["detail"]["client_id"]) for row in told] == [("ask_refused", "gw-1")]
    assert await explain.explain_correlation_id(scene.admin, "no such id") == []


async def test_a_username_that_nobody_has_is_told_to_whom_the_client_id_belongs(two: Scene) -> None:
    await two.request()
    assert not await two.gate.connect(PROVISION, "mistyped", "Some-Password", "gw-1")
    await flush(two)
    for account, seen in (("acme", ["unknown_user"]), ("globex", [])):
        rows = await explain.explain(two.admin, "gw-1", account)
        assert [row["reason"] for row in rows if row["reason"]] == seen


async def test_our_own_services_logins_are_not_counted(scene: Scene) -> None:
    await scene.gate.connect(PROVISION, "~responder", "x", "~responder")
    assert scene.gate.admission.logins.take() == []


async def test_over_budget_is_told(scene: Scene) -> None:
    device = await scene.request()
    scene.gate.admission.slow_hashes.burst = scene.gate.admission.slow_hashes.rate = 0.0
    assert not await scene.factory_login(device)
    await flush(scene)
    [row] = [row for row in await explain.explain(scene.admin, "gw-1", "acme") if row["reason"]]
    assert (row["what"], row["reason"]) == ("connect_refused", "over_budget")


async def test_administrators_changes_are_told(scene: Scene) -> None:
    await scene.request()
    await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=False)
    await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=True)
    rows = await explain.explain(scene.admin, "gw-1", "acme")
    assert [(row["what"], row["by"]) for row in rows] == [
        ("request_created", "tester"), ("request_disabled", "tester"), ("request_enabled", "tester")
    ]  # fmt: skip


async def test_reduced_shows_no_credential(scene: Scene) -> None:
    device = await scene.provision()
    await scene.factory_login(device)
    await flush(scene)
    text = str(await explain.explain(scene.admin, "gw-1", "acme", reduced=True))
    assert "run_started" in text
    assert device.factory_username not in text
    assert device.username not in text


async def test_a_period_and_a_limit(scene: Scene) -> None:
    await scene.provision()
    everything = await explain.explain(scene.admin, "gw-1")
    middle = everything[1]["at"]
    until = await explain.explain(scene.admin, "gw-1", period=Period(until=middle))
    since = await explain.explain(scene.admin, "gw-1", period=Period(since=middle))
    assert until + since == everything
    shown = await explain.explain(scene.admin, "gw-1", period=Period(limit=1))
    assert [row["what"] for row in shown] == ["left_out", everything[-1]["what"]]
    with pytest.raises(InvalidInput) as wrong:
        await explain.explain(scene.admin, "gw-1", period=Period(since=now(), until=middle, limit=0))
    assert {problem.field for problem in wrong.value.problems} == {"until", "limit"}


async def test_ten_thousand_rows(scene: Scene) -> None:
    """The newest are shown, and what was left out is said; indexes lead to them."""
    await scene.database.execute(
        "INSERT INTO refusals (broker, username, client_id, reason, minute, count, last_at)"
        " SELECT 'b', 'n-' || n, 'busy', 'unknown_user', clock_timestamp() - n * interval '1 minute', 1,"
        " clock_timestamp() - n * interval '1 minute' FROM generate_series(1, 10000) n"
    )
    rows = await explain.explain(scene.admin, "busy")
    assert len(rows) == explain.MOST_ROWS + 1
    assert (rows[0]["what"], rows[-1]["detail"]["username"]) == ("left_out", "n-1")
    assert rows[0]["detail"]["more"] is True


async def test_an_unknown_client_id_is_seen_where_its_credential_is_from(two: Scene) -> None:
    """Of two accounts each sees what came with its own; the platform sees all, and nobody else anything."""
    mine = await two.request("gw-1")
    theirs = await request(two, "gx-1", "globex")
    for username in (mine.factory_username, theirs.factory_username, "nobody"):
        await two.gate.connect(PROVISION, username, "Wrong-Password", "stranger")
    await flush(two)
    seen = {}
    for account in ("acme", "globex", "umbrella", None):
        rows = await explain.explain(two.admin, "stranger", account)
        seen[account] = {row["detail"]["username"] for row in rows}
    assert seen == {
        "acme": {mine.factory_username},
        "globex": {theirs.factory_username},
        "umbrella": set(),
        None: {mine.factory_username, theirs.factory_username, "nobody"},
    }


async def test_a_client_id_that_moved_shows_each_account_its_part(two: Scene) -> None:
    old = await two.provision()
    await release(two)
    new = await request(two)
    await two.ask(new)
    assert await two.login(new, broker=GLOBEX)
    assert not await two.login(old)
    await flush(two)
    for account, own, other in (("acme", old, new), ("globex", new, old)):
        text = str(await explain.explain(two.admin, "gw-1", account))
        assert own.username in text
        assert other.username not in text
    assert "connect_refused" in await whats(two, account="acme")
    assert "connect_refused" not in await whats(two, account="globex")
    told = [row["correlation_id"] for row in await explain.explain(two.admin, "gw-1") if row["correlation_id"]]
    for correlation_id in told:
        assert await explain.explain_correlation_id(two.admin, correlation_id, "umbrella") == []


async def test_a_flood_of_client_ids_fills_its_own_share_only(scene: Scene) -> None:
    """With an account's own factory credential: the device's rows stay, the rest is summarised, and that is said."""
    device = await scene.request()
    other = await scene.request("gw-2")
    store = scene.gate.store
    name = device.factory_username
    await store.count_refusals([refusal("gw-1", name), refusal("gw-2", other.factory_username)])
    for batch in range(5):
        await store.count_refusals([refusal(f"x-{batch}-{n}", name) for n in range(200)])
    await store.count_refusals([refusal("gw-2", other.factory_username, "request_disabled")])
    rows = await scene.database.fetch("SELECT client_id, sum(count)::int FROM refusals GROUP BY 1")
    counts = {row[0]: row[1] for row in rows}
    kept = [client_id for client_id in counts if client_id.startswith("x-")]
    # The minute may have ended once meanwhile.
    assert OTHERS_SHARE <= len(kept) <= 2 * OTHERS_SHARE
    assert counts["*"] + len(kept) == 1000
    assert counts["gw-1"] == 1
    assert counts["gw-2"] == 2
    [others] = [row for row in await explain.explain(scene.admin, "gw-1", "acme") if row["what"] == "others_refused"]
    assert (others["times"], others["detail"]["username"]) == (counts["*"], name)
    assert "not kept" in others["text"]
    assert "others_refused" not in await whats(scene, "gw-2", "acme")


async def test_a_flood_of_usernames_fills_nobodys_share(scene: Scene) -> None:
    """Nobody's usernames share one part of a broker; on a real client id they take that client id's part."""
    device = await scene.request()
    store = scene.gate.store
    await store.count_refusals([refusal(f"x-{n}", f"n-{n}", "unknown_user") for n in range(500)])
    await store.count_refusals([refusal("gw-1", f"n-{n}", "unknown_user") for n in range(500)])
    await store.count_refusals([refusal("y-1", device.factory_username)])
    count = scene.database.value
    assert OTHERS_SHARE <= await count("SELECT count(*) FROM refusals WHERE client_id LIKE 'x-%'") <= 2 * OTHERS_SHARE
    assert CLIENT_SHARE <= await count("SELECT count(*) FROM refusals WHERE client_id = 'gw-1'") <= 2 * CLIENT_SHARE + 2
    assert await count("SELECT sum(count) FROM refusals") == 1001
    assert await count("SELECT count(*) FROM refusals WHERE client_id = 'y-1'") == 1


async def fill(scene: Scene, rows: int, share: str, client_id: str, username: str = "'n-' || n") -> None:
    """So many rows of one share, a second apart."""
    await scene.database.execute(
        "INSERT INTO refusals (broker, username, client_id, reason, minute, count, last_at, share)"
        f" SELECT 'b', {username}, {client_id}, 'r', clock_timestamp() - n * interval '1 second', 1, clock_timestamp(),"
        f" $1 FROM generate_series(1, {rows}) n",
        share,
    )


async def test_pruning_takes_from_the_largest_shares(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "MOST_REFUSALS", 100)
    await fill(scene, 500, "nobody", "'x-' || n")
    await fill(scene, 300, "user factory", "'y-' || n", "'factory'")
    await fill(scene, 5, "client gw-1", "'gw-1'")
    await sweep.prune(scene.desk.pool)
    database = scene.database
    assert await database.value("SELECT count(*) FROM refusals") <= 100
    assert await database.value("SELECT count(*) FROM refusals WHERE client_id = 'gw-1'") == 5
    shares = await database.fetch(
        "SELECT share, count(*) FROM refusals WHERE client_id <> '*' GROUP BY 1 ORDER BY 2 DESC"
    )
    assert {row[1] for row in shares[:2]} <= {37, 38}
    assert await database.value("SELECT sum(count) FROM refusals") == 805
    assert {row[0] for row in await database.fetch("SELECT username FROM refusals WHERE client_id = '*'")} == {
        "*", "factory"
    }  # fmt: skip


async def test_pruning_forgets_old_logins(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.database.execute(
        "INSERT INTO logins (broker, username, client_id, hour, count, first_at, last_at)"
        " SELECT 'b', 'u', 'c', date_trunc('hour', now()) - n * interval '1 day', 1, now(), now()"
        " FROM generate_series(0, 9) n"
    )
    await sweep.prune(scene.desk.pool)
    assert await scene.database.value("SELECT count(*) FROM logins") == 7
    monkeypatch.setattr(sweep, "MOST_LOGINS", 3)
    await sweep.prune(scene.desk.pool)
    assert await scene.database.value("SELECT count(*) FROM logins") == 3


@pytest.mark.long
async def test_a_million_client_ids_stay_within_the_bound(scene: Scene) -> None:
    """As an hour would bring them, from one process; the figure is printed."""
    device = await scene.request()
    await scene.gate.store.count_refusals([refusal("gw-1", device.factory_username)])
    began = now()
    for batch in range(2000):
        names = [refusal(f"x-{batch}-{n}", device.factory_username) for n in range(500)]
        await scene.gate.store.count_refusals(names)
    minutes = (now() - began) / datetime.timedelta(minutes=1)
    rows = await scene.database.value("SELECT count(*) FROM refusals")
    size = await scene.database.value("SELECT pg_total_relation_size('refusals')")
    print(f"1,000,000 client ids in {minutes:.1f} minutes: {rows} rows, {size} bytes")
    assert rows <= (minutes + 2) * OTHERS_SHARE + 10
    assert await scene.database.value("SELECT sum(count) FROM refusals") == 1_000_001
    assert await scene.database.value("SELECT count(*) FROM refusals WHERE client_id = 'gw-1'") == 1


async def test_the_command(scene: Scene, database: Database) -> None:
    device = await scene.request(generate_activation_key=True)
    refused = await scene.ask(device, activation_key="a" * 32)
    command = provision(database)
    found = (await command("request", "explain", "--correlation-id", refused["correlation_id"], "--json")).json()
    assert [row["detail"]["client_id"] for row in found] == ["gw-1"]
    later = await command("request", "explain", "gw-1", "--since", "2999-01-01T00:00:00Z")
    assert later.out == "nothing is known of gw-1\n"
    shown = await command("request", "explain", "gw-1", "--limit", "1", "--json")
    assert [row["what"] for row in shown.json()] == ["left_out", "ask_refused"]
    line = (await command("request", "explain", "gw-1")).out.splitlines()[-1]
    assert line.rstrip().endswith(" ago)")
    assert (await command("request", "explain", "gw-1", "--until", "2999-01-01T00:00:00", status=2)).out == ""
    assert (await command("request", "explain", status=2)).out == ""
