"""The login that changes rows: it moves all, or nothing where what it was decided on changed meanwhile (D7)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.operations import accounts, devices, moves, sweep, users
from service.operations.questions import Outcome, Verdict
from tests.support.desk import ask, say
from tests.support.faulty_rows import ground
from tests.support.scene import ACCOUNT, Scene, expire

Step = Callable[[Scene], Awaitable[object]]


async def test_the_first_login_moves_everything(scene: Scene) -> None:
    device = await scene.run()
    assert await scene.login(device)
    request = (await scene.database.fetch("SELECT state, modified_by, enabled, attempts FROM provision_requests"))[0]
    assert tuple(request) == ("PROVISIONED", "hooks", True, 0)
    run = (await scene.database.fetch("SELECT state, salt, ended_at <= clock_timestamp() FROM provision_runs"))[0]
    assert tuple(run) == ("COMPLETED", None, True)
    connection = (
        await scene.database.fetch(
            "SELECT c.status, b.name, u.name, r.name, d.client_id, c.last_login_at IS NOT NULL"
            " FROM device_connections c JOIN brokers b ON b.id = c.broker_id JOIN users u ON u.id = c.user_id"
            " JOIN users r ON r.id = c.reserved_user_id JOIN devices d ON d.id = c.device_id"
        )
    )[0]
    assert tuple(connection) == ("CONNECTED", ACCOUNT, device.username, device.username, "gw-1", True)
    assert await scene.database.value("SELECT confirmed_at IS NOT NULL FROM users WHERE kind = 'device'")
    event = (await scene.events())[-1]
    assert (event["kind"], event["actor"], event["source"]) == ("confirmed", "device", "hooks")
    assert event["detail"] == '{"run": 1, "broker": "account-broker"}'


async def test_the_next_logins_write_nothing(scene: Scene) -> None:
    """Who reconnects costs one read, and then none until something changes."""
    device = await scene.provision()
    before = await scene.database.fetch(
        "SELECT xmin::text FROM users UNION ALL SELECT xmin::text FROM provision_requests"
    )
    scene.gate.store.calls.clear()
    for _ in range(3):
        assert await scene.login(device)
    assert scene.gate.store.calls == ["facts"]
    assert before == await scene.database.fetch(
        "SELECT xmin::text FROM users UNION ALL SELECT xmin::text FROM provision_requests"
    )
    assert (await scene.kinds()).count("confirmed") == 1


async def test_an_old_connection_is_taken_over(scene: Scene) -> None:
    """Of a reopened request: same device, same connection, the new user, and nothing of the old one."""
    old = await scene.provision()
    await moves.reopen_request(scene.admin, "acme", "gw-1")
    assert (await scene.login(old)).reason == "unknown_user"
    reply = await scene.ask(old)
    assert reply["result"] == "accepted"
    assert await scene.login(old)
    assert await scene.database.value("SELECT count(*) FROM device_connections") == 1
    assert await scene.database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 1


def in_between(scene: Scene, monkeypatch: pytest.MonkeyPatch, step: Step) -> None:
    """Let something happen after the facts were read and before the login is written, once."""
    login = scene.gate.store.login

    async def meanwhile(*arguments: Any) -> bool:
        monkeypatch.setattr(scene.gate.store, "login", login)
        await step(scene)
        return await login(*arguments)

    monkeypatch.setattr(scene.gate.store, "login", meanwhile)


def sql(statement: str) -> Step:
    """As a step."""
    return lambda scene: scene.database.execute(statement)


async def close(scene: Scene) -> None:
    """The sweep."""
    await expire(scene.database)
    assert await sweep.close_overdue(scene.desk.pool, scene.database.event_key) == ["gw-1"]


async def begin_anew(scene: Scene) -> None:
    """An ask past the deadline."""
    await expire(scene.database)
    assert (await ask(scene.desk, "gw-1"))["result"] == "accepted"


CHANGES: dict[str, Step] = {
    "user disabled": lambda scene: users.set_user_enabled(scene.admin, "acme", scene.notes["device"], enabled=False),
    "user's password": sql("UPDATE users SET secret_sha256 = sha256('x') WHERE kind = 'device'"),
    "user's permission": sql("DELETE FROM user_permissions"),
    "device disabled": lambda scene: devices.set_device_enabled(scene.admin, "acme", "gw-1", enabled=False),
    "device deleted": sql("DELETE FROM devices"),
    "connection reserved for nobody": sql("UPDATE device_connections SET reserved_user_id = NULL"),
    "connection's coupling": sql("UPDATE device_connections SET coupling = 'LOOSE'"),
    "connection deleted": sql("DELETE FROM device_connections"),
    "request disabled": lambda scene: moves.set_enabled(scene.admin, "acme", "gw-1", enabled=False),
    "request stopped": lambda scene: moves.stop_request(scene.admin, "acme", "gw-1"),
    "account disabled": lambda scene: accounts.set_account_enabled(scene.admin, "acme", enabled=False),
    "account's coupling": sql("UPDATE accounts SET device_connection_coupling = 'LOOSE' WHERE name = 'acme'"),
    "run past its deadline": lambda scene: expire(scene.database),
    "run closed by the sweep": close,
    "run begun anew": begin_anew,
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_in_between_is_503_and_moves_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    device = await scene.run()
    scene.notes["device"] = device.username
    in_between(scene, monkeypatch, CHANGES[change])
    verdict = await scene.login(device)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNAVAILABLE, "changed_meanwhile")
    assert "confirmed" not in await scene.kinds()
    assert await scene.state() != "PROVISIONED"
    assert await scene.database.value("SELECT count(*) FROM users WHERE confirmed_at IS NOT NULL") == 0
    assert await scene.database.value("SELECT count(*) FROM device_connections WHERE last_login_at IS NOT NULL") == 0
    again = await scene.login(device)
    assert again.outcome in (Outcome.DENIED, Outcome.ALLOWED)


HARMLESS: dict[str, Step] = {
    "the device asks again": lambda scene: _ask(scene),
    "the device tells how far it is": lambda scene: say(scene.desk, "gw-1", scene.notes["run"], "installing"),
    "its deadline moves away": sql("UPDATE provision_runs SET confirm_by = confirm_by + interval '1 day'"),
    "somebody asks with a wrong key": lambda scene: _ask(scene, activation_key="x" * 32),
    "an event is written": lambda scene: scene.database.execute(
        "SELECT append_event($1, 'test_event', account_id, id, client_id, 'x', 'cli') FROM provision_requests",
        scene.database.event_key,
    ),
    "it is seen": sql("UPDATE device_connections SET last_seen_at = now()"),
}


async def _ask(scene: Scene, **fields: Any) -> None:
    await ask(scene.desk, "gw-1", **{"activation_key": scene.notes["key"], **fields})


@pytest.mark.parametrize("change", HARMLESS)
async def test_what_the_decision_was_not_made_from_stops_no_login(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Else a device that is busy telling its progress could never get in."""
    device = await scene.run(generate_activation_key=True)
    scene.notes |= {"run": device.run, "key": device.activation_key or ""}
    in_between(scene, monkeypatch, HARMLESS[change])
    assert await scene.login(device)
    assert await scene.state() == "PROVISIONED"


