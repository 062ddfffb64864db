"""`provision account show | change` and `broker change | unserve`: how they end, whom they keep out."""

from __future__ import annotations

import json

import asyncpg
import pytest

from service.core.problems import InvalidInput
from service.core.requests import Changes
from service.operations import accounts, moves, requests, users
from service.operations.questions import Outcome
from tests.support.command import INVALID, TIME, Program, contents
from tests.support.database import ENDPOINT, Database
from tests.support.faces import on_database
from tests.support.faulty_rows import ground
from tests.support.gate import WRITE
from tests.support.scene import ACCOUNT, Scene, open_administration

SECOND = "mqtts://account.example:8883"


async def may_publish(scene: Scene, username: str, client_id: str) -> str:
    """`yes`, or the reason: of a client that is connected, after the feed was heard."""
    await scene.gate.follow()
    return (await scene.gate.acl(ACCOUNT, username, client_id, f"acme/{client_id}/x", WRITE)).reason or "yes"


async def login(scene: Scene, username: str, password: str, client_id: str) -> str:
    verdict = await scene.gate.connect(ACCOUNT, username, password, client_id)
    assert verdict.outcome is (Outcome.DENIED if verdict.reason else Outcome.ALLOWED)
    return verdict.reason or "allowed"


async def mandatory(scene: Scene, *, switch: bool = True) -> list[str]:
    return await accounts.change_account(scene.admin, "acme", mandatory_provisioning=switch)


async def test_account_show(scene: Scene, database: Database, program: Program) -> None:
    await scene.provision()
    row = (await program("account", "show", "ACME", "--json")).json()
    assert TIME.fullmatch(row.pop("created_at"))
    assert row.pop("version") == 1
    assert row == {
        "name": "acme",
        "kind": "account",
        "enabled": True,
        "device_connection_coupling": "STRICT",
        "mandatory_provisioning": False,
        "brokers": ["account-broker"],
        "users": 2,
        "devices": 1,
        "provision_requests": 1,
    }
    assert "mandatory provisioning      no\n" in (await program.process("account", "show", "acme")).out
    missing = await program("account", "show", "nobody", "--json", status=INVALID)
    assert missing.problems() == {("account", "not_found")}


async def test_account_change(scene: Scene, database: Database, program: Program) -> None:
    await scene.provision()
    version = await database.value("SELECT version FROM accounts WHERE name = 'acme'")
    done = await program("account", "change", "acme", "--coupling", "LOOSE", "--mandatory-provisioning", "--json")
    both = {"device_connection_coupling": "LOOSE", "mandatory_provisioning": True}
    assert done.json() == {"name": "acme", **both, "notices": []}
    row = (await program("account", "show", "acme", "--json")).json()
    assert {name: row[name] for name in both} == both
    assert await database.value("SELECT version FROM accounts WHERE name = 'acme'") > version
    assert (await program("account", "change", "acme", "--coupling", "LOOSE")).err == ""
    said = await program.process("account", "change", "acme", "--no-mandatory-provisioning")
    assert said.out == "account acme: mandatory_provisioning=no\n"
    events = [event for event in await scene.events(None) if event["kind"] == "account_changed"]
    assert [json.loads(event["detail"]) for event in events] == [both, {"mandatory_provisioning": False}]
    row = (await program("account", "show", "acme", "--json")).json()
    assert (row["device_connection_coupling"], row["mandatory_provisioning"]) == ("LOOSE", False)


async def test_account_change_says_what_is_wrong(scene: Scene, database: Database, program: Program) -> None:
    before = await contents(database)
    assert "name what to change" in (await program("account", "change", "acme", status=INVALID)).err
    await program("account", "change", "acme", "--coupling", "INHERITED", status=INVALID)
    for name in ("nobody", "provision"):
        wrong = await program("account", "change", name, "--coupling", "LOOSE", "--json", status=INVALID)
        assert wrong.problems() == {("account", "not_found")}
    with pytest.raises(InvalidInput):
        await accounts.change_account(scene.admin, "acme", coupling="")
    assert await contents(database) == before


async def test_a_stricter_account_is_so_at_once(scene: Scene) -> None:
    """LOOSE let a second user in; the connection is INHERITED, and the device was its last user."""
    device = await scene.provision(reserve_user=False)
    await accounts.change_account(scene.admin, "acme", coupling="LOOSE")
    password = await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    assert await login(scene, "ann", password, "gw-1") == "allowed"
    assert await scene.login(device)
    assert await may_publish(scene, "ann", "gw-1") == "yes"
    await accounts.change_account(scene.admin, "acme", coupling="STRICT")
    assert await may_publish(scene, "ann", "gw-1") == "connection_bound_to_another_user"
    assert await may_publish(scene, device.username, "gw-1") == "yes"


