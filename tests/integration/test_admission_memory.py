"""Topic checks from memory: while the feed is heard; without it Postgres; without that, for a while (D8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from embedded.postgres import ROLES, create_roles
from service import grants_memory
from service.core.connect import Facts, Present
from service.grants_memory import Entry, Grants, grants_text
from service.keys import new_secret
from service.operations import accounts, admission, devices, users
from service.operations.questions import Outcome, Verdict
from tests.support import postgres
from tests.support.database import Database
from tests.support.gate import READ, SUBSCRIBE, open_gate
from tests.support.scene import ACCOUNT, PROVISION, Device, Scene, open_scene

FOR_EVER = 1e9


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, the feed was heard just now."""
    monkeypatch.setattr(grants_memory, "FEED_PATIENCE", FOR_EVER)
    monkeypatch.setattr(grants_memory, "GRACE", FOR_EVER)


async def read(scene: Scene, device: Device, broker: str = ACCOUNT) -> Verdict:
    """May the device read its own data?"""
    if broker == PROVISION:
        return await scene.gate.acl(
            broker, device.factory_username, device.client_id, f"prov/v1/{device.client_id}/reply", READ
        )
    return await scene.gate.acl(broker, device.username, device.client_id, f"acme/{device.client_id}/x", READ)


def asked(scene: Scene) -> int:
    """How often Postgres was asked for facts since the last time."""
    calls = scene.gate.store.calls
    found = calls.count("facts")
    calls.clear()
    return found


async def test_an_admitted_client_is_remembered(scene: Scene) -> None:
    device = await scene.provision()
    await scene.factory_login(device)
    asked(scene)
    for _ in range(5):
        assert await read(scene, device)
        assert await read(scene, device, PROVISION)
        assert not await scene.gate.acl(ACCOUNT, device.username, "gw-1", "#", SUBSCRIBE)
    assert asked(scene) == 0


async def test_a_silent_feed_is_not_trusted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then each question goes to Postgres, until it is heard again."""
    device = await scene.provision()
    assert await read(scene, device)
    monkeypatch.setattr(grants_memory, "FEED_PATIENCE", -1.0)
    asked(scene)
    for _ in range(3):
        assert await read(scene, device)
    assert asked(scene) == 3
    await users.set_user_enabled(scene.admin, "acme", device.username, enabled=False)
    assert (await read(scene, device)).outcome is Outcome.DENIED
    monkeypatch.setattr(grants_memory, "FEED_PATIENCE", FOR_EVER)
    await scene.gate.follow()
    assert (await read(scene, device)).outcome is Outcome.DENIED


async def test_a_client_that_is_not_in_memory_is_decided_anew(scene: Scene) -> None:
    """Hooks restarted while it stayed connected: by the same rule, less the password."""
    device = await scene.provision()
    async with open_gate(scene.database.url("hooks"), scene.database.event_key) as restarted:
        await restarted.follow()
        assert await restarted.acl(ACCOUNT, device.username, "gw-1", "acme/gw-1/x", READ)
        assert await restarted.acl(PROVISION, device.factory_username, "gw-1", "prov/v1/gw-1/reply", READ)
        for username, client_id in ((device.username, "gw-2"), ("nobody", "gw-1"), (device.factory_username, "gw-1")):
            verdict = await restarted.acl(ACCOUNT, username, client_id, f"acme/{client_id}/x", READ)
            assert verdict.outcome is Outcome.DENIED


async def test_what_is_taken_away_is_gone_at_the_next_question(scene: Scene) -> None:
    """The user, its device, its account; and given back it is there again."""
    admin = scene.admin
    device = await scene.provision()
    account = {"name": "acme"}
    for off, on in (
        (users.set_user_enabled(admin, "acme", device.username, enabled=False),
         users.set_user_enabled(admin, "acme", device.username, enabled=True)),
        (devices.set_device_enabled(admin, "acme", "gw-1", enabled=False),
         devices.set_device_enabled(admin, "acme", "gw-1", enabled=True)),
        (accounts.set_account_enabled(admin, **account, enabled=False),
         accounts.set_account_enabled(admin, **account, enabled=True)),
    ):  # fmt: skip
        assert await read(scene, device)
        await off
        await scene.gate.follow()
        asked(scene)
        for _ in range(3):
            assert (await read(scene, device)).outcome is Outcome.DENIED
        assert asked(scene) == 1, "asked once, then a tombstone"
        await on
        await scene.gate.follow()


async def test_a_change_while_facts_are_on_their_way(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before the change is not kept after it, whatever comes first."""
    device = await scene.provision()
    await users.set_user_enabled(scene.admin, "acme", device.username, enabled=True)
    await scene.database.execute("UPDATE users SET enabled = enabled")
    await scene.gate.follow()  # nothing is remembered now
    facts = scene.gate.store.facts

    async def slow(*client: str) -> Facts:
        found = await facts(*client)
        await users.set_user_enabled(scene.admin, "acme", device.username, enabled=False)
        await scene.gate.follow()
        return found

    monkeypatch.setattr(scene.gate.store, "facts", slow)
    assert await read(scene, device), "decided as it was a moment ago"
    monkeypatch.setattr(scene.gate.store, "facts", facts)
    assert (await read(scene, device)).outcome is Outcome.DENIED


async def test_memory_is_bounded(scene: Scene) -> None:
    """The least recently used goes first, and is asked for again."""
    found = [await scene.provision(f"gw-{number}") for number in range(3)]
    scene.gate.admission.grants = Grants(2)
    await scene.gate.follow()
    for device in found:
        assert await read(scene, device)
    assert len(scene.gate.admission.grants) == 2
    asked(scene)
    assert await read(scene, found[2])
    assert asked(scene) == 0
    assert await read(scene, found[0])
    assert asked(scene) == 1


