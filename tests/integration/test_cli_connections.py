"""`provision device connection | connection-delete | delete`: what they print, how they end, whom they keep out."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from service.core.connections import ConnectionChanges
from service.core.problems import InvalidInput, NotPossible
from service.operations import connections, moves, users
from tests.support.command import INVALID, TIME, Program, contents
from tests.support.database import Database, make_account
from tests.support.faulty_rows import ground
from tests.support.gate import WRITE
from tests.support.scene import ACCOUNT, Device, Scene, somebody_waits


async def may_publish(scene: Scene, username: str, client_id: str = "gw-1") -> str:
    """`yes`, or the reason: of a client that is connected, after the feed was heard."""
    await scene.gate.follow()
    return (await scene.gate.acl(ACCOUNT, username, client_id, f"acme/{client_id}/x", WRITE)).reason or "yes"


async def person(scene: Scene, name: str = "ann") -> str:
    return await users.create_person(scene.admin, "acme", name, ["broker:connect"])


async def test_connection_is_shown(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.provision("gw-1")
    row = (await program("device", "connection", "gw-1", "--json")).json()
    assert row.pop("version") >= 1
    for name in ("last_login_at", "created_at", "status_at"):
        assert TIME.fullmatch(row.pop(name))
    del row["last_seen_at"]
    assert row == {
        "account": "acme",
        "client_id": "gw-1",
        "device": True,
        "coupling": "INHERITED",
        "coupling_in_effect": "STRICT",
        "username": device.username,
        "reserved_user": device.username,
        "allow_user_change": False,
        "status": "CONNECTED",
        "broker": "account-broker",
        "notices": [],
    }
    shown = (await program.process("device", "connection", "gw-1", PROVISION_ACCOUNT="")).out
    assert f"reserved user       {device.username}\n" in shown
    missing = await program("device", "connection", "gw-9", "--json", status=INVALID)
    assert missing.problems() == {("client_id", "not_found")}
    missing = await program("device", "connection", "gw-9", "--json", status=INVALID, PROVISION_ACCOUNT="")
    assert missing.problems() == {("client_id", "not_found")}


async def test_a_persons_connection_has_no_device(scene: Scene, database: Database, program: Program) -> None:
    assert await scene.gate.connect(ACCOUNT, "ann", await person(scene), "laptop")
    row = (await program("device", "connection", "laptop", "--json")).json()
    assert (row["device"], row["username"], row["reserved_user"]) == (False, "ann", None)


async def test_every_field_is_changed_and_written_down(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.provision("gw-1")
    await person(scene)
    done = await program(
        "device", "connection", "gw-1", "--coupling", "LOOSE", "--reserved-user", "ann", "--allow-user-change", "--json"
    )
    row = done.json()
    assert (row["coupling"], row["coupling_in_effect"], row["reserved_user"]) == ("LOOSE", "LOOSE", "ann")
    assert row["allow_user_change"] is True
    [notice] = row["notices"]
    assert device.username in notice
    [event] = [event for event in await scene.events() if event["kind"] == "connection_changed"]
    assert json.loads(event["detail"]) == {"coupling": "LOOSE", "reserved_user": "ann", "allow_user_change": True}
    done = await program("device", "connection", "gw-1", "--no-allow-user-change", "--reserved-user", "none", "--json")
    row = done.json()
    assert (row["coupling"], row["reserved_user"], row["allow_user_change"]) == ("LOOSE", None, False)
    same = await program("device", "connection", "gw-1", "--reserved-user", "none", "--coupling", "LOOSE")
    assert same.err == ""
    assert (await scene.kinds()).count("connection_changed") == 2, "nothing changed the third time"
    people = await program("device", "connection", "gw-1", "--reserved-user", "ann")
    assert people.err == f"reserved_user: the device's own user {device.username} cannot log in any more\n"


async def test_every_problem_is_said_at_once(scene: Scene, database: Database, program: Program) -> None:
    await ground(scene)
    before = await contents(database)

    async def problems(client_id: str, *options: str) -> set[tuple[str, str]]:
        return (await program("device", "connection", client_id, *options, "--json", status=INVALID)).problems()

    # gw-1 is RUNNING; zoe is a person of globex, so of another account.
    assert await problems("gw-1", "--reserved-user", "zoe", "--coupling", "LOOSE") == {
        ("state", "running"),
        ("reserved_user", "not_found"),
    }
    await program("device", "connection", "gw-1", "--coupling", "TIGHT", status=INVALID)
    assert await contents(database) == before
    other = await scene.provision("gw-7")
    await scene.provision("gw-8", reserve_user=False)
    before = await contents(database)
    assert await problems("gw-8", "--reserved-user", other.username) == {
        ("reserved_user", "generated_for_another_client_id"),
        ("reserved_user", "reserved_already"),
    }
    assert await problems("gw-8", "--reserved-user", "factory-gw-8") == {("reserved_user", "kind")}
    assert await problems("gw-8", "--reserved-user", "nobody") == {("reserved_user", "not_found")}
    assert await contents(database) == before


async def test_one_user_one_reservation_also_at_once(scene: Scene) -> None:
    for client_id in ("gw-1", "gw-2", "gw-3"):
        await scene.provision(client_id)
    await person(scene)
    outcomes = await asyncio.gather(
        *(
            connections.change_connection(scene.admin, "acme", client_id, ConnectionChanges(reserved_user="ann"))
            for client_id in ("gw-1", "gw-2", "gw-3")
        ),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, InvalidInput)]
    assert {problem.rule for error in refused for problem in error.problems} == {"reserved_already"}
    assert len(refused) == len(outcomes) - 1
    reserved = (
        "SELECT count(*) FROM device_connections c JOIN users u ON u.id = c.reserved_user_id WHERE u.name = 'ann'"
    )
    assert await scene.database.value(reserved) == 1


async def test_the_index_behind_the_rule_says_the_same(scene: Scene) -> None:
    """Whatever the rule overlooks, a user is reserved once, and the refusal is a problem by field."""
    await scene.provision("gw-1")
    await scene.provision("gw-2")
    with pytest.raises(InvalidInput) as raised:
        async with scene.admin.platform_transaction() as connection:
            await connection.execute("UPDATE device_connections SET reserved_user_id = (SELECT max(id) FROM users)")
    assert [(problem.field, problem.rule) for problem in raised.value.problems] == [
        ("reserved_user", "reserved_already")
    ]


async def test_a_live_connection_loses_its_rights_at_once(scene: Scene) -> None:
    """Reserved for somebody else, the device is denied from memory, and comes back when it is reserved for it again."""
    device = await scene.provision()
    await person(scene)
    assert await may_publish(scene, device.username) == "yes"
    for name, expected in (("ann", "connection_reserved_for_another_user"), (None, "yes"), (device.username, "yes")):
        await connections.change_connection(scene.admin, "acme", "gw-1", ConnectionChanges(reserved_user=name))
        assert await may_publish(scene, device.username) == expected
        assert ((await scene.login(device)).reason or "yes") == expected


async def test_a_person_loses_a_strict_connection(scene: Scene) -> None:
    """LOOSE let it in; made STRICT while the device was the last user, it is out."""
    device = await scene.provision(reserve_user=False, device_connection_coupling="LOOSE")
    password = await person(scene)
    assert await scene.gate.connect(ACCOUNT, "ann", password, "gw-1")
    assert await scene.login(device)
    assert await may_publish(scene, "ann") == "yes"
    await connections.change_connection(scene.admin, "acme", "gw-1", ConnectionChanges(coupling="STRICT"))
    assert await may_publish(scene, "ann") == "connection_bound_to_another_user"
    assert await may_publish(scene, device.username) == "yes"
    await connections.change_connection(scene.admin, "acme", "gw-1", ConnectionChanges(allow_user_change=True))
    assert await scene.gate.connect(ACCOUNT, "ann", password, "gw-1"), "once"
    assert (await scene.login(device)).reason == "connection_bound_to_another_user"


async def test_a_reservation_takes_the_user_from_other_connections(scene: Scene) -> None:
    await scene.provision("gw-1", reserve_user=False, device_connection_coupling="LOOSE")
    password = await person(scene)
    assert await scene.gate.connect(ACCOUNT, "ann", password, "laptop")
    assert await may_publish(scene, "ann", "laptop") == "yes"
    await connections.change_connection(scene.admin, "acme", "gw-1", ConnectionChanges(reserved_user="ann"))
    refused = await scene.gate.connect(ACCOUNT, "ann", password, "laptop")
    assert refused.reason == "user_reserved_for_another_connection"
    assert await may_publish(scene, "ann", "laptop") == "user_reserved_for_another_connection"


async def test_a_run_that_begins_meanwhile_wins(scene: Scene) -> None:
    """It waits for the change, and then sets the connection as its request says."""
    await scene.provision()
    await person(scene)
    await moves.reopen_request(scene.admin, "acme", "gw-1")
    superuser = await asyncpg.connect(scene.database.url().reveal())
    try:
        transaction = superuser.transaction()
        await transaction.start()
        await superuser.execute("SELECT FROM device_connections FOR UPDATE")
        change = asyncio.create_task(
            connections.change_connection(scene.admin, "acme", "gw-1", ConnectionChanges(reserved_user="ann"))
        )
        await somebody_waits(scene.database)
        device = Device(client_id="gw-1", factory_username="factory-gw-1", reply={})
        ask = asyncio.create_task(scene.ask(device))
        await asyncio.sleep(0.2)
        await transaction.rollback()
        await change
        assert (await ask)["result"] == "accepted"
    finally:
        await superuser.close()
    reserved = "SELECT u.name FROM device_connections c JOIN users u ON u.id = c.reserved_user_id"
    assert await scene.database.value(reserved) == device.username
    assert await scene.login(device)


async def test_changes_and_logins_at_once(scene: Scene) -> None:
    """A login that decided on what has changed is told to come again; nobody waits for ever, nothing is half done."""
    device = await scene.provision(reserve_user=False, device_connection_coupling="LOOSE")
    password = await person(scene)
    seen: set[str] = set()
    for number in range(12):
        reserved = (None, "ann", device.username)[number % 3]
        changes = ConnectionChanges(reserved_user=reserved, allow_user_change=True)
        *verdicts, _ = await asyncio.gather(
            scene.login(device),
            scene.gate.connect(ACCOUNT, "ann", password, "gw-1"),
            scene.login(device),
            connections.change_connection(scene.admin, "acme", "gw-1", changes),
        )
        seen |= {verdict.reason for verdict in verdicts}
        left_out = "ann" if reserved == device.username else device.username
        assert await may_publish(scene, left_out) == (
            "yes" if reserved is None else "connection_reserved_for_another_user"
        )
    known = {"", "changed_meanwhile", "database_unavailable", "connection_reserved_for_another_user"}
    assert seen <= known
    assert "" in seen


async def test_connection_delete(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.provision()
    running = await scene.run("gw-2")
    unsure = await program.process("device", "connection-delete", "gw-1", status=INVALID)
    assert "Say --yes." in unsure.err
    kept = await program("device", "connection-delete", "gw-2", "--yes", "--json", status=INVALID)
    assert kept.problems() == {("state", "running")}
    done = await program("device", "connection-delete", "gw-1", "--yes")
    assert done.out == "deleted the device connection of gw-1\n"
    missing = await program("device", "connection-delete", "gw-1", "--yes", "--json", status=INVALID)
    assert missing.problems() == {("client_id", "not_found")}
    assert (await scene.kinds())[-1] == "connection_deleted"
    assert await may_publish(scene, device.username) == "yes", "it is still the device, and nobody else is expected"
    assert await scene.login(device)
    row = (await program("device", "connection", "gw-1", "--json")).json()
    assert (row["coupling"], row["reserved_user"], row["username"]) == ("INHERITED", None, device.username)
    assert await scene.login(running)


async def test_device_delete_follows_its_request(scene: Scene, database: Database, program: Program) -> None:
    """While there is a generated user that belongs to a request, the device stays; afterwards all of it goes."""
    device = await scene.run()

    async def refused() -> set[tuple[str, str]]:
        return (await program("device", "delete", "gw-1", "--yes", "--json", status=INVALID)).problems()

    assert await refused() == {("state", "running")}
    assert await scene.login(device)
    before = await contents(database)
    assert await refused() == {("state", "provisioned")}
    assert await contents(database) == before
    await program("request", "delete", "gw-1", "--yes")
    assert await scene.login(device), "user and device stay in the registry"
    assert await may_publish(scene, device.username) == "yes"
    done = await program("device", "delete", "gw-1", "--yes", "--json", PROVISION_ACCOUNT="")
    assert done.json() == {
        "account": "acme",
        "client_id": "gw-1",
        "deleted": True,
        "deleted_users": [device.username],
    }
    assert await may_publish(scene, device.username) == "unknown_user"
    assert (await scene.login(device)).reason == "unknown_user"
    for table in ("devices", "device_connections", "users"):
        assert await database.value(f"SELECT count(*) FROM {table}") == 0
    assert (await scene.kinds())[-1] == "device_deleted"
    again = await program("device", "delete", "gw-1", "--yes", "--json", status=INVALID)
    assert again.problems() == {("client_id", "not_found")}
    assert await scene.provision("gw-1"), "the client id is free again"


async def test_device_delete_after_reopening(scene: Scene, database: Database, program: Program) -> None:
    """The request is OPEN: the next ask makes device and connection anew."""
    await scene.provision()
    await program("request", "reopen", "gw-1", "--yes")
    unsure = await program.process("device", "delete", "gw-1", status=INVALID)
    assert "Delete device gw-1 with its connection and users? Say --yes." in unsure.err
    assert (await program("device", "delete", "gw-1", "--yes")).out == "deleted device gw-1\n"
    assert await database.value("SELECT count(*) FROM devices") == 0
    device = Device(client_id="gw-1", factory_username="factory-gw-1", reply={})
    assert (await scene.ask(device))["result"] == "accepted"
    assert await scene.login(device)


async def test_device_delete_of_a_mere_connection_frees_the_client_id(
    scene: Scene, database: Database, program: Program
) -> None:
    """Kapua's users could not delete one (kapua#2988); here it also keeps the name from other accounts."""
    await ground(scene)
    password = await users.create_person(scene.admin, "acme", "bob", ["broker:connect"])
    zoe = await users.create_person(scene.admin, "globex", "zoe-2", ["broker:connect"])
    await scene.gate.follow()
    assert await scene.gate.connect(ACCOUNT, "bob", password, "laptop")
    assert not await scene.gate.connect("globex-broker", "zoe-2", zoe, "laptop")
    await program("device", "delete", "laptop", "--yes")
    assert await scene.gate.connect("globex-broker", "zoe-2", zoe, "laptop")
    with pytest.raises(InvalidInput):
        await connections.delete_device(scene.admin, "acme", "laptop")


