"""What must be noted as a change is, and nothing else."""

from __future__ import annotations

import asyncpg
import pytest

from service.core.requests import Changes
from service.operations import accounts, devices, moves, requests, users
from tests.support.desk import ask, say
from tests.support.scene import ACCOUNT, PROVISION, Scene

GENERATED, FACTORY, PERSON = "the generated user", "the factory user", "ann"
DEVICE = "client gw-1"

# SQL, and whom it concerns. (What an administrator does is below.)
NOTED = {
    "UPDATE accounts SET enabled = false WHERE name = 'acme'": "account",
    "UPDATE accounts SET device_connection_coupling = 'LOOSE' WHERE name = 'acme'": "account",
    "UPDATE accounts SET mandatory_provisioning = true WHERE name = 'acme'": "account",
    "DELETE FROM accounts WHERE name = 'idle'": "idle account",
    "INSERT INTO brokers (name, role, secret_sha256) VALUES ('newer', 'account', sha256('x'))": "broker newer",
    "UPDATE brokers SET secret_sha256 = sha256('x') WHERE name = 'account-broker'": "broker account-broker",
    "UPDATE brokers SET previous_secret_sha256 = sha256('x') WHERE name = 'account-broker'": "broker account-broker",
    "UPDATE brokers SET endpoints = '{}' WHERE name = 'account-broker'": "broker account-broker",
    "UPDATE brokers SET role = 'provision' WHERE name = 'idle-broker'": "broker idle-broker",
    "DELETE FROM brokers WHERE name = 'idle-broker'": "broker idle-broker",
    "DELETE FROM broker_accounts WHERE account_id = (SELECT id FROM accounts WHERE name = 'idle')": "idle account",
    "UPDATE users SET password_bcrypt = replace(password_bcrypt, 'a', 'b') WHERE kind = 'provision'": FACTORY,
    "UPDATE users SET secret_sha256 = sha256('x') WHERE kind = 'device'": GENERATED,
    "UPDATE users SET enabled = false WHERE kind = 'device'": GENERATED,
    "DELETE FROM users WHERE name = 'ann'": PERSON,
    "INSERT INTO user_permissions SELECT account_id, id, 'data:view' FROM users WHERE name = 'ann'": PERSON,
    "DELETE FROM user_permissions USING users WHERE id = user_id AND name = 'ann'": PERSON,
    "UPDATE user_permissions SET permission = 'data:view' FROM users WHERE id = user_id AND name = 'ann'": PERSON,
    "UPDATE provision_requests SET enabled = false": DEVICE,
    "UPDATE provision_requests SET user_id = user_id": DEVICE,
    "DELETE FROM provision_requests": DEVICE,
    "UPDATE devices SET enabled = false": DEVICE,
    "DELETE FROM devices": DEVICE,
    "DELETE FROM device_connections": DEVICE,
    "UPDATE device_connections SET coupling = 'LOOSE'": DEVICE,
    "UPDATE device_connections SET user_id = NULL": DEVICE,
    "UPDATE device_connections SET reserved_user_id = NULL": DEVICE,
}  # fmt: skip
SILENT = (
    "INSERT INTO accounts (name) VALUES ('newer')",
    "UPDATE accounts SET name = name",
    "INSERT INTO users (account_id, name, kind, secret_sha256) SELECT id, 'bob', 'person', sha256('x') FROM accounts"
    " WHERE name = 'acme'",
    "INSERT INTO devices (account_id, client_id) SELECT id, 'gw-9' FROM accounts WHERE name = 'acme'",
    "INSERT INTO device_connections (account_id, client_id) SELECT id, 'gw-9' FROM accounts WHERE name = 'acme'",
    "UPDATE device_connections SET last_seen_at = now(), last_login_at = now(), status = 'MISSING'",
    "UPDATE device_connections SET user_id = user_id, coupling = coupling, allow_user_change = true",
    "UPDATE provision_requests SET key_failures = 3, key_failures_since = now(), modified_at = now()",
    "UPDATE provision_requests SET activation_key_sha256 = sha256('x'), expires_on = 'infinity'",
    "UPDATE provision_runs SET confirm_by = confirm_by + interval '1 day'",
    "UPDATE devices SET display_name = 'x'",
    "UPDATE users SET confirmed_at = now() WHERE kind = 'device'",
)


async def known(scene: Scene) -> dict[str, tuple[str, str]]:
    """The words above as changes are written."""
    ids = {row["name"]: str(row["id"]) for row in await scene.database.fetch("SELECT name, id FROM accounts")}
    generated = await scene.database.value("SELECT name FROM users WHERE kind = 'device'")
    return {
        "account": ("account", ids["acme"]),
        "idle account": ("account", ids["idle"]),
        "broker newer": ("broker", "newer"),
        "broker account-broker": ("broker", "account-broker"),
        "broker idle-broker": ("broker", "idle-broker"),
        FACTORY: ("user", "factory-gw-1"),
        GENERATED: ("user", str(generated)),
        PERSON: ("user", "ann"),
        DEVICE: ("client", "gw-1"),
    }


