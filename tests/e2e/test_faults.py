"""
Each dependency down, slow, half open or talking nonsense: nobody gets in, whoever is in works on, and all is well again
without a restart (G5, G6, G25). Seconds are printed, and nothing fails by them.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from service.operations import users
from service.operations.administration import Administration
from tests.e2e.mqtt_raw import Client
from tests.support.database import PASSWORD, Database, make_request
from tests.support.devices import ask, connect, connect_code, eventually, payload, run_device
from tests.support.faulty_world import Links, faulty_world
from tests.support.figures import record
from tests.support.proxy import FAULTS, PUBLISH, Link, packets
from tests.support.world import World, is_own_plugin

ADMITTING = ("plugin_to_hooks", "hooks_to_postgres")
ASKING = ("responder_to_postgres", "responder_to_broker")
# All but a clear word of the hooks; mosquitto-go-auth reads "200 without ok" as a no, which is a verdict.
WRONG_BODIES = (b"", b"ok", b"[]", b'{"ok":"true"}', b'{"ok":1}', b'{"ok":tru', b"<html>")
COMMAND = "pytest tests/e2e/test_faults.py"


class Strangers:
    """Right credentials that were never used, and wrong ones: a new one of each for each try."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0
        self.tries = 0

    async def codes(self) -> set[int | None]:
        """What they are answered: at the account broker as persons, at the provision broker as devices."""
        world, name = self._world, f"s{self._number:03}"
        self._number += 1
        password = await users.create_person(world.admin, "acme", name, ["broker:connect"])
        await make_request(world.admin, name)
        self.tries += 4
        return {
            await connect_code(world.account_port, name, name, password),
            await connect_code(world.account_port, name, name, password + "x"),
            await connect_code(world.provision_port, name, f"factory-{name}", PASSWORD),
            await connect_code(world.provision_port, name, f"factory-{name}", PASSWORD + "x"),
        }


async def admitted(world: World, folder: Path) -> Client:
    """A provisioned device, at its account broker."""
    await make_request(world.admin, "gw-1")
    new = (await run_device(world, "gw-1", folder)).answer()["connection"]
    client = await Client.open(world.account_port)
    assert await client.connect("gw-1", username=new["username"], password=new["password"]) == 0
    assert await client.subscribe("acme/gw-1/echo") == 0
    return client


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def works(client: Client) -> bool:
    return await client.publish("acme/gw-1/echo", b"x", qos=1) == 0 and await client.message() is not None


async def lets_nobody_in(world: World, link: Link, fault: str, device: Client, strangers: Strangers) -> float:
    """Break, try, heal; returns the seconds until somebody may come again."""
    assert await works(device)
    link.break_(fault)
    codes = await strangers.codes()
    # Our plugin has the grants itself; mosquitto-go-auth asks for each topic.
    goes_on = await works(device) if is_own_plugin() else True
    link.heal()
    healed = time.monotonic()
    assert codes == {None}, f"{fault}: {codes}"
    assert goes_on, fault
    name = f"after-{strangers.tries}"
    password = await users.create_person(world.admin, "acme", name, ["broker:connect"])

    async def lets_in() -> bool:
        return await connect_code(world.account_port, name, name, password) == 0

    await eventually(lets_in, patience=60)
    back = time.monotonic() - healed

    async def device_works() -> bool:
        return await works(device)

    await eventually(device_works, patience=60)
    return back


async def break_all(
    database: Database, admin: Administration, folder: Path, faults: list[tuple[str, str]]
) -> tuple[int, float]:
    """Returns how many strangers tried, and the longest way back."""
    longest = 0.0
    journal = folder / "access.journal"
    async with faulty_world(database, admin, PROVISION_ACCESS_JOURNAL=str(journal)) as (world, links):
        device, strangers = await admitted(world, folder), Strangers(world)

        async def journal_knows_it() -> bool:
            return "gw-1" in read(journal)

        await eventually(journal_knows_it, patience=60)
        for dependency, fault in faults:
            link: Link = getattr(links, dependency)
            longest = max(longest, await lets_nobody_in(world, link, fault, device, strangers))
        device.close()
        for process in (world.hooks, world.responder, world.account_broker, world.provision_broker):
            assert process.pid() is not None
    return strangers.tries, longest