async def test_a_deletion_never_meets_a_run(scene: Scene) -> None:
    """An ask and a deletion at once: whoever comes first, the run's device logs in."""
    for number in range(8):
        client_id = f"gw-{number}"
        await scene.provision(client_id)
        await moves.reopen_request(scene.admin, "acme", client_id)
        device = Device(client_id=client_id, factory_username=f"factory-{client_id}", reply={})
        reply, deleted = await asyncio.gather(
            scene.ask(device),
            connections.delete_device(scene.admin, "acme", client_id),
            return_exceptions=True,
        )
        assert isinstance(reply, dict), reply
        assert isinstance(deleted, (list, NotPossible)), deleted
        assert await scene.database.value("SELECT count(*) FROM devices WHERE client_id = $1", client_id) == 1
        reserved = "SELECT reserved_user_id IS NOT NULL FROM device_connections WHERE client_id = $1"
        assert await scene.database.value(reserved, client_id) is True
        assert await scene.login(device)


async def test_accounts_are_apart(scene: Scene, database: Database, program: Program) -> None:
    await ground(scene)
    await scene.provision("gw-5")
    before = await contents(database)
    for word, *options in (
        ["connection"],
        ["connection", "--coupling", "LOOSE"],
        ["connection-delete", "--yes"],
        ["delete", "--yes"],
    ):
        arguments = ("device", word, "gw-5", *options, "--account", "globex", "--json")
        assert (await program(*arguments, status=INVALID)).problems() == {("client_id", "not_found")}
    assert await contents(database) == before


