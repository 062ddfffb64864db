"""Devices for end-to-end tests: simulated ones, and raw connections that do what no device should."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.mqtt.device import Device, Simulation
from service.mqtt.kura_device import Gateway, KuraSimulation
from tests.e2e.mqtt_raw import Client, Packet
from tests.support.database import PASSWORD
from tests.support.world import World


@dataclass
class Run:
    """What a simulated device did: its steps, and the answer it kept."""

    store: Path
    steps: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def say(self, step: str, **what: Any) -> None:
        """For the simulation."""
        self.steps.append((step, what))

    def names(self) -> list[str]:
        """The steps alone."""
        return [step for step, _ in self.steps]

    def answer(self) -> dict[str, Any]:
        """What was kept."""
        kept: dict[str, Any] = json.loads(self.store.read_text())
        return kept


async def run_device(world: World, client_id: str, folder: Path, **changes: Any) -> Run:
    """Be a device until it works at its account's broker. Raises what the simulation raises."""
    run = Run(folder / f"{client_id}.json")
    await Simulation(_device(world, client_id, run, changes), run.say).run()
    return run


async def run_gateway(
    world: World, client_id: str, folder: Path, gateway: Gateway | None = None, **changes: Any
) -> Run:
    """The same as a Kura gateway on MQTT 3.1.1. Raises what the simulation raises."""
    run = Run(folder / f"{client_id}.json")
    device = _device(world, client_id, run, {"version": "3.1.1", **changes})
    await KuraSimulation(device, run.say, gateway or Gateway(applies_after=0.2)).run()
    return run


def _device(world: World, client_id: str, run: Run, changes: dict[str, Any]) -> Device:
    values: dict[str, Any] = {
        "broker": world.provision_url,
        "client_id": client_id,
        "username": f"factory-{client_id}",
        "password": PASSWORD,
        "store": run.store,
        "patience": 60,
        "first_wait": 1.0,
        **changes,
    }
    return Device(**values)


def payload(packet: Packet, version: int = 4) -> bytes:
    """The payload of a PUBLISH (MQTT 5: behind its properties)."""
    start = 2 + int.from_bytes(packet.body[:2], "big")
    if packet.flags & 0x06:
        start += 2
    if version == 5:
        start += 1 + packet.body[start]
    return packet.body[start:]


async def connect(
    world: World, client_id: str, username: str, password: str = PASSWORD, *, version: int = 4, clean: bool = True
) -> Client:
    """A raw connection to the provision broker that must be accepted; closed without a verdict, it tries again."""
    async with asyncio.timeout(20):
        while True:
            client = await Client.open(world.provision_port, version=version)
            code = await client.connect(client_id, username=username, password=password, clean=clean)
            if code is not None:
                assert code == 0
                return client
            client.close()  # the slow-hash budget is spent for now
            await asyncio.sleep(0.2)


async def connect_code(port: int, client_id: str, username: str, password: str, **options: Any) -> int | None:
    """What a CONNECT is answered; None: closed without a word."""
    client = await Client.open(port, version=options.pop("version", 4))
    try:
        return await client.connect(client_id, username=username, password=password, **options)
    finally:
        client.close()


async def ask(client: Client, client_id: str, **fields: Any) -> None:
    """Publish an ask."""
    document = {"id": "ask-1", **fields}
    assert await client.publish(f"prov/v1/{client_id}/request", json.dumps(document).encode(), qos=1) == 0


async def reply(client: Client) -> dict[str, Any]:
    """The next message, as JSON."""
    packet = await client.message()
    assert packet is not None
    document: dict[str, Any] = json.loads(payload(packet, client.version))
    return document


async def eventually(condition: Any, *, patience: float = 20.0) -> None:
    """Wait until an async condition holds; the test fails where it never does."""
    async with asyncio.timeout(patience):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)