@pytest.fixture
async def quiet(scene: Scene) -> Scene:
    """A running request, a person, an account and a broker of no use; everything noted so far was heard."""
    await accounts.create_broker(scene.admin, "idle-broker", role="account")
    await accounts.create_account(scene.admin, "idle", brokers=[ACCOUNT])
    await scene.database.execute("DELETE FROM events WHERE account_id = (SELECT id FROM accounts WHERE name = 'idle')")
    await scene.run()
    await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    await scene.gate.follow()
    return scene


async def heard_of(scene: Scene, statement: str) -> set[tuple[str, str]]:
    """The changes that one statement notes; it is undone."""

    connection = await asyncpg.connect(scene.database.url().reveal())
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET CONSTRAINTS ALL DEFERRED")
        await connection.execute("DELETE FROM changes")
        await connection.execute(statement)
        return {(row["kind"], row["key"]) for row in await connection.fetch("SELECT kind, key FROM changes")}
    finally:
        await transaction.rollback()
        await connection.close()


async def test_what_decisions_are_made_from_is_noted(quiet: Scene) -> None:
    words = await known(quiet)
    wrong = {}
    for statement, whom in NOTED.items():
        changes = await heard_of(quiet, statement)
        if words[whom] not in changes:
            wrong[statement] = changes
    assert wrong == {}


async def test_nothing_else_is_noted(quiet: Scene) -> None:
    noted = {statement: await heard_of(quiet, statement) for statement in SILENT}
    assert {statement: changes for statement, changes in noted.items() if changes} == {}


async def test_what_happens_all_the_time_is_silent(quiet: Scene) -> None:
    """Each would make every hooks process forget what it knows of a client, and ask Postgres again."""
    device = await quiet.request("gw-2")
    await quiet.gate.follow()
    await quiet.ask(device)
    begun = await quiet.gate.follow()
    assert begun in ([], [("client", "gw-2")])
    await quiet.ask(device)
    await ask(quiet.desk, "gw-2", seal=True)
    await say(quiet.desk, "gw-2", device.run, "installing")
    assert await quiet.factory_login(device)
    assert await quiet.login(device)
    assert await quiet.login(device)
    assert not await quiet.gate.connect(ACCOUNT, device.username, "wrong", "gw-2")
    await quiet.gate.store.note_seen(
        [(*client, login[0] if login else None, 0.0) for client, login in quiet.gate.admission.seen.items()]
    )
    await quiet.gate.store.count_refusals(quiet.gate.admission.refusals.take())
    await quiet.beat()
    assert await quiet.gate.follow() == []


async def test_a_run_that_ends_is_noted(quiet: Scene) -> None:
    device = await quiet.run("gw-2")
    await quiet.gate.follow()
    await quiet.fail(device)
    assert set(await quiet.gate.follow()) >= {("user", device.username), ("client", "gw-2")}


async def test_what_administrators_do_is_noted(quiet: Scene) -> None:
    """Each operation that takes something away, or gives it."""
    admin = quiet.admin
    acme = str((await admin.account("acme")).id)
    device = await quiet.provision("gw-2")
    steps = [
        (accounts.set_account_enabled(admin, "acme", enabled=False), ("account", acme)),
        (accounts.begin_rotation(admin, PROVISION), ("broker", PROVISION)),
        (accounts.finish_rotation(admin, PROVISION), ("broker", PROVISION)),
        (users.set_user_enabled(admin, "acme", "ann", enabled=False), ("user", "ann")),
        (users.set_permissions(admin, "acme", "ann", ["data:view"]), ("user", "ann")),
        (users.delete_user(admin, "acme", "ann"), ("user", "ann")),
        (devices.set_device_enabled(admin, "acme", "gw-2", enabled=False), ("client", "gw-2")),
        (moves.set_enabled(admin, "acme", "gw-2", enabled=False), ("client", "gw-2")),
        (moves.reopen_request(admin, "acme", "gw-2"), ("user", device.username)),
        (moves.stop_request(admin, "acme", "gw-1"), ("client", "gw-1")),
        (moves.delete_request(admin, "acme", "gw-1"), ("client", "gw-1")),
        (users.put_responder_password(admin), None),
        (users.put_responder_password(admin), ("user", "~responder")),
    ]
    await quiet.gate.follow()
    for step, expected in steps:
        await step
        changes = await quiet.gate.follow()
        assert (expected in changes) if expected else changes == []
    await requests.change_request(admin, "acme", "gw-2", Changes(reserve_user=False))
    assert await quiet.gate.follow() == []