async def test_mandatory_provisioning(scene: Scene) -> None:
    """Without a completed request, no device: neither by hand nor left over; whom nothing is missing works on."""
    device, deleted = await scene.provision("gw-1"), await scene.provision("gw-2")
    await moves.delete_request(scene.admin, "acme", "gw-2")
    people = {
        name: await users.create_person(scene.admin, "acme", name, ["broker:connect", *more])
        for name, more in (("ann", []), ("boss", ["device:manage"]), ("clerk", ["data:view"]))
    }
    for name, password in people.items():
        assert await login(scene, name, password, f"by-{name}") == "allowed"
    [notice] = await mandatory(scene)
    assert "1 device(s)" in notice
    assert await mandatory(scene) == [], "it was on already"
    for name, expected in (("ann", "provisioning_mandatory"), ("boss", "yes"), ("clerk", "yes")):
        assert await may_publish(scene, name, f"by-{name}") == expected
        assert await login(scene, name, people[name], f"by-{name}") == expected.replace("yes", "allowed")
        assert await login(scene, name, people[name], f"new-{name}") == expected.replace("yes", "allowed")
    assert await scene.login(device)
    assert await may_publish(scene, device.username, "gw-1") == "yes"
    assert (await scene.login(deleted)).reason == "provisioning_mandatory"
    assert await may_publish(scene, deleted.username, "gw-2") == "provisioning_mandatory"
    await mandatory(scene, switch=False)
    assert await may_publish(scene, "ann", "by-ann") == "yes"
    assert await scene.login(deleted)


async def test_mandatory_provisioning_lets_a_run_complete(scene: Scene) -> None:
    await mandatory(scene)
    device = await scene.run()
    password = await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    assert await login(scene, "ann", password, "gw-1") == "provisioning_mandatory", "RUNNING is not completed"
    assert await scene.login(device)
    assert await scene.state() == "PROVISIONED"
    assert await scene.login(device)
    assert await login(scene, "ann", password, "gw-1") == "connection_reserved_for_another_user", "coupling decides"


async def test_mandatory_provisioning_of_another_account_is_its_own(scene: Scene) -> None:
    await ground(scene)
    await mandatory(scene)
    zoe = await users.create_person(scene.admin, "globex", "zoe-2", ["broker:connect"])
    await scene.gate.follow()
    assert await scene.gate.connect("globex-broker", "zoe-2", zoe, "laptop")


async def test_reopening_takes_the_client_id_s_rights(scene: Scene) -> None:
    """Also from a person who was let in because the client id was provisioned."""
    device = await scene.provision(reserve_user=False, device_connection_coupling="LOOSE")
    password = await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    await mandatory(scene)
    assert await login(scene, "ann", password, "gw-1") == "allowed"
    assert await may_publish(scene, "ann", "gw-1") == "yes"
    await moves.reopen_request(scene.admin, "acme", "gw-1")
    assert await may_publish(scene, "ann", "gw-1") == "provisioning_mandatory"
    assert (await scene.login(device)).reason == "unknown_user"


async def test_a_request_that_is_no_longer_completed_is_noted(scene: Scene) -> None:
    """Whichever statement does it, and not where a request is completed: nobody's rights shrink then."""
    await scene.provision()
    await scene.gate.follow()
    superuser = await asyncpg.connect(scene.database.url().reveal())
    try:
        transaction = superuser.transaction()
        await transaction.start()
        noted = "SELECT kind, key FROM changes WHERE xid = pg_current_xact_id()"
        for state, changes in (("OPEN", [("client", "gw-1")]), ("RUNNING", []), ("PROVISIONED", [])):
            await superuser.execute("DELETE FROM changes")
            await superuser.execute("UPDATE provision_requests SET state = $1", state)
            assert [tuple(row) for row in await superuser.fetch(noted)] == changes
        await transaction.rollback()
    finally:
        await superuser.close()


