"""Who may be where, as whom: every rule of a CONNECT on real rows (D1, D4, D9)."""

from __future__ import annotations

import asyncio

import pytest

from service import keys
from service.db import queries
from service.operations import accounts, devices, moves, users
from service.operations.questions import Outcome
from tests.support.faulty_rows import ground
from tests.support.gate import READ, SUBSCRIBE, WRITE
from tests.support.scene import ACCOUNT, PROVISION, Scene

_FEED = queries.load("feed")


async def reason(scene: Scene, broker: str, username: str, password: str, client_id: str) -> str:
    """A reason, or `allowed`."""
    verdict = await scene.gate.connect(broker, username, password, client_id)
    assert verdict.outcome is (Outcome.DENIED if verdict.reason else Outcome.ALLOWED)
    return verdict.reason or "allowed"


async def test_each_kind_at_its_own_brokers(scene: Scene) -> None:
    device = await scene.run()
    person = await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    responder = await users.put_responder_password(scene.admin)
    for username, password, client_id, at_provision, at_account in (
        (device.factory_username, device.factory_password, "gw-1", "allowed", "wrong_broker"),
        (device.username, device.password, "gw-1", "wrong_broker", "allowed"),
        ("ann", person, "laptop", "wrong_broker", "allowed"),
        ("~responder", responder, "~responder", "allowed", "allowed"),
    ):
        assert await reason(scene, PROVISION, username, password, client_id) == at_provision
        assert await reason(scene, ACCOUNT, username, password, client_id) == at_account
    assert await scene.state() == "PROVISIONED"


async def test_an_account_that_the_broker_does_not_serve(scene: Scene) -> None:
    await ground(scene)
    zoe = await users.create_person(scene.admin, "globex", "zoe-2", ["broker:connect"])
    await scene.gate.follow()
    assert await reason(scene, ACCOUNT, "zoe-2", zoe, "laptop") == "account_not_served"
    assert await reason(scene, "globex-broker", "zoe-2", zoe, "laptop") == "allowed"
    await accounts.serve_account(scene.admin, ACCOUNT, "globex")
    assert await reason(scene, ACCOUNT, "zoe-2", zoe, "laptop") == "allowed"


async def test_the_disabled(scene: Scene) -> None:
    """User, device, request and account, each refused for as long as it is, at once."""
    admin = scene.admin
    device = await scene.provision()
    waiting = await scene.run("gw-2")
    for off, on, expected in (
        (users.set_user_enabled(admin, "acme", device.username, enabled=False),
         users.set_user_enabled(admin, "acme", device.username, enabled=True), "user_disabled"),
        (devices.set_device_enabled(admin, "acme", "gw-1", enabled=False),
         devices.set_device_enabled(admin, "acme", "gw-1", enabled=True), "device_disabled"),
        (accounts.set_account_enabled(admin, "acme", enabled=False),
         accounts.set_account_enabled(admin, "acme", enabled=True), "account_disabled"),
    ):  # fmt: skip
        await off
        assert await reason(scene, ACCOUNT, device.username, device.password, "gw-1") == expected
        await on
        assert await reason(scene, ACCOUNT, device.username, device.password, "gw-1") == "allowed"
    await moves.set_enabled(admin, "acme", "gw-1", enabled=False)
    assert await reason(scene, ACCOUNT, device.username, device.password, "gw-1") == "allowed", "it works on"
    assert (await scene.factory_login(device)).reason == "request_disabled"
    await moves.set_enabled(admin, "acme", "gw-2", enabled=False)
    assert await reason(scene, ACCOUNT, waiting.username, waiting.password, "gw-2") == "unknown_user"
    await moves.set_enabled(admin, "acme", "gw-1", enabled=True)
    assert await scene.factory_login(device)


@pytest.mark.parametrize("status", ["scheduled", "expired"])
async def test_outside_its_window_a_device_may_connect(scene: Scene, status: str) -> None:
    """As on the page: it may, but is not provisioned (D6)."""
    device = await scene.request()
    moved = (
        "activates_on = clock_timestamp() + interval '1 day'"
        if status == "scheduled"
        else ("activates_on = clock_timestamp() - interval '2 days', expires_on = clock_timestamp() - interval '1 day'")
    )
    await scene.database.execute(f"UPDATE provision_requests SET {moved}")
    assert await scene.factory_login(device)
    assert (await scene.ask(device))["code"] == ("not_yet_active" if status == "scheduled" else "expired")


async def test_client_ids_of_another_account(scene: Scene) -> None:
    """By its request, its device or its mere connection: refused to a person, with whom it is a free name else."""
    await ground(scene)
    ann = await users.create_person(scene.admin, "acme", "ann-2", ["broker:connect"])
    zoe = await users.create_person(scene.admin, "globex", "zoe-2", ["broker:connect"])
    await scene.gate.follow()
    assert await reason(scene, "globex-broker", "zoe-2", zoe, "shared-name") == "allowed"
    for client_id in ("gx-1", "gx-2", "shared-name"):
        assert await reason(scene, ACCOUNT, "ann-2", ann, client_id) == "client_id_of_another_account"
    assert await reason(scene, ACCOUNT, "ann-2", ann, "free-name") == "allowed"
    assert await reason(scene, "globex-broker", "zoe-2", zoe, "free-name") == "client_id_of_another_account"


