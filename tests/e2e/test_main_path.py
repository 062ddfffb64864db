"""A device goes from factory credentials to its account's broker, in each way the protocol allows."""

from __future__ import annotations

import json
from pathlib import Path

import asyncpg
import pytest

from service.core import device_config
from service.mqtt.device import DeviceRefused, DeviceUnreached
from tests.e2e.mqtt_raw import Client
from tests.support.database import PASSWORD, make_request
from tests.support.devices import ask, connect, connect_code, reply, run_device
from tests.support.proxy import PUBLISH, dropping
from tests.support.scene import somebody_waits
from tests.support.world import World


async def generated_users(world: World) -> list[str]:
    return [row["name"] for row in await world.database.fetch("SELECT name FROM users WHERE kind = 'device'")]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_device_with_key_and_seal_is_provisioned(world: World, tmp_path: Path, version: str) -> None:
    """Sealed answer, new credentials, login, its own topics: on both versions of MQTT."""
    created = await make_request(world.admin, "gw-1", generate_activation_key=True)
    run = await run_device(world, "gw-1", tmp_path, activation_key=created.activation_key, seal=True, version=version)
    assert run.names()[-1] == "received it back"
    [request] = await world.database.fetch("SELECT state, attempts FROM provision_requests")
    assert (request["state"], request["attempts"]) == ("PROVISIONED", 0)
    [found] = await world.database.fetch("SELECT state, salt FROM provision_runs")
    assert (found["state"], found["salt"]) == ("COMPLETED", None)
    assert await generated_users(world) == [run.answer()["connection"]["username"]]


async def test_device_without_key_is_provisioned_with_its_configuration(world: World, tmp_path: Path) -> None:
    """The additional configuration arrives, Password values readable, the five overridden parameters gone."""
    configuration, problems = device_config.parse(
        json.dumps(
            {
                "org.example.Modem": {"apn": "iot", "pin": {"type": "Password", "value": "1234-canary"}},
                device_config.TRANSPORT: {"USERNAME": "mine", "broker-url": "mqtt://evil", "keep-alive": 30},
            }
        )
    )
    assert not problems
    await make_request(world.admin, "gw-1", additional_device_configuration=configuration)
    run = await run_device(world, "gw-1", tmp_path)
    assert run.answer()["configuration"] == {
        "org.example.Modem": {"apn": "iot", "pin": "1234-canary"},
        device_config.TRANSPORT: {"keep-alive": 30},
    }
    rows = await world.database.fetch("SELECT additional_device_configuration::text AS a FROM provision_requests")
    assert "1234-canary" not in rows[0]["a"]


async def test_factory_credentials_work_again_but_provision_nothing(world: World, tmp_path: Path) -> None:
    """After success the device may connect, and an ask is refused until an administrator reopens the request."""
    created = await make_request(world.admin, "gw-1", generate_activation_key=True)
    await run_device(world, "gw-1", tmp_path, activation_key=created.activation_key)
    before = await generated_users(world)
    with pytest.raises(DeviceRefused) as refused:
        await run_device(
            world, "gw-1", tmp_path, activation_key=created.activation_key, store=tmp_path / "another.json"
        )
    assert refused.value.answer["code"] == "already_provisioned"
    assert await generated_users(world) == before


async def test_generated_user_is_good_for_its_own_device_only(world: World, tmp_path: Path) -> None:
    """Not at the provision broker, not under another client id; nor the factory user at the account broker."""
    await make_request(world.admin, "gw-1")
    run = await run_device(world, "gw-1", tmp_path)
    new = run.answer()["connection"]
    assert await connect_code(world.account_port, "gw-1", new["username"], new["password"]) == 0
    assert await connect_code(world.account_port, "gw-2", new["username"], new["password"]) == 5
    assert await connect_code(world.account_port, "gw-1", new["username"], new["password"] + "x") == 5
    assert await connect_code(world.provision_port, "gw-1", new["username"], new["password"]) in (5, None)
    assert await connect_code(world.account_port, "gw-1", "factory-gw-1", PASSWORD) == 5


