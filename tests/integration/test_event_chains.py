"""`provision events`: what somebody with SQL did to the events is found; months are dropped behind a checkpoint."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.core.event_chain import Broken, Fault
from service.core.problems import NotPossible
from service.operations import accounts, event_log, moves, sweep
from tests.support.command import DONE, FAILED, INVALID, Program
from tests.support.scene import Scene

GW1 = "(SELECT id FROM provision_requests WHERE client_id = 'gw-1')"
ACME = "(SELECT id FROM accounts WHERE name = 'acme')"
COLUMNS = "at, kind, account_id, request_id, number, client_id, actor, source, detail, chain"


async def faults(scene: Scene, client_id: str | None = None) -> set[tuple[str | None, int, str]]:
    """Client id, first bad number and fault of each broken chain."""
    found: list[Broken] = []
    report = await event_log.verify(scene.admin, client_id=client_id, found=found.append)
    assert report.broken == len(found)
    return {(each.client_id, each.number, each.fault.value) for each in found}


# Statements of somebody who may do anything in the database and has no key; and what is said of it.
DEEDS: dict[str, tuple[list[str], tuple[str | None, int, str]]] = {
    "edited": ([f"UPDATE events SET actor = 'nobody' WHERE request_id = {GW1} AND number = 2"], ("gw-1", 2, "edited")),
    "another time": (
        [f"UPDATE events SET at = at - interval '1 day' WHERE request_id = {GW1} AND number = 2"],
        ("gw-1", 2, "edited"),
    ),
    "removed": ([f"DELETE FROM events WHERE request_id = {GW1} AND number = 2"], ("gw-1", 2, "removed")),
    "the first removed": ([f"DELETE FROM events WHERE request_id = {GW1} AND number = 1"], ("gw-1", 1, "removed")),
    "cut off": ([f"DELETE FROM events WHERE request_id = {GW1} AND number = 3"], ("gw-1", 3, "cut_off")),
    "all removed": ([f"DELETE FROM events WHERE request_id = {GW1}"], ("gw-1", 1, "cut_off")),
    "cut off with the count": (
        [
            f"DELETE FROM events WHERE request_id = {GW1} AND number = 3",
            "UPDATE provision_requests SET events_count = 2 WHERE client_id = 'gw-1'",
        ],
        ("gw-1", 2, "head_changed"),
    ),
    "inserted": (
        [
            f"INSERT INTO events ({COLUMNS}) SELECT {COLUMNS.replace('number', 'number + 1')} FROM events"
            f" WHERE request_id = {GW1} AND number = 3"
        ],
        ("gw-1", 4, "added"),
    ),
    "inserted in between, where it was a month's end": (
        [
            f"INSERT INTO events ({COLUMNS}) SELECT at + interval '40 days', {COLUMNS.removeprefix('at, ')}"
            f" FROM events WHERE request_id = {GW1} AND number = 2"
        ],
        ("gw-1", 2, "added"),
    ),
    "the request removed": (
        [
            "DELETE FROM provision_runs WHERE account_id = " + ACME,
            "DELETE FROM provision_requests WHERE client_id = 'gw-1'",
        ],
        ("gw-1", 4, "request_removed"),
    ),
    "an administrator's change removed": (
        ["DELETE FROM events WHERE kind = 'account_disabled'"],
        (None, 3, "cut_off"),
    ),
    "an administrator's change edited": (
        [f"UPDATE events SET actor = 'mallory' WHERE kind = 'account_created' AND account_id = {ACME}"],
        (None, 1, "edited"),
    ),
    "an account's chain without its head": (
        [f"DELETE FROM event_heads WHERE account_id = {ACME}"],
        (None, 4, "head_changed"),
    ),
}


@pytest.fixture
async def provisioned(scene: Scene) -> Scene:
    """Three events of gw-1, three of acme: account_created, chains_begun, account_disabled."""
    await scene.provision("gw-1")
    await accounts.set_account_enabled(scene.admin, "acme", enabled=False)
    return scene


async def test_what_was_done_by_sql_is_found(provisioned: Scene) -> None:
    """Each deed is undone again, so that each is found alone. (Partitions are there, so one deed spans two of them.)"""
    database = provisioned.database
    await sweep.prune(provisioned.desk.pool)
    assert await faults(provisioned) == set()
    await database.execute("CREATE SCHEMA kept")
    for table in ("events", "event_heads", "provision_requests", "provision_runs"):
        await database.execute(f"CREATE TABLE kept.{table} AS SELECT * FROM public.{table}")
    wrong = {}
    for deed, (statements, expected) in DEEDS.items():
        connection = await asyncpg.connect(database.url().reveal())
        try:
            # No trigger, no foreign key: whoever does this knows how.
            trigger = "the request removed" in deed
            await connection.execute(f"SET session_replication_role = {'origin' if trigger else 'replica'}")
            for statement in statements:
                await connection.execute(statement)
            found = await faults(provisioned)
            if expected not in found:
                wrong[deed] = found
            await connection.execute("SET session_replication_role = replica")
            await connection.execute("DELETE FROM events; DELETE FROM event_heads; DELETE FROM provision_requests;"
                " DELETE FROM provision_runs")  # fmt: skip
            await connection.execute("INSERT INTO events OVERRIDING SYSTEM VALUE SELECT * FROM kept.events")
            for table in ("event_heads", "provision_requests", "provision_runs"):
                await connection.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM kept.{table}")
        finally:
            await connection.close()
        assert await faults(provisioned) == set(), deed
    await database.execute("DROP SCHEMA kept CASCADE")
    assert wrong == {}


async def test_a_deleted_request_keeps_its_head(scene: Scene) -> None:
    """Its last event, its head, or all of it removed: each is found, though the request is gone."""
    await scene.request("gw-1")
    request_id = await scene.database.value("SELECT id FROM provision_requests")
    await moves.delete_request(scene.admin, "acme", "gw-1")
    assert await faults(scene) == set()
    await scene.database.execute("UPDATE event_heads SET count = 1, head = sha256('x') WHERE request_id > 0")
    assert {fault for _, _, fault in await faults(scene)} == {"added", "head_changed"}
    await scene.database.execute("DELETE FROM event_heads WHERE request_id > 0")
    assert {fault for _, _, fault in await faults(scene)} == {"request_removed"}
    await scene.database.execute("DELETE FROM events WHERE request_id > 0")
    found: list[Broken] = []
    await event_log.verify(scene.admin, found=found.append)
    assert [(each.request_id, each.fault) for each in found] == [(request_id, Fault.REQUEST_REMOVED)]


async def test_an_unchained_administrators_change_shows(scene: Scene) -> None:
    await scene.database.execute(
        "INSERT INTO events (at, kind, account_id, actor, source) VALUES (now(), 'account_enabled', NULL, 'x', 'cli')"
    )
    assert {fault for _, _, fault in await faults(scene)} == {"added"}


async def test_a_checkpoints_file_finds_a_chain_set_back(provisioned: Scene, program: Program, tmp_path: Path) -> None:
    """Without the file and the rows in the database somebody could set a chain back to an earlier end."""
    file = tmp_path / "checkpoint"
    noted = (await program("events", "checkpoint", "--output", str(file), "--json")).json()
    assert noted["digest"] != noted["file_sha256"]
    assert (await program("events", "verify", "--checkpoint", str(file), "--json")).json()["whole"] is True
    await program("events", "checkpoint", "--output", str(file), status=INVALID)
    for statement in (
        "CREATE TABLE kept AS SELECT * FROM events WHERE client_id = 'gw-1' AND number = 3",
        "DELETE FROM events WHERE client_id = 'gw-1' AND number = 3",
        "UPDATE provision_requests SET events_count = 2, events_head = (SELECT chain FROM events"
        " WHERE client_id = 'gw-1' AND number = 2)",
        "DELETE FROM event_checkpoints",
    ):
        await provisioned.database.execute(statement)
    assert ("gw-1", 3, "cut_off") not in await faults(provisioned)
    done = await program("events", "verify", "--checkpoint", str(file), status=FAILED)
    assert "(gw-1): event 3: cut_off" in done.out
    edited = file.read_text().replace('"count": 3', '"count": 2')
    file.write_text(edited)
    assert "checkpoint" in (await program("events", "verify", "--checkpoint", str(file), status=INVALID)).err
    await program("events", "verify", "--checkpoint", str(tmp_path), status=INVALID)
    await program("events", "verify", "--checkpoint", str(tmp_path / "none"), status=INVALID)
    for nonsense in ("", "{}\n", "[]\n", '{"events_checkpoint": 1}\n{"account_id": "x"}\n'):
        file.write_text(nonsense)
        await program("events", "verify", "--checkpoint", str(file), status=INVALID)
    for statement in (
        "INSERT INTO events OVERRIDING SYSTEM VALUE SELECT * FROM kept",
        "UPDATE provision_requests SET events_count = 3, events_head = (SELECT chain FROM kept)",
        "DROP TABLE kept",
    ):
        await provisioned.database.execute(statement)


async def _grow_old(scene: Scene) -> None:
    """All events so far were two months ago, in chains as a service of then would have written them."""
    connection = await asyncpg.connect(scene.database.url().reveal())
    try:
        await connection.execute("UPDATE events SET at = at - interval '70 days'")
        rows = await connection.fetch("SELECT * FROM events WHERE number IS NOT NULL ORDER BY id")
        heads: dict[tuple[int, int], bytes] = {}
        for row in rows:
            if row["kind"] == "chain_ended":
                ended = json.loads(row["detail"])
                ended["head"] = heads[(ended["request"], 0)].hex()
                await connection.execute("UPDATE events SET detail = $1 WHERE id = $2", json.dumps(ended), row["id"])
            place = (row["request_id"] or 0, 0 if row["request_id"] else row["account_id"] or 0)
            heads[place] = await connection.fetchval(
                "UPDATE events e SET chain = event_chain_link($1, $2, request_id, number, at, kind, account_id,"
                " client_id, actor, source, correlation_id, reason, detail) WHERE id = $3 RETURNING chain",
                scene.database.event_key, heads.get(place), row["id"],
            )  # fmt: skip
        for (request_id, account_id), head in heads.items():
            await connection.execute("UPDATE provision_requests SET events_head = $1 WHERE id = $2", head, request_id)
            await connection.execute(
                "UPDATE event_heads SET head = $1 WHERE request_id = $2 AND (request_id > 0 OR account_id = $3)",
                head, request_id, account_id,
            )  # fmt: skip
    finally:
        await connection.close()


async def test_months_are_dropped_behind_a_checkpoint_only(scene: Scene) -> None:
    """And chains go on from the cut: verified, appended to, and what was dropped cannot come back."""
    await scene.provision("gw-1")
    await scene.request("gw-2")
    await moves.delete_request(scene.admin, "acme", "gw-2")
    await _grow_old(scene)
    await sweep.prune(scene.desk.pool)
    assert await scene.database.value("SELECT count(*) FROM ONLY events_default") == 0
    month = await scene.database.value("SELECT date_trunc('month', now(), 'UTC')")
    with pytest.raises(NotPossible, match="no checkpoint"):
        await event_log.drop(scene.admin, month)
    await event_log.checkpoint_chains(scene.admin)
    before = await scene.database.value("SELECT count(*) FROM events WHERE at < $1", month)
    assert before > 5
    await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=False)
    assert len(await event_log.drop(scene.admin, month)) == 1
    assert await scene.database.value("SELECT count(*) FROM events WHERE at < $1", month) == 0
    assert await event_log.drop(scene.admin, month) == []
    assert await faults(scene) == set()
    await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=True)
    assert await faults(scene) == set()
    assert await scene.database.value(
        "SELECT broken_event_number($1, id) FROM provision_requests", scene.database.event_key
    ) is None  # fmt: skip
    forge = "UPDATE event_checkpoints SET count = count + $1 WHERE kind = 'cut' AND request_id > 0"
    await scene.database.execute(forge, 1)
    assert {"checkpoint_changed"} <= {fault for _, _, fault in await faults(scene)}
    with pytest.raises(NotPossible, match="broken"):
        await event_log.drop(scene.admin, month)
    await scene.database.execute(forge, -1)


async def test_a_month_that_has_not_ended_is_kept(scene: Scene) -> None:
    await event_log.checkpoint_chains(scene.admin)
    with pytest.raises(NotPossible, match="must have ended"):
        await event_log.drop(scene.admin, datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))


async def test_a_missing_partition_loses_no_event(scene: Scene) -> None:
    """Events go to the default partition, and from there to their month's when that is made."""
    await scene.request("gw-1")
    kept = "SELECT count(*) FROM ONLY events_default"
    count = await scene.database.value("SELECT count(*) FROM events")
    assert await scene.database.value(kept) == count > 0
    await sweep.prune(scene.desk.pool)
    await sweep.prune(scene.desk.pool)
    assert await scene.database.value(kept) == 0
    assert await scene.database.value("SELECT count(*) FROM events") == count
    names = await scene.database.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass"
    )
    assert len(names) == 4
    assert await faults(scene) == set()