async def test_two_accounts_at_once_under_a_free_name(scene: Scene) -> None:
    """One gets it."""
    await ground(scene)
    ann = await users.create_person(scene.admin, "acme", "ann-2", ["broker:connect"])
    zoe = await users.create_person(scene.admin, "globex", "zoe-2", ["broker:connect"])
    await scene.gate.follow()
    for number in range(10):
        verdicts = await asyncio.gather(
            scene.gate.connect(ACCOUNT, "ann-2", ann, f"name-{number}"),
            scene.gate.connect("globex-broker", "zoe-2", zoe, f"name-{number}"),
        )
        holders = await scene.database.value(
            "SELECT count(*) FROM device_connections WHERE client_id = $1", f"name-{number}"
        )
        assert sum(map(bool, verdicts)) == holders == 1


async def test_a_generated_user_is_its_devices(scene: Scene) -> None:
    """Before its first login the run binds it, afterwards its reservation."""
    device = await scene.run()
    assert (await scene.login(device, client_id="gw-9")).reason == "client_id_of_another_run"
    assert await scene.login(device)
    assert (await scene.login(device, client_id="gw-9")).reason == "user_reserved_for_another_connection"
    person = await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    assert await reason(scene, ACCOUNT, "ann", person, "gw-1") == "connection_reserved_for_another_user"


@pytest.mark.parametrize(
    ("coupling", "expected"), [("STRICT", "connection_bound_to_another_user"), ("LOOSE", "allowed")]
)
async def test_without_a_reservation_coupling_decides(scene: Scene, coupling: str, expected: str) -> None:
    device = await scene.provision(reserve_user=False, device_connection_coupling=coupling)
    person = await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    assert await reason(scene, ACCOUNT, "ann", person, "gw-1") == expected
    last = await scene.database.value(
        "SELECT u.name FROM device_connections c JOIN users u ON u.id = c.user_id WHERE client_id = 'gw-1'"
    )
    assert last == ("ann" if expected == "allowed" else device.username)
    await scene.database.execute("UPDATE device_connections SET allow_user_change = true")
    bob = await users.create_person(scene.admin, "acme", "bob", ["broker:connect"])
    assert await reason(scene, ACCOUNT, "bob", bob, "gw-1") == "allowed", "a user change was allowed, once"
    assert (
        await scene.database.value("SELECT allow_user_change FROM device_connections WHERE client_id = 'gw-1'") is False
    )
    assert await reason(scene, ACCOUNT, "ann", person, "gw-1") == expected


async def test_permissions(scene: Scene) -> None:
    """Without broker:connect nobody; with it one's own topics; the others widen them, at once."""
    password = await users.create_person(scene.admin, "acme", "ann", ["data:view"])
    assert await reason(scene, ACCOUNT, "ann", password, "laptop") == "no_connect_permission"
    await users.set_permissions(scene.admin, "acme", "ann", ["broker:connect"])
    assert await reason(scene, ACCOUNT, "ann", password, "laptop") == "allowed"
    others = ("acme/gw-1/data", READ), ("acme/gw-1/data", WRITE), ("$EDC/acme/gw-1/CONF-V1/GET/x", WRITE)
    for permissions, expected in (
        (["broker:connect"], (False, False, False)),
        (["broker:connect", "data:view"], (True, False, False)),
        (["broker:connect", "data:manage"], (True, True, False)),
        (["broker:connect", "device:manage"], (False, False, True)),
        ([], (False, False, False)),
    ):
        await users.set_permissions(scene.admin, "acme", "ann", permissions)
        await scene.gate.follow()
        found = tuple([bool(await scene.gate.acl(ACCOUNT, "ann", "laptop", *other)) for other in others])
        assert found == expected, permissions
        own = bool(await scene.gate.acl(ACCOUNT, "ann", "laptop", "acme/laptop/x", WRITE))
        assert own == ("broker:connect" in permissions)


async def test_the_responders_topics(scene: Scene) -> None:
    password = await users.put_responder_password(scene.admin)
    assert await reason(scene, PROVISION, "~responder", password, "~responder") == "allowed"
    gate = scene.gate
    for topic, acc, allowed in (
        ("prov/v1/+/request", SUBSCRIBE, True), ("prov/v1/gw-1/request", READ, True),
        ("prov/v1/+/status", SUBSCRIBE, True), ("prov/v1/gw-1/reply", WRITE, True),
        ("prov/v1/gw-1/reply", READ, False), ("prov/v1/gw-1/request", WRITE, False), ("#", SUBSCRIBE, False),
    ):  # fmt: skip
        assert bool(await gate.acl(PROVISION, "~responder", "~responder", topic, acc)) == allowed
        assert not await gate.acl(PROVISION, "~responder", "gw-1", topic, acc)
        assert not await gate.acl(ACCOUNT, "~responder", "~responder", topic, acc)
    newer = await users.put_responder_password(scene.admin)
    assert await reason(scene, PROVISION, "~responder", password, "~responder") == "wrong_password"
    assert await reason(scene, PROVISION, "~responder", newer, "~responder") == "allowed"
    assert gate.admission.slow_hashes.hasher.hashes == 0


