"""Presence on a real database: what devices say, and the trigger that keeps the rule of logins."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from service.core.lifecycle import Link, Said, Topic, decide_life
from service.mqtt import kura_payload
from service.mqtt.kura_payload import Metric
from service.operations import devices, users
from service.operations.lifecycle import LifecycleDesk
from tests.support.scene import ACCOUNT, Scene
from tests.unit import vectors

BIRTH: dict[str, Metric] = {"display_name": "Pump 7", "uptime": 12, "firmware_version": "1.2", "available_memory": 0.5}


def life_desk(scene: Scene) -> LifecycleDesk:
    return LifecycleDesk(pool=scene.desk.pool, event_key=scene.desk.event_key)


def said(what: str, client_id: str = "gw-1", account: str = "acme") -> Topic:
    return Topic(account=account, client_id=client_id, said=Said(what))


async def status(scene: Scene, client_id: str = "gw-1") -> str | None:
    value: str | None = await scene.database.value(
        "SELECT status FROM device_connections WHERE client_id = $1", client_id
    )
    return value


async def test_a_device_is_born_and_lost(scene: Scene) -> None:
    """Status, since when, every metric, an event for each change and none where nothing changed."""
    await scene.provision()
    desk = life_desk(scene)
    assert await status(scene) == "CONNECTED"
    assert await desk.handle(said("BIRTH"), kura_payload.encode(BIRTH), 0)
    assert await desk.handle(said("LWT"), b"", 1)
    assert await status(scene) == "MISSING"
    assert await desk.handle(said("LWT"), b"", 2)
    assert await desk.handle(said("APPS"), kura_payload.encode({**BIRTH, "uptime": 99}), 3)
    assert await desk.handle(said("DC"), b"\xff", 4)
    shown = await devices.show_device(scene.admin, "acme", "gw-1")
    assert (shown["status"], shown["display_name"]) == ("DISCONNECTED", "Pump 7")
    assert shown["birth"] == {**BIRTH, "uptime": 99}
    assert shown["status_at"] >= shown["birth_at"] > shown["created_at"]
    kinds = [kind for kind in await scene.kinds() if kind.startswith("device_")]
    assert kinds == ["device_missing", "device_connected", "device_disconnected"]


async def test_nobody_speaks_for_another(scene: Scene) -> None:
    """A client id that never logged in at that account, and an account that is none."""
    await scene.provision()
    desk = life_desk(scene)
    await scene.request("gw-2")
    for topic in (said("LWT", "gw-3"), said("LWT", "gw-1", "other"), said("BIRTH", "gw-3")):
        assert not await desk.handle(topic, kura_payload.encode(BIRTH), 0)
    assert await status(scene) == "CONNECTED"
    assert await scene.database.value("SELECT count(*) FROM devices") == 1


async def test_a_birth_that_cannot_be_read_is_a_sign_of_life(scene: Scene) -> None:
    """What it said before stays."""
    await scene.provision()
    desk = life_desk(scene)
    await desk.handle(said("BIRTH"), kura_payload.encode(BIRTH), 0)
    await desk.handle(said("LWT"), b"", 1)
    await desk.handle(said("BIRTH"), b"\x1f\x8bgarbage", 2)
    shown = await devices.show_device(scene.admin, "acme", "gw-1")
    assert (shown["status"], shown["birth"]) == ("CONNECTED", BIRTH)


async def test_a_device_that_comes_and_goes_does_not_fill_the_log(scene: Scene) -> None:
    await scene.provision()
    desk = life_desk(scene)
    for _ in range(30):
        await desk.handle(said("LWT"), b"", 0)
        await desk.handle(said("BIRTH"), kura_payload.encode(BIRTH), 0)
    assert len([kind for kind in await scene.kinds() if kind.startswith("device_")]) == 20


async def test_a_person_that_is_born_becomes_a_device(scene: Scene) -> None:
    """As in the original: a device that was not provisioned is registered when it first says what it is."""
    password = await users.create_person(scene.admin, "acme", "visitor", ["broker:connect"])
    assert await scene.gate.connect(ACCOUNT, "visitor", password, "laptop")
    await life_desk(scene).handle(said("BIRTH", "laptop"), kura_payload.encode(BIRTH), 0)
    shown = await devices.show_device(scene.admin, "acme", "laptop")
    assert (shown["status"], shown["display_name"]) == ("CONNECTED", "Pump 7")
    assert await scene.database.value("SELECT device_id IS NOT NULL FROM device_connections WHERE client_id = 'laptop'")


@pytest.mark.parametrize("row", vectors.rows("lifecycle", "stories"), ids=lambda row: row["name"])
async def test_the_database_has_the_rule_of_logins_and_of_what_brokers_tell(scene: Scene, row: dict[str, Any]) -> None:
    """The same stories, logins and ends as the hooks write them, the rest as the responder does: at their times."""
    noon = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
    await scene.database.execute(
        "INSERT INTO device_connections (account_id, client_id, broker_id)"
        " SELECT a.id, 'gw-1', b.id FROM accounts a, brokers b WHERE a.name = 'acme' AND b.name = $1",
        ACCOUNT,
    )
    await make_broker(scene, "elsewhere")
    broker = ACCOUNT
    for what, seconds, expected, owed in row["events"]:
        moment = noon + datetime.timedelta(seconds=seconds)
        broker = "elsewhere" if what == "login_elsewhere" else broker
        if what.startswith("login"):
            await scene.database.execute(
                "UPDATE device_connections SET last_login_at = $1, broker_id = b.id FROM brokers b WHERE b.name = $2",
                moment, broker,
            )  # fmt: skip
        elif what in ("end", "connected"):
            await told(scene, what == "connected", moment, broker=broker)
        else:
            await tell(scene, what, moment)
        [found] = await scene.database.fetch("SELECT status, ends_owed FROM device_connections")
        assert tuple(found) == (expected, owed), (what, seconds)


async def make_broker(scene: Scene, name: str) -> None:
    """One more account broker."""
    await scene.database.execute(
        "INSERT INTO brokers (name, role, secret_sha256, endpoints)"
        " SELECT $1, role, sha256($2), endpoints FROM brokers WHERE name = $3",
        name, name.encode(), ACCOUNT,
    )  # fmt: skip


async def told(
    scene: Scene, connected: bool, moment: datetime.datetime, client_id: str = "gw-1", broker: str = ACCOUNT
) -> None:
    """As the hooks pass it on, with its age."""
    age = (datetime.datetime.now(datetime.UTC) - moment).total_seconds()
    await scene.gate.store.note_connections(scene.desk.event_key, broker, [(client_id, connected, age, True)])


async def age_of_all(scene: Scene, seconds: float) -> None:
    """As if all of it had been so long ago."""
    await scene.database.execute(
        "UPDATE device_connections SET status_at = status_at - make_interval(secs => $1),"
        " born_at = born_at - make_interval(secs => $1)",
        seconds,
    )
    await scene.database.execute("ALTER TABLE device_connections DISABLE TRIGGER device_connections_login")
    await scene.database.execute(
        "UPDATE device_connections SET last_login_at = last_login_at - make_interval(secs => $1)", seconds
    )
    await scene.database.execute("ALTER TABLE device_connections ENABLE TRIGGER device_connections_login")


async def test_only_the_broker_of_the_last_login_is_believed(scene: Scene) -> None:
    await scene.provision()
    await make_broker(scene, "elsewhere")
    now = datetime.datetime.now(datetime.UTC)
    for broker in ("elsewhere", "provision-broker", "nobody"):
        await told(scene, False, now, broker=broker)
        assert await status(scene) == "CONNECTED", broker
    await told(scene, False, now, client_id="gw-2")
    assert await status(scene) == "CONNECTED"
    await told(scene, False, datetime.datetime.now(datetime.UTC))
    assert await status(scene) == "DISCONNECTED"
    assert [kind for kind in await scene.kinds() if kind.startswith("device_")] == ["device_disconnected"]


async def test_a_broker_that_began_anew_has_nobody_yet(scene: Scene) -> None:
    """Gateways are MISSING, others DISCONNECTED; who has logged in since then, or at another broker, stays."""
    for client_id in ("plain", "gateway", "elsewhere"):
        await scene.provision(client_id)
    await life_desk(scene).handle(said("BIRTH", "gateway"), kura_payload.encode(BIRTH), 0)
    await make_broker(scene, "other")
    await scene.database.execute(
        "UPDATE device_connections SET broker_id = b.id FROM brokers b"
        " WHERE client_id = 'elsewhere' AND b.name = 'other'"
    )
    await age_of_all(scene, 100)
    later = await scene.provision("later")
    assert await scene.gate.store.note_broker_began("provision-broker", 50.0) == 0
    assert await scene.gate.store.note_broker_began(ACCOUNT, 50.0) == 2
    assert await scene.gate.store.note_broker_began(ACCOUNT, 50.0) == 0
    expected = {"plain": "DISCONNECTED", "gateway": "MISSING", "elsewhere": "CONNECTED", "later": "CONNECTED"}
    assert {client_id: await status(scene, client_id) for client_id in expected} == expected
    assert later.client_id == "later"
    account_id = await scene.database.value("SELECT id FROM accounts WHERE name = 'acme'")
    await scene.gate.store.note_seen([(account_id, "plain", ACCOUNT, 10.0)])
    assert await status(scene, "plain") == "CONNECTED", "came again after that"


async def tell(scene: Scene, what: str, moment: datetime.datetime) -> None:
    """`decide_life` on the stored row, at another time than now."""
    [row] = await scene.database.fetch(
        "SELECT status, status_at, last_login_at, born_at, ends_owed, ended_at FROM device_connections"
    )
    link = decide_life(Link(**dict(row)), Said(what), moment)
    await scene.database.execute(
        "UPDATE device_connections SET status = $1, status_at = $2, born_at = $3, ends_owed = $4, ended_at = $5",
        link.status, link.status_at, link.born_at, link.ends_owed, link.ended_at,
    )  # fmt: skip


async def test_a_login_is_noted_at_its_own_time(scene: Scene) -> None:
    """The hooks write a second later: a will that came meanwhile was the new connection's only if it owed none."""
    device = await scene.provision()
    account_id = await scene.database.value("SELECT id FROM accounts WHERE name = 'acme'")
    desk = life_desk(scene)
    await desk.handle(said("BIRTH"), kura_payload.encode(BIRTH), 0)
    await desk.handle(said("LWT"), b"", 1)
    assert await scene.login(device)
    await scene.gate.store.note_seen([(account_id, "gw-1", "account-broker", 0.0)])
    assert await status(scene) == "CONNECTED"
    await desk.handle(said("BIRTH"), kura_payload.encode(BIRTH), 2)
    before = json.dumps(await scene.database.value("SELECT last_login_at::text FROM device_connections"))
    await scene.gate.store.note_seen([(account_id, "gw-1", "account-broker", 3600.0)])
    assert json.dumps(await scene.database.value("SELECT last_login_at::text FROM device_connections")) == before
    assert await scene.database.value("SELECT ends_owed FROM device_connections") == 0