async def test_a_broken_dependency_lets_nobody_in(database: Database, admin: Administration, tmp_path: Path) -> None:
    """A sample; the long one has every fault."""
    await break_all(database, admin, tmp_path, [("plugin_to_hooks", "garbage"), ("hooks_to_postgres", "down")])


@pytest.mark.long
async def test_no_broken_dependency_lets_anybody_in(database: Database, admin: Administration, tmp_path: Path) -> None:
    faults = [(dependency, fault) for dependency in ADMITTING for fault in FAULTS]
    tries, longest = await break_all(database, admin, tmp_path, faults)
    what = f"CONNECTs let in or refused for good, hooks and Postgres each {', '.join(FAULTS)}"
    record("G25", what, "0", f"0 of {tries}", f"{COMMAND} -m long", True)
    record("G6", "seconds from a healed path to an admitted CONNECT, longest", "2", f"{longest:.2f}",
           f"{COMMAND} -m long", longest <= 2)  # fmt: skip


@pytest.mark.long
async def test_a_wrong_body_lets_nobody_in(database: Database, admin: Administration) -> None:
    """200, and something else than the contract's words."""
    async with faulty_world(database, admin) as (world, links):
        strangers = Strangers(world)
        for body in WRONG_BODIES:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            links.plugin_to_hooks.answers = lambda _, wrong=head + body: wrong
            assert await strangers.codes() == {None}, body
        links.plugin_to_hooks.answers = None
    what = f"CONNECTs let in on 200 with {len(WRONG_BODIES)} wrong bodies"
    record("G25", what, "0", f"0 of {strangers.tries}", f"{COMMAND} -m long", True)


async def answered(client: Client, client_id: str) -> dict[str, Any]:
    """Ask as a device does, again and again, until it is answered."""
    await ask(client, client_id)
    while True:
        try:
            async with asyncio.timeout(5):
                packet = await client.message()
        except TimeoutError:
            packet = None
        if packet is not None:
            document: dict[str, Any] = json.loads(payload(packet, client.version))
            return document
        await ask(client, client_id)


async def ask_through(world: World, link: Link, fault: str, number: int) -> float:
    """An ask while the responder's path is broken: no answer, and the right one once it is healed; returns seconds."""
    client_id = f"asks-{number}"
    await make_request(world.admin, client_id)
    client = await connect(world, client_id, f"factory-{client_id}")
    await client.subscribe(f"prov/v1/{client_id}/reply")
    link.break_(fault)
    await ask(client, client_id)
    await asyncio.sleep(1)
    assert await client.waiting_messages() == []
    query = (
        "SELECT count(*) FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id WHERE q.client_id = $1"
    )
    link.heal()
    healed = time.monotonic()
    reply = await answered(client, client_id)
    assert reply["result"] == "accepted", reply
    assert await world.database.value(query, client_id) == 1
    client.close()
    return time.monotonic() - healed


async def ask_through_all(database: Database, admin: Administration, faults: list[tuple[str, str]]) -> float:
    longest = 0.0
    async with faulty_world(database, admin) as (world, links):
        for number, (dependency, fault) in enumerate(faults):
            link: Link = getattr(links, dependency)
            longest = max(longest, await ask_through(world, link, fault, number))
        assert world.responder.pid() is not None
    return longest


@pytest.mark.long
async def test_a_broken_path_of_the_responder_only_delays(database: Database, admin: Administration) -> None:
    faults = [(dependency, fault) for dependency in ASKING for fault in FAULTS]
    longest = await ask_through_all(database, admin, faults)
    record("G6", "seconds from a healed path of the responder to the answer, longest", "-", f"{longest:.1f}",
           f"{COMMAND} -m long", True)  # fmt: skip