async def mint(
    scene: Scene, client_id: str, broker: str = ACCOUNT, username: str | None = None, *, patient: bool = True
) -> str:
    """A one-time password, as the responder makes one; `patient`: with more time than any test takes."""
    password = keys.new_secret()
    hashed = keys.secret_hash(keys.TAKEOVER, password)
    await scene.desk.pool.execute(_FEED["mint_one_time_password"], hashed, client_id, broker, username)
    if patient:
        await scene.database.execute("UPDATE one_time_passwords SET expires_at = 'infinity'")
    return password


async def test_a_takeovers_password_is_good_once(scene: Scene) -> None:
    """For one client id at one broker, whatever the id; with no topics at all."""
    for broker, client_id in ((PROVISION, "gw-1"), (ACCOUNT, "gw-1"), (PROVISION, "~responder"), (ACCOUNT, "a/b c")):
        password = await mint(scene, client_id, broker)
        other = ACCOUNT if broker == PROVISION else PROVISION
        assert await reason(scene, other, "~takeover", password, client_id) == "wrong_password"
        assert await reason(scene, broker, "~takeover", password, "other") == "wrong_password"
        assert await reason(scene, broker, "~takeover", password + "x", client_id) == "wrong_password"
        assert await reason(scene, broker, "~takeover", password, client_id) == "allowed"
        assert await reason(scene, broker, "~takeover", password, client_id) == "wrong_password"
    for topic, acc in (("prov/v1/gw-1/reply", READ), ("prov/v1/gw-1/request", WRITE), ("#", SUBSCRIBE)):
        assert (await scene.gate.acl(PROVISION, "~takeover", "gw-1", topic, acc)).outcome is Outcome.DENIED


async def test_a_takeovers_password_is_good_for_five_seconds(scene: Scene) -> None:
    password = await mint(scene, "gw-1", patient=False)
    left = "SELECT expires_at - clock_timestamp() <= interval '5 seconds' FROM one_time_passwords"
    assert await scene.database.value(left)
    await scene.database.execute("UPDATE one_time_passwords SET expires_at = clock_timestamp()")
    assert await reason(scene, ACCOUNT, "~takeover", password, "gw-1") == "wrong_password"


async def test_a_takeovers_password_is_used_by_one_of_many(scene: Scene) -> None:
    password = await mint(scene, "gw-1")
    verdicts = await asyncio.gather(*(scene.gate.connect(ACCOUNT, "~takeover", password, "gw-1") for _ in range(8)))
    assert sum(map(bool, verdicts)) == 1


async def test_a_takeover_ends_nobody_who_came_meanwhile(scene: Scene) -> None:
    """Between the responder's decision and the takeover: the user is enabled again, or another one has logged in."""
    device = await scene.provision()
    other = await users.create_person(scene.admin, "acme", "other", ["broker:connect"])
    password = await mint(scene, "gw-1", username=device.username)
    assert await reason(scene, ACCOUNT, "~takeover", password, "gw-1") == "takeover_too_late"
    await users.set_user_enabled(scene.admin, "acme", device.username, enabled=False)
    password = await mint(scene, "gw-1", username=device.username)
    assert await reason(scene, ACCOUNT, "~takeover", password, "gw-1") == "allowed"
    password = await mint(scene, "gw-1", username=device.username)
    await scene.database.execute(
        "UPDATE device_connections SET user_id = NULL, reserved_user_id = NULL, coupling = 'LOOSE'"
    )
    assert await reason(scene, ACCOUNT, "other", other, "gw-1") == "allowed", "and that login is not written yet"
    assert await reason(scene, ACCOUNT, "~takeover", password, "gw-1") == "takeover_too_late"
    password = await mint(scene, "gw-1")
    assert await reason(scene, ACCOUNT, "~takeover", password, "gw-1") == "takeover_too_late", (
        "for nobody was to be there"
    )


async def test_secrets_of_one_kind_are_none_of_another(scene: Scene) -> None:
    """A broker's secret, a run's token, an activation key: none is a password."""
    device = await scene.run(generate_activation_key=True)
    await users.put_responder_password(scene.admin)
    for secret in (scene.secrets[ACCOUNT], device.run, device.activation_key or "", await mint(scene, "gw-1")):
        assert await reason(scene, ACCOUNT, device.username, secret, "gw-1") == "wrong_password"
        assert await reason(scene, PROVISION, "~responder", secret, "~responder") == "wrong_password"
    for secret in (scene.secrets[ACCOUNT], device.run, device.password):
        assert await reason(scene, ACCOUNT, "~takeover", secret, "gw-1") == "wrong_password"