async def test_a_slow_database_is_a_quick_503(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker stands still while it waits; an admitted client has its memory."""
    device = await scene.provision()
    other = await scene.run("gw-2")

    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(scene.gate.store, "facts", never)
    monkeypatch.setattr(scene.gate.admission, "patience", 0.05)
    assert (await scene.login(other)).outcome is Outcome.UNAVAILABLE
    assert (await scene.factory_login(other)).outcome is Outcome.UNAVAILABLE
    assert (await read(scene, other)).outcome is Outcome.UNAVAILABLE
    assert await read(scene, device)
    monkeypatch.setattr(grants_memory, "FEED_PATIENCE", -1.0)
    assert await read(scene, device)


@pytest.fixture
async def breakable() -> AsyncIterator[Scene]:
    """A scene on a cluster of its own, which may be stopped."""
    with postgres.private_cluster() as cluster:
        passwords = {role: new_secret() for role in ROLES}
        create_roles(cluster.url("postgres"), passwords)
        server = postgres.Server(superuser_url=cluster.url("postgres"), passwords=passwords, cluster=cluster)
        database = Database(server=server, name=postgres.make_template(server, "outage"))
        async with open_scene(database) as scene:
            yield scene


async def test_postgres_goes_and_comes_back(breakable: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Admitted clients keep what they have, the revoked do not, others are told to come again; then all is well."""
    scene = breakable
    cluster = scene.database.server.cluster
    assert cluster is not None
    device, revoked, stranger = [await scene.provision(f"gw-{number}") for number in (1, 2, 3)]
    late = await scene.provision("gw-4")
    waiting = await scene.run("gw-5")
    await scene.gate.follow()
    for each in (device, revoked, late):
        assert await read(scene, each)
    await users.set_user_enabled(scene.admin, "acme", revoked.username, enabled=False)
    await scene.gate.follow()
    assert not await read(scene, revoked)
    await users.set_user_enabled(scene.admin, "acme", late.username, enabled=False)
    await scene.gate.follow()
    scene.gate.admission.grants._forget((ACCOUNT, stranger.username, "gw-3"))

    await asyncio.to_thread(cluster.stop, "immediate")
    monkeypatch.setattr(grants_memory, "FEED_PATIENCE", -1.0)  # the feed is not heard any more
    assert await read(scene, device)
    assert (await scene.gate.acl(ACCOUNT, device.username, "gw-1", "#", SUBSCRIBE)).outcome is Outcome.DENIED
    assert (await read(scene, revoked)).outcome is Outcome.DENIED
    assert not await read(scene, late), "revoked, and not asked about since"
    assert (await read(scene, stranger)).outcome is Outcome.UNAVAILABLE
    for verdict in (await scene.login(device), await scene.login(waiting), await scene.factory_login(waiting)):
        assert verdict.outcome is Outcome.UNAVAILABLE
    monkeypatch.setattr(grants_memory, "GRACE", -1.0)  # a minute later
    assert (await read(scene, device)).outcome is Outcome.UNAVAILABLE
    assert (await read(scene, revoked)).outcome is Outcome.DENIED

    await asyncio.to_thread(cluster.start)
    assert await scene.login(waiting)
    assert await scene.login(device)
    assert await scene.factory_login(waiting)
    assert await read(scene, stranger)
    assert (await read(scene, late)).outcome is Outcome.DENIED
    monkeypatch.setattr(grants_memory, "FEED_PATIENCE", FOR_EVER)
    await scene.gate.follow()
    assert await read(scene, device)
    assert (await read(scene, revoked)).outcome is Outcome.DENIED
    assert await scene.state("gw-5") == "PROVISIONED"
    await scene.database.check_invariants()


async def test_a_database_that_hangs_is_waited_for_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker stands still while it asks: its other clients are answered from memory, and nobody else is let in."""
    device = await scene.provision()
    assert await read(scene, device)
    waited = []

    async def hang(*_client: str) -> Facts:
        waited.append(1)
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(grants_memory, "FEED_PATIENCE", 0.0)
    monkeypatch.setattr(admission, "TROUBLE_LASTS", FOR_EVER)
    monkeypatch.setattr(scene.gate.store, "facts", hang)
    monkeypatch.setattr(scene.gate.admission, "patience", 0.05)
    for _ in range(5):
        assert await read(scene, device)
    assert len(waited) == 1
    stranger = await scene.gate.acl(ACCOUNT, "somebody", "gw-2", "acme/gw-2/x", READ)
    assert stranger.outcome is Outcome.UNAVAILABLE


async def test_a_login_from_memory_is_over_with_the_change(scene: Scene) -> None:
    """Asked twice of the database after a change, and of it again while the feed is silent; never for a first login."""
    device = await scene.run("gw-1")
    scene.gate.store.calls.clear()
    assert await scene.login(device), "the first login moves rows"
    assert await scene.login(device)
    assert await scene.login(device)
    assert scene.gate.store.calls == ["facts", "login", "facts"]
    wrong = await scene.gate.connect(ACCOUNT, device.username, device.password + "x", "gw-1")
    assert (wrong.outcome, wrong.reason) == (Outcome.DENIED, "wrong_password")
    await users.set_user_enabled(scene.admin, "acme", device.username, enabled=False)
    assert (await scene.login(device)).reason == "user_disabled"
    await users.set_user_enabled(scene.admin, "acme", device.username, enabled=True)
    verdict = await scene.login(device)
    assert verdict
    again = await scene.login(device)
    assert isinstance(verdict.granted, Present)
    assert isinstance(again.granted, Entry)
    assert again.granted.decision() == verdict.granted
    assert again.granted.grants_text() == grants_text(verdict.granted.grants)
    assert again.as_of >= verdict.as_of, "what is remembered is as new as the feed"