@pytest.mark.parametrize("role", ["hooks", "responder", "admin", "platform"])
async def test_nobody_reaches_a_partition(scene: Scene, role: str) -> None:
    await sweep.prune(scene.desk.pool)
    partition = await scene.database.value(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'events'::regclass"
    )
    connection = await asyncpg.connect(scene.database.url(role).reveal())
    try:
        for statement in (
            f"SELECT FROM {partition}", f"DELETE FROM {partition}", f"UPDATE {partition} SET actor = 'x'",
            f"DROP TABLE {partition}", f"INSERT INTO {partition} DEFAULT VALUES", "DELETE FROM events_default",
            "DELETE FROM event_heads", "UPDATE event_heads SET count = 0", "DELETE FROM event_checkpoints",
            "UPDATE events SET actor = 'x'", "DELETE FROM events", "TRUNCATE events",
            "INSERT INTO events DEFAULT VALUES",
        ):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        if role != "platform":
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("SELECT drop_event_partitions(sha256('x'), '2020-01-01Z')")
    finally:
        await connection.close()


async def test_first_events_of_many_requests(scene: Scene) -> None:
    """In one statement, each in its chain and all of them in the account's; a request that has events is refused."""
    await scene.request("gw-1")
    account_id = await scene.database.value(f"SELECT {ACME}")
    await scene.database.execute(
        "INSERT INTO provision_requests (account_id, client_id, user_id, provision_endpoint, broker_id, created_by,"
        " modified_by) SELECT account_id, 'many-' || n, user_id, provision_endpoint, broker_id, 'x', 'x'"
        " FROM provision_requests, generate_series(1, 1500) n"
    )
    rows = await scene.database.fetch(
        "SELECT id, client_id FROM provision_requests WHERE client_id ^@ 'many' ORDER BY id"
    )
    statement = "SELECT append_first_events($1, 'request_created', $2, 'tester', 'cli', $3, $4, $5)"
    ids, client_ids = [row["id"] for row in rows], [row["client_id"] for row in rows]
    arguments = (scene.database.event_key, account_id, ids, client_ids, ["{}"] * len(rows))
    async with scene.admin.account_transaction(account_id) as connection:
        assert await connection.fetchval(statement, *arguments) == 1500
    assert await faults(scene) == set()
    for wrong in (arguments, (*arguments[:3], client_ids[1:], arguments[4]), (b"x", *arguments[1:])):
        with pytest.raises((asyncpg.NoDataFoundError, asyncpg.RaiseError)):
            async with scene.admin.account_transaction(account_id) as connection:
                await connection.fetchval(statement, *wrong)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with scene.admin.account_transaction(0) as connection:
            await connection.fetchval(statement, *arguments)