async def break_and_heal(link: Link, stop: asyncio.Event) -> None:
    """One fault after the other, with room between."""
    for fault in ("slow", "down", "half_open", "garbage") * 100:
        if stop.is_set():
            return
        link.break_(fault)
        await asyncio.sleep(0.4)
        link.heal()
        await asyncio.sleep(2.5)


@pytest.mark.long
async def test_devices_finish_through_every_fault(database: Database, admin: Administration, tmp_path: Path) -> None:
    """Each path breaks in turn, of the devices as well, while they are provisioned one after the other."""
    async with faulty_world(database, admin) as (world, links):
        names = Links.__dataclass_fields__
        for number, name in enumerate(names):
            stop = asyncio.Event()
            breaking = asyncio.create_task(break_and_heal(getattr(links, name), stop))
            client_ids = [f"gw-{number}-{each}" for each in range(4)]
            for client_id in client_ids:
                await make_request(world.admin, client_id)
            broker = f"mqtt://127.0.0.1:{links.device_to_broker.port}"
            runs = await asyncio.gather(
                *(run_device(world, client_id, tmp_path, broker=broker, patience=90) for client_id in client_ids)
            )
            stop.set()
            await breaking
            assert all(run.names()[-1] == "received it back" for run in runs), name
        assert await world.database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 4 * len(names)


async def chaos(database: Database, admin: Administration, folder: Path, count: int, longest_delay: float) -> list[int]:
    """
    5 % of the hooks' answers are 503, 5 % of the replies are lost, half of all messages come twice, all are late;
    returns how often each device asked.
    """
    random_ = random.Random(5)
    refused = 0

    def unwell(data: bytes) -> bytes | None:
        nonlocal refused
        if not data.startswith(b"POST /hooks/user") or random_.random() >= 0.05:
            return None
        refused += 1
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 12\r\n\r\n" + b'{"ok":false}'

    def copies(up: bool, kind: int, packet: bytes) -> int:
        if kind != PUBLISH:
            return 1
        if not up and random_.random() < 0.05:
            return 0
        return 2 if random_.random() < 0.5 else 1

    async with (
        faulty_world(database, admin) as (world, links),
        packets(world.provision_port, copies, lambda: random_.random() * longest_delay) as proxy,
    ):
        client_ids = [f"gw-{number}" for number in range(count)]
        for client_id in client_ids:
            await make_request(world.admin, client_id)
        links.plugin_to_hooks.answers = unwell
        broker = f"mqtt://127.0.0.1:{proxy.port}"
        slots = asyncio.Semaphore(50)

        async def be(client_id: str) -> int:
            async with slots:
                run = await run_device(world, client_id, folder, broker=broker, patience=100, first_wait=2)
            assert run.names()[-1] == "received it back"
            return run.names().count("asked")

        tries = await asyncio.gather(*(be(client_id) for client_id in client_ids))
        assert await database.value("SELECT count(*) FROM users WHERE kind = 'device'") == count
        print(f"\nchaos: {refused} CONNECTs unanswered, {proxy.dropped} messages lost, {proxy.doubled} doubled")
    return sorted(tries)


def note_chaos(tries: list[int], command: str) -> None:
    p99 = tries[int(len(tries) * 0.99)]
    record("G5", "devices done in chaos, p99 of asks", "all, 6", f"{len(tries)} of {len(tries)}, {p99}", command,
           p99 <= 6)  # fmt: skip


async def test_chaos(database: Database, admin: Administration, tmp_path: Path) -> None:
    note_chaos(await chaos(database, admin, tmp_path, 8, 0.05), COMMAND)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_chaos_of_many(database: Database, admin: Administration, tmp_path: Path) -> None:
    note_chaos(await chaos(database, admin, tmp_path, 300, 0.5), f"{COMMAND} -m long")