async def test_broker_change(scene: Scene, database: Database, program: Program) -> None:
    done = await program("broker", "change", ACCOUNT, "--endpoint", SECOND, "--endpoint", SECOND, "--json")
    assert done.json() == {"name": ACCOUNT, "endpoints": [SECOND], "removed": [ENDPOINT]}
    text = (await program("broker", "change", ACCOUNT, "--endpoint", SECOND, "--endpoint", ENDPOINT)).out
    assert text == f"broker {ACCOUNT} has the endpoints {SECOND}, {ENDPOINT}\n"
    assert (await program("broker", "list", "--json")).json()[1]["endpoints"] == [SECOND, ENDPOINT]
    await program("broker", "change", ACCOUNT, "--endpoint", SECOND, "--endpoint", ENDPOINT)
    kinds = await scene.kinds(None)
    assert kinds.count("broker_changed") == 2, "the third changed nothing"
    assert (await program("broker", "change", "provision-broker", "--endpoint", "mqtts://prov.example:8883")).err == ""
    missing = await program("broker", "change", "nobody", "--endpoint", SECOND, "--json", status=INVALID)
    assert missing.problems() == {("broker", "not_found")}


async def test_an_endpoint_in_use_stays(scene: Scene, database: Database, program: Program) -> None:
    """While a device may still be sent there; said with every other problem, and with who uses it."""
    for number in range(7):
        await scene.request(f"gw-{number}")
    before = await contents(database)
    done = await program(
        "broker", "change", ACCOUNT, "--endpoint", SECOND, "--endpoint", "http://x", "--endpoint", "mqtt://", "--json",
        status=INVALID,
    )  # fmt: skip
    assert done.problems() == {("endpoint", "endpoint"), ("endpoint", "in_use")}
    assert "gw-0, gw-1, gw-2, gw-3, gw-4 and 2 more" in done.err
    assert await contents(database) == before
    await program("broker", "change", ACCOUNT, "--endpoint", SECOND, "--endpoint", ENDPOINT)
    for number in range(1, 7):
        await requests.change_request(scene.admin, "acme", f"gw-{number}", Changes(provision_endpoint=SECOND))
    await program("broker", "change", ACCOUNT, "--endpoint", SECOND, status=INVALID)


@pytest.mark.parametrize("state", ["OPEN", "RUNNING", "PROVISIONED", "ABANDONED"])
@on_database
async def test_who_needs_an_endpoint(scene: Scene, database: Database, state: str, program: Program) -> None:
    await {"OPEN": scene.request, "RUNNING": scene.run, "PROVISIONED": scene.provision, "ABANDONED": scene.abandon}[
        state
    ]("gw-1")
    assert await scene.state() == state
    needed = state in ("OPEN", "RUNNING")
    await program("broker", "change", ACCOUNT, "--endpoint", SECOND, status=INVALID if needed else 0)
    assert await database.value("SELECT endpoints FROM brokers WHERE name = $1", ACCOUNT) == [
        ENDPOINT if needed else SECOND
    ]


async def test_broker_unserve(scene: Scene, database: Database, program: Program) -> None:
    """Refused while a request has an endpoint there; then the account's clients are off it at once."""
    password = await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    await scene.request("gw-1")
    assert await login(scene, "ann", password, "laptop") == "allowed"
    before = await contents(database)
    unsure = await program.process("broker", "unserve", ACCOUNT, "acme", status=INVALID)
    assert "Say --yes." in unsure.err
    kept = await program("broker", "unserve", ACCOUNT, "acme", "--yes", "--json", status=INVALID)
    assert kept.problems() == {("account", "in_use")}
    assert "gw-1" in kept.err
    for broker, account, problem in (
        ("nobody", "acme", ("broker", "not_found")),
        (ACCOUNT, "nobody", ("account", "not_found")),
        ("provision-broker", "acme", ("account", "not_served")),
    ):
        wrong = await program("broker", "unserve", broker, account, "--yes", "--json", status=INVALID)
        assert wrong.problems() == {problem}
    assert await contents(database) == before
    await program("request", "delete", "gw-1", "--yes")
    done = await program("broker", "unserve", ACCOUNT, "acme", "--yes")
    assert done.out == f"broker {ACCOUNT} does not serve account acme any more\n"
    assert await may_publish(scene, "ann", "laptop") == "account_not_served"
    assert await login(scene, "ann", password, "laptop") == "account_not_served"
    await program("broker", "serve", ACCOUNT, "acme")
    assert await login(scene, "ann", password, "laptop") == "allowed"


async def test_events_name_who_changed_what(scene: Scene, database: Database) -> None:
    async with open_administration(database) as admin:
        await accounts.change_account(admin, "acme", coupling="LOOSE")
    [event] = [event for event in await scene.events(None) if event["kind"] == "account_changed"]
    assert (event["actor"], event["source"]) == ("tester", "cli")
