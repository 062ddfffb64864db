"""
The restore drill (docs/operations.md): a base backup and WAL to an earlier moment. Nobody who was put out since is in
again, no confirmed device loses its user, and it is told exactly which devices are to be provisioned again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from embedded.postgres import ROLES, create_roles
from service.db.pool import open_pool
from service.operations import accounts, credentials, devices, moves, tokens, users
from service.operations.access_journal import AccessJournal
from tests.support import postgres
from tests.support.command import provision
from tests.support.database import Database
from tests.support.figures import record
from tests.support.gate import open_gate
from tests.support.restore import archived
from tests.support.scene import ACCOUNT, Device, Scene, expire, new_desk, open_administration, open_scene

KEPT = ("kept-1", "kept-2", "kept-3", "kept-4")
LOST = ("lost-1", "lost-2")


@asynccontextmanager
async def reopened(database: Database, before: Scene) -> AsyncIterator[Scene]:
    """The same services on the restored database."""
    pool = await open_pool(database.url("responder"), name="test", size=4, timeout=60)
    try:
        async with open_administration(database) as admin, open_gate(database.url("hooks"), database.event_key) as gate:
            await gate.follow()
            yield Scene(
                database=database, admin=admin, desk=new_desk(database, pool), gate=gate,
                secrets=before.secrets, notes=before.notes,
            )  # fmt: skip
    finally:
        pool.terminate()


async def live(scene: Scene) -> dict[str, Device]:
    """What the moment knows."""
    found = {client_id: await scene.provision(client_id) for client_id in KEPT}
    found["running"] = await scene.run("running")
    found["open"] = await scene.request("open")
    found["held"] = await scene.request("held")
    await accounts.create_account(scene.admin, "globex", brokers=[ACCOUNT])
    found["foreign"] = await scene.provision("foreign", "globex")
    for name in ("ann", "bob", "carol", "eve"):
        scene.notes[name] = await users.create_person(scene.admin, "acme", name, ["broker:connect"])
    scene.notes["token"] = (await tokens.create_token(scene.admin, "acme", "leaked", role="auditor")).token
    return found


async def live_on(scene: Scene, found: dict[str, Device]) -> None:
    """What only the journal knows."""
    for client_id in LOST:
        found[client_id] = await scene.provision(client_id)
    found["undecided"] = await scene.run("undecided")
    await users.set_user_enabled(scene.admin, "acme", "ann", enabled=False)
    await users.delete_user(scene.admin, "acme", "bob")
    await users.create_person(scene.admin, "acme", "bob", ["broker:connect"])
    await scene.database.execute("UPDATE users SET enabled = false WHERE name = 'carol'")
    await users.set_permissions(scene.admin, "acme", "eve", ["data:view"])
    await users.create_person(scene.admin, "acme", "dan", [])
    await devices.set_device_enabled(scene.admin, "acme", "kept-1", enabled=False)
    await moves.reopen_request(scene.admin, "acme", "kept-2")
    await users.set_user_enabled(scene.admin, "acme", "eve", enabled=False)
    await users.set_user_enabled(scene.admin, "acme", "eve", enabled=True)
    await moves.delete_request(scene.admin, "acme", "open")
    await moves.stop_request(scene.admin, "acme", "running")
    await moves.set_enabled(scene.admin, "acme", "running", enabled=True)
    await credentials.hold(scene.admin, "acme", "factory-held")
    await accounts.set_account_enabled(scene.admin, "globex", enabled=False)
    await tokens.revoke_token(scene.admin, "acme", "leaked")


def read(journal: Path) -> bytes:
    return journal.read_bytes()


async def person_gets_in(scene: Scene, name: str) -> bool:
    return bool(await scene.gate.connect(ACCOUNT, name, scene.notes[name], f"desk-of-{name}"))


@pytest.mark.long
async def test_a_restore_to_an_earlier_moment(tmp_path: Path) -> None:
    journal = tmp_path / "access.journal"
    with postgres.private_cluster() as cluster:
        passwords = dict.fromkeys(ROLES, "p" * 20)
        create_roles(cluster.url("postgres"), passwords)
        server = postgres.Server(superuser_url=cluster.url("postgres"), passwords=passwords, cluster=cluster)
        database = Database(server=server, name=postgres.make_template(server, "drill"))
        kept = archived(cluster)
        async with open_scene(database) as scene:
            found = await live(scene)
            await scene.beat()
            kept.name_moment("moment")
            await live_on(scene, found)
            writer = AccessJournal(scene.desk.pool, journal)
            assert await writer.write() > 0
            assert await writer.write() == 0
        kept.lose()
        began = time.monotonic()
        restored = kept.restore("moment")
        try:
            there = dataclasses.replace(server, superuser_url=restored.url("postgres"), cluster=restored)
            async with reopened(dataclasses.replace(database, server=there), scene) as after:
                await _drill(after, found, journal)
                record(
                    "G24", "seconds from the loss to the acceptance of a small restored database", "300",
                    f"{time.monotonic() - began:.0f}", "pytest tests/integration/test_restore.py", True,
                )  # fmt: skip
        finally:
            restored.stop("immediate")


async def _drill(scene: Scene, found: dict[str, Device], journal: Path) -> None:
    program, said = provision(scene.database), read(journal)
    await expire(scene.database, "running")
    await scene.beat()
    assert await AccessJournal(scene.desk.pool, journal).write() == 0, "held: it still says what was before"
    assert await person_gets_in(scene, "ann"), "as restored, whoever was put out since is in"
    assert (await scene.login(found["lost-1"])).reason == "unknown_user"
    await scene.gate.store.count_refusals(scene.gate.admission.refusals.take())

    report = (await program("recovery", "report", "--journal", str(journal), "--json")).json()
    assert {(row["client_id"], row["request"]) for row in report["reissue"]} == {("lost-1", None), ("lost-2", None)}
    assert [row["username"] for row in report["refused"]] == [found["lost-1"].username]
    assert {(row["kind"], row["name"]) for row in report["revoke"]} == {
        ("account", "globex"), ("token", "leaked"), ("user", "ann"), ("user", "bob"), ("user", "carol"),
        ("user", found["kept-2"].username), ("user", found["running"].username), ("user", "factory-open"),
        ("request", "open"), ("credential", "factory-held"), ("device", "kept-1"), ("device", "running"),
    }  # fmt: skip
    assert {row["name"] for row in report["changed"]} == {"eve", "running"}
    assert {(row["kind"], row["name"]) for row in report["missing"]} == {
        ("user", "bob"), ("user", "dan"),
        *((kind, name) for name in (*LOST, "undecided") for kind in ("request", "device")),
        *(("user", f"factory-{name}") for name in (*LOST, "undecided")),
    }  # fmt: skip
    shown = (await program("recovery", "report", "--journal", str(journal))).out
    assert "To be provisioned again:" in shown

    accepted = (await program("recovery", "accept", "--journal", str(journal), "--yes", "--json")).json()
    assert accepted["accepted"] is True
    again = await program("recovery", "accept", "--journal", str(journal), "--since", "2020-01-01", "--yes", "--json")
    assert again.json() == {"accepted": False, "revoked": []}
    await scene.gate.follow()
    assert read(journal) == said
    await _judge(scene, found)
    assert await AccessJournal(scene.desk.pool, journal).write() > 0


async def _judge(scene: Scene, found: dict[str, Device]) -> None:
    revived = [name for name in ("ann", "bob", "carol") if await person_gets_in(scene, name)]
    revived += [name for name in ("kept-1", "kept-2", "running", "foreign") if await scene.login(found[name])]
    revived += [name for name in ("open", "held") if await scene.factory_login(found[name])]
    if await tokens.recognise(scene.admin, scene.notes["token"]) is not None:
        revived.append("token")
    gone = [name for name in ("kept-3", "kept-4") if not await scene.login(found[name])]
    record(
        "G24", "revoked who were revived, confirmed devices that lost their users", "0 and 0",
        f"{len(revived)} and {len(gone)}", "pytest tests/integration/test_restore.py", not revived and not gone,
    )  # fmt: skip
    assert revived == []
    assert gone == []
    assert await person_gets_in(scene, "eve")
    # Whose run was cut short asks anew; so does, once it has a request, a device that was lost.
    assert (await scene.ask(found["running"]))["result"] == "accepted"
    assert await scene.login(found["running"])
    device = await scene.provision("lost-1")
    assert device.username != found["lost-1"].username
    assert await scene.database.broken_invariants() == []


async def test_without_a_restore_there_is_nothing_to_report(scene: Scene, tmp_path: Path) -> None:
    program = provision(scene.database)
    journal = tmp_path / "journal"
    await AccessJournal(scene.desk.pool, journal).write()
    done = await program("recovery", "report", "--journal", str(journal), "--json", status=2)
    assert done.problems() == {("since", "not_restored")}
    journal.write_bytes(b"x\n" + journal.read_bytes())
    done = await program("recovery", "report", "--journal", str(journal), "--json", status=2)
    assert done.problems() == {("journal", "unreadable")}


@pytest.mark.parametrize("since", ["2020-01-01", "2020-01-01T00:00:00Z"])
async def test_what_the_database_knows_asks_for_nothing(scene: Scene, tmp_path: Path, since: str) -> None:
    """A journal that was not lost agrees with its database, whatever it says."""
    await scene.provision("gw-1")
    await scene.request("gw-2")
    await moves.delete_request(scene.admin, "acme", "gw-2")
    await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    await users.set_permissions(scene.admin, "acme", "ann", [])
    await users.set_user_enabled(scene.admin, "acme", "ann", enabled=False)
    journal = tmp_path / "journal"
    await AccessJournal(scene.desk.pool, journal).write()
    report = await provision(scene.database)(
        "recovery", "report", "--journal", str(journal), "--since", since, "--json"
    )
    named = report.json()
    assert [named[what] for what in ("revoke", "reissue", "changed", "missing")] == [[], [], [], []]