async def test_events_are_listed_in_pages(scene: Scene, program: Program) -> None:
    await scene.provision("gw-1")
    await scene.request("gw-2")

    async def listed(*options: str, on: Program = program) -> dict[str, Any]:
        document: dict[str, Any] = (await on("events", "list", *options, "--json")).json()
        return document

    page = await listed("--limit", "2")
    seen = [*page["events"]]
    while page["next"] is not None:
        page = await listed("--limit", "2", "--after", page["next"])
        seen += page["events"]
    whole = (await listed("--limit", "1000"))["events"]
    assert [row["id"] for row in seen] == [row["id"] for row in whole]
    assert [row["at"] for row in whole] == sorted((row["at"] for row in whole), reverse=True)
    everything = (await listed("--limit", "1000", on=program.with_(PROVISION_ACCOUNT="")))["events"]
    assert len(everything) > len(whole)
    assert {row["account"] for row in everything} == {None, "acme"}

    async def kinds(*options: str) -> list[str]:
        return [row["kind"] for row in (await listed(*options))["events"]]

    assert await kinds("--client-id", "gw-1") == ["confirmed", "run_started", "request_created"]
    assert await kinds("--kind", "run_started", "--kind", "confirmed") == ["confirmed", "run_started"]
    assert await kinds("--text", "FACTORY-gw-2") == ["request_created"]
    assert whole[0]["kind"] in await kinds("--since", whole[0]["at"])
    assert await kinds("--until", whole[-1]["at"]) == []
    for after in ("", "x", "2030-01-01_1", "2030-01-01T00:00:00Z_x", f"2030-01-01T00:00:00Z_{2**63}"):
        await program("events", "list", "--after", after, status=INVALID)