async def test_device_list_by_status_and_text(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.provision("gw-1")
    await scene.run("gw-22")
    await database.execute("UPDATE devices SET display_name = 'Kiln_1 100%' WHERE client_id = 'gw-22'")

    async def found(*options: str) -> list[str]:
        return [row["client_id"] for row in (await program("device", "list", *options, "--json")).json()]

    assert await found() == ["gw-1", "gw-22"]
    assert await found("--status", "CONNECTED") == ["gw-1"]
    assert await found("--status", "NEVER") == ["gw-22"]
    assert await found("--status", "MISSING") == []
    assert await found("--text", "GW-") == ["gw-1", "gw-22"]
    assert await found("--text", "kiln_1 100%") == ["gw-22"]
    assert await found("--text", "%") == ["gw-22"], "no pattern"
    assert await found("--text", device.username[:20]) == ["gw-1"]
    assert await found("--text", "gw-2", "--status", "CONNECTED") == []
    await program("device", "list", "--status", "connected", status=INVALID)


async def test_what_a_connection_needs_is_an_account(scene: Scene, database: Database, program: Program) -> None:
    await make_account(scene.admin, "second", broker="second-broker")
    await scene.provision("gw-1")
    await database.execute(
        "INSERT INTO device_connections (account_id, client_id) SELECT id, 'gw-1' FROM accounts WHERE name = 'second'"
    )
    done = await program("device", "connection", "gw-1", "--json", status=INVALID, PROVISION_ACCOUNT="")
    assert done.problems() == {("account", "ambiguous")}
    assert (await program("device", "connection", "gw-1", "--json")).json()["account"] == "acme"