@pytest.mark.parametrize("lost", [1, 3, 5])
async def test_lost_replies_strand_nobody(world: World, tmp_path: Path, lost: int) -> None:
    """Replies that never arrive: the device asks again, gets the same credential, and one user is left."""
    await make_request(world.admin, "gw-1")
    digests: set[str] = set()
    seen = 0

    def drops(kind: int, _packet: bytes) -> bool:
        nonlocal seen
        seen += kind == PUBLISH
        return kind == PUBLISH and seen <= lost

    async with dropping(world.provision_port, drops) as proxy:
        run = await run_device(
            world, "gw-1", tmp_path, broker=f"mqtt://127.0.0.1:{proxy.port}", first_wait=0.3, patience=100
        )
        assert proxy.dropped == lost
    rows = await world.database.fetch(
        "SELECT detail ->> 'digest' AS digest FROM events WHERE kind IN ('run_started', 'ask_repeated')"
    )
    digests = {row["digest"] for row in rows}
    assert len(rows) == lost + 1
    assert digests == {run.answer()["digest"]}
    assert await generated_users(world) == [run.answer()["connection"]["username"]]


async def test_identical_asks_at_once_get_equal_answers(world: World) -> None:
    """64 asks in one go: one user, one run, and answers that differ in their times only."""
    await make_request(world.admin, "gw-1")
    client = await connect(world, "gw-1", "factory-gw-1")
    assert await client.subscribe("prov/v1/gw-1/reply") == 0
    for _ in range(64):
        await ask(client, "gw-1")
    answers = [await reply(client) for _ in range(64)]
    for answer in answers:
        del answer["server_time"], answer["confirm_within"]
    assert answers == [answers[0]] * 64
    assert answers[0]["result"] == "accepted"
    assert len(await generated_users(world)) == 1
    assert await world.database.value("SELECT count(*) FROM provision_runs") == 1
    client.close()


async def test_whose_request_is_held_keeps_nobody_waiting(world: World) -> None:
    """A device's messages are handled one at a time, so that however many wait, others are answered."""
    for client_id in ("gw-1", "gw-2"):
        await make_request(world.admin, client_id)
    held, other = await connect(world, "gw-1", "factory-gw-1"), await connect(world, "gw-2", "factory-gw-2")
    for client, client_id in ((held, "gw-1"), (other, "gw-2")):
        assert await client.subscribe(f"prov/v1/{client_id}/reply") == 0
    holder = await asyncpg.connect(world.database.url().reveal())
    async with holder.transaction():
        await holder.execute("SELECT FROM provision_requests WHERE client_id = 'gw-1' FOR UPDATE")
        for _ in range(20):
            await ask(held, "gw-1")
        await somebody_waits(world.database)
        await ask(other, "gw-2")
        assert (await reply(other))["result"] == "accepted"
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active'"
        assert await holder.fetchval(f"{waiting} AND datname = current_database()") <= 1
    await holder.close()
    assert [(await reply(held))["result"] for _ in range(20)] == ["accepted"] * 20
    held.close()
    other.close()


async def test_device_whose_credentials_vanished_asks_again(world: World, tmp_path: Path) -> None:
    """Refused at the account broker before its first login, it goes back with its factory credentials."""
    await make_request(world.admin, "gw-1")
    client = await connect(world, "gw-1", "factory-gw-1")
    await client.subscribe("prov/v1/gw-1/reply")
    await ask(client, "gw-1")
    kept = await reply(client)
    client.close()
    (tmp_path / "gw-1.json").write_text(json.dumps({**kept, "confirmed": False}))
    await world.database.execute("UPDATE provision_runs SET confirm_by = now() - interval '1 s', outage = '100 years'")
    run = await run_device(world, "gw-1", tmp_path)
    assert "refused by the account broker, asking again" in run.names()
    assert run.answer()["connection"]["username"] != kept["connection"]["username"]
    assert await generated_users(world) == [run.answer()["connection"]["username"]]


async def test_nobody_there_is_told_apart_from_refused(stopped_world: World, tmp_path: Path) -> None:
    """A device that reaches no broker gives up as unreached, not as refused."""
    with pytest.raises(DeviceUnreached):
        await run_device(stopped_world, "gw-1", tmp_path, patience=0.5)


async def test_two_hundred_asks_wait_for_the_responder(stopped_world: World) -> None:
    """Asks that are published while no responder runs are all answered when one is back."""
    world = stopped_world
    world.start()
    for number in range(200):
        await make_request(
            world.admin,
            f"gw-{number}",
            provision_username="fleet",
            generate_activation_key=False,
        )
    world.responder.stop()
    clients: list[Client] = []
    for number in range(200):
        client = await connect(world, f"gw-{number}", "fleet")
        await client.subscribe(f"prov/v1/gw-{number}/reply")
        await ask(client, f"gw-{number}")
        clients.append(client)
    world.start(world.responder)
    for number, client in enumerate(clients):
        answer = await reply(client)
        assert answer["result"] == "accepted"
        assert answer["connection"]["client_id"] == f"gw-{number}"
        client.close()
    assert len(await generated_users(world)) == 200