async def test_the_commands(provisioned: Scene, program: Program) -> None:
    listed = (await program("events", "list", "--client-id", "gw-1", "--limit", "1", "--json")).json()
    assert [event["kind"] for event in listed["events"]] == ["confirmed"]
    assert "run_started" in (await program("events", "list", "--after", listed["next"])).out
    await program("events", "list", "--since", "yesterday", status=INVALID)
    await program("events", "list", "--since", "2030-01-31T08:00:00", status=INVALID)
    await program("events", "drop", "--before", "2030", "--yes", status=INVALID)
    assert "all whole" in (await program("events", "verify", status=DONE)).out
    assert "all whole" in (await program("events", "verify", "--account", "acme")).out
    edit = "UPDATE events SET actor = $1 WHERE client_id = 'gw-1' AND number = 2"
    await provisioned.database.execute(edit, "x")
    for narrowed in ((), ("--account", "acme"), ("--client-id", "gw-1")):
        done = await program("events", "verify", *narrowed, status=FAILED)
        assert "(gw-1): event 2: edited" in done.out
    report = json.loads((await program("events", "verify", "--json", status=FAILED)).out)
    assert [(fault["client_id"], fault["number"], fault["fault"]) for fault in report["faults"]] == [
        ("gw-1", 2, "edited")
    ]
    assert report["whole"] is False
    assert "gw-1" not in (await program("events", "verify", "--client-id", "gw-2")).out
    await program("events", "checkpoint", status=INVALID)
    await provisioned.database.execute(edit, "device")
    assert "all whole" in (await program("events", "verify")).out