@pytest.fixture
async def person(scene: Scene) -> str:
    """Ann's password; globex is there too."""
    await ground(scene)
    await scene.gate.follow()
    return await users.create_person(scene.admin, "acme", "ann-2", ["broker:connect"])


async def ann(scene: Scene, password: str) -> Verdict:
    """Under a free client id."""
    return await scene.gate.connect(ACCOUNT, "ann-2", password, "free-name")


async def connect_bob(scene: Scene) -> None:
    password = await users.create_person(scene.admin, "acme", "bob", ["broker:connect"])
    assert await scene.gate.connect(ACCOUNT, "bob", password, "free-name")


async def connect_zoe(scene: Scene) -> None:
    password = await users.create_person(scene.admin, "globex", "zoe-2", ["broker:connect"])
    assert await scene.gate.connect("globex-broker", "zoe-2", password, "free-name")


CLAIMS: dict[str, Step] = {
    "a colleague logs in": connect_bob,
    "another account's person logs in": connect_zoe,
    "another account makes a request": lambda scene: scene.request("free-name", "globex"),
    "another account's request runs": lambda scene: scene.run("free-name", "globex"),
}


@pytest.mark.parametrize("claim", CLAIMS)
async def test_a_free_name_that_is_claimed_in_between(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, person: str, claim: str
) -> None:
    """The decision was made on a name that was free."""
    in_between(scene, monkeypatch, CLAIMS[claim])
    verdict = await ann(scene, person)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNAVAILABLE, "changed_meanwhile")
    assert (await ann(scene, person)).outcome is Outcome.DENIED


async def test_a_login_that_could_not_be_written_is_not_remembered(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, person: str
) -> None:
    in_between(scene, monkeypatch, connect_bob)
    assert not await ann(scene, person)
    assert len(scene.gate.admission.grants) == 1, "bob's alone"


async def test_32_logins_at_once_confirm_once(scene: Scene) -> None:
    """Each is let in or told to come again; none is refused."""
    device = await scene.run()
    verdicts = await asyncio.gather(*(scene.login(device) for _ in range(32)))
    assert {verdict.outcome for verdict in verdicts} <= {Outcome.ALLOWED, Outcome.UNAVAILABLE}
    assert any(verdicts)
    assert (await scene.kinds()).count("confirmed") == 1
    assert await scene.login(device)
