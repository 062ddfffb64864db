"""
Processes die at random while devices are provisioned: hooks, responder, brokers by SIGKILL, Postgres by an immediate
stop (G1). After each of them every invariant holds; in the end every device has one credential, which works.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.operations import requests
from service.operations.administration import Administration
from tests.e2e.mqtt_raw import Client
from tests.support.database import PASSWORD, Database, new_request
from tests.support.devices import payload
from tests.support.figures import record
from tests.support.own import own_database
from tests.support.world import World

# So few at once that devices still come when the last process is killed.
AT_ONCE = {40: 1, 1000: 4}
VICTIMS = ("responder", "hooks", "provision_broker", "account_broker", "postgres")
FLEETS = 4  # factory credentials, each shared by its part of the devices


@dataclass(kw_only=True)
class Device:
    """What it knows of itself; `answer` once it has one."""

    client_id: str
    username: str
    key: str
    answer: dict[str, Any] = field(default_factory=dict)
    asks: int = 0

    async def provision(self, world: World) -> None:
        """Until it was let in at its account's broker with its own credentials."""
        while not await self._comes_home(world):
            await self._ask(world)
            await asyncio.sleep(random.uniform(0.05, 0.3))

    async def _ask(self, world: World) -> None:
        """Once. Whatever it gets is the same as before."""
        try:
            async with asyncio.timeout(4), await Client.open(world.provision_port) as client:
                if await client.connect(self.client_id, username=self.username, password=PASSWORD) != 0:
                    return
                if await client.subscribe(f"prov/v1/{self.client_id}/reply", qos=1) != 1:
                    return
                self.asks += 1
                ask = {"id": secrets.token_hex(8), "activation_key": self.key}
                await client.publish(f"prov/v1/{self.client_id}/request", json.dumps(ask).encode(), qos=1)
                while (packet := await client.message()) is not None:
                    reply = json.loads(payload(packet))
                    if reply.get("id") == ask["id"]:
                        self._keep(reply)
                        return
        except (OSError, TimeoutError):
            pass

    def _keep(self, reply: dict[str, Any]) -> None:
        if reply["result"] == "refused":
            # A login that confirmed the run, and whose CONNACK got lost: it has its answer, and logs in again.
            assert (reply["code"], bool(self.answer)) == ("already_provisioned", True), reply
            return
        assert self.answer in ({}, {**self.answer, "digest": reply["digest"]}), "the answer changed"
        self.answer = reply

    async def _comes_home(self, world: World) -> bool:
        if not self.answer:
            return False
        target = self.answer["connection"]
        try:
            async with asyncio.timeout(4), await Client.open(world.account_port) as client:
                code = await client.connect(self.client_id, username=target["username"], password=target["password"])
        except (OSError, TimeoutError):
            return False
        return code == 0


async def make_devices(admin: Administration, count: int) -> list[Device]:
    """Requests with activation keys, on shared factory credentials."""
    made = []
    for number in range(count):
        username = f"fleet-{number % FLEETS}"
        new = new_request(f"gw-{number}", provision_username=username, generate_activation_key=True)
        created = await requests.create_request(admin, "acme", new)
        made.append(Device(client_id=new.client_id, username=username, key=created.activation_key or ""))
    return made


@dataclass(kw_only=True)
class Killer:
    """Ends one process after another, and starts it again."""

    world: World
    seed: int
    kills: list[str] = field(default_factory=list)

    async def kill(self, count: int, done: Iterator[bool]) -> None:
        """So many, each in its time; then, or when the devices are through, it is over."""
        chance = random.Random(self.seed)
        order = [VICTIMS[number % len(VICTIMS)] for number in range(count)]
        chance.shuffle(order)
        for victim in order:
            await asyncio.sleep(chance.uniform(0.1, 0.5))
            if next(done):
                return
            self.kills.append(victim)
            await asyncio.to_thread(self._end, victim)
            await self.world.database.check_invariants()

    def _end(self, victim: str) -> None:
        if victim == "postgres":
            cluster = self.world.database.server.cluster
            assert cluster is not None
            cluster.stop("immediate")
            cluster.start()
            return
        process = getattr(self.world, victim)
        process.kill()
        process.begin()


async def run_all(world: World, devices: Sequence[Device]) -> None:
    """A few at a time."""
    turns = asyncio.Semaphore(AT_ONCE[len(devices)])

    async def one(device: Device) -> None:
        async with turns:
            await device.provision(world)

    await asyncio.gather(*(one(device) for device in devices))


@pytest.fixture
async def own_world() -> AsyncIterator[World]:
    """With a Postgres of its own, that may be stopped; its factory credentials are hashed as fast as can be."""
    async with own_database() as (database, admin):
        world = World(database=database, admin=admin, settings={"PROVISION_SLOW_HASH_RATE": "100"})
        try:
            await world.prepare()
            world.start()
            yield world
        finally:
            world.close()


@pytest.mark.parametrize(
    ("count", "kills"),
    [(40, 5), pytest.param(1000, 60, marks=[pytest.mark.long, pytest.mark.timeout(1700)])],
)
async def test_processes_die_while_devices_come(own_world: World, count: int, kills: int) -> None:
    world = own_world
    devices = await make_devices(world.admin, count)
    killer = Killer(world=world, seed=secrets.randbits(32))
    coming = asyncio.ensure_future(run_all(world, devices))
    try:
        await killer.kill(kills, iter(coming.done, object()))
        await coming
    except Exception as error:
        raise AssertionError(f"seed {killer.seed}, killed {killer.kills}") from error
    finally:
        coming.cancel()
    await check_all(world.database, devices)
    asks = sum(device.asks for device in devices)
    record(
        goal="G1",
        what=f"{count} provisionings, {len(killer.kills)} kills: one live credential a request, I1-I12 after each kill",
        asked="0 violations, 0 devices left behind",
        reached=f"0 and 0, in {asks} asks",
        command="make test-long" if count == 1000 else "make test",
        good=True,
    )
    assert len(killer.kills) == kills, "the devices were through before: too few kills to show anything"


async def check_all(database: Database, devices: Sequence[Device]) -> None:
    """One credential for each, the one that it has."""
    await database.check_invariants()
    rows = await database.fetch(
        "SELECT q.client_id, u.name, q.state FROM provision_requests q JOIN provision_runs r ON r.request_id = q.id"
        " JOIN users u ON u.id = r.user_id"
    )
    found = {row["client_id"]: (row["name"], row["state"]) for row in rows}
    assert len(rows) == len(devices)
    assert found == {device.client_id: (device.answer["connection"]["username"], "PROVISIONED") for device in devices}
