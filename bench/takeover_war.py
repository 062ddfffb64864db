"""
An attacker with the fleet's credential and every client id, against devices with key and seal that follow
docs/protocol.md: it connects as each client id in turn as fast as the broker lets it, subscribes, and sends asks with
wrong keys and garbage. Prints how long the devices take to be provisioned.

    python -m bench.takeover_war --devices 20 --seconds 120              all client ids in turn
    python -m bench.takeover_war --devices 20 --seconds 120 --victims 1  all its force against one of them
    python -m bench.takeover_war ... --addresses 50                      from so many addresses
    python -m bench.takeover_war ... --spare 20 --flood      it has 20 client ids more, and floods as these
    python -m bench.takeover_war ... --password-only                     the devices keep their key out of the CONNECT
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.worlds import bench_world
from service.mqtt.device import Device, DeviceRefused, DeviceUnreached, Simulation
from tests.e2e.mqtt_raw import CONNACK, connect_packet, publish_packet, subscribe_packet
from tests.support.database import PASSWORD, make_request
from tests.support.figures import record
from tests.support.world import ROOT, World

GOAL_SECONDS = 900.0
# Connections that the attacker works on at once.
WORKERS = 16


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line, of the measurement and of the attacker that it starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--victims", type=int, default=0)
    parser.add_argument("--spare", type=int, default=0)
    parser.add_argument("--flood", action="store_true")
    parser.add_argument("--addresses", type=int, default=1)
    parser.add_argument("--password-only", action="store_true")
    parser.add_argument("--steps", action="store_true", help="print every step of every device")
    parser.add_argument("--attack", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _all(arguments: argparse.Namespace) -> int:
    """How many client ids the attacker knows; those of no device are the last."""
    return int(arguments.devices + arguments.spare)


# The attacker


class Attacker:
    """Takes client ids over, one after the other, for ever; each connection lives until it is taken over itself."""

    def __init__(self, port: int, client_ids: list[str], addresses: int, *, flood: bool) -> None:
        self._port = port
        self._client_ids = itertools.cycle(client_ids)
        self._addresses = itertools.cycle(
            f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(addresses)
        )
        self._flood = flood
        self._open: dict[str, asyncio.StreamWriter] = {}
        self.outcomes: Counter[str] = Counter()

    async def work(self) -> None:
        """One of several."""
        while True:
            try:
                async with asyncio.timeout(10):
                    await self._take_over(next(self._client_ids), next(self._addresses))
            except (OSError, TimeoutError):
                self.outcomes["closed"] += 1

    async def _take_over(self, client_id: str, address: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(address, 0))
        writer.write(connect_packet(client_id, username="fleet", password=PASSWORD))
        writer.write(subscribe_packet(1, [f"prov/v1/{client_id}/reply"], qos=1))
        wrong = b'{"id":"mine","activation_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'
        for number, payload in enumerate((wrong, b"{", wrong, b'{"id":1}'), start=2):
            writer.write(publish_packet(f"prov/v1/{client_id}/request", payload, qos=1, packet_id=number))
        head = await reader.read(4)
        if len(head) < 4 or head[0] >> 4 != CONNACK or head[3]:
            self.outcomes["refused" if len(head) == 4 else "closed"] += 1
            writer.close()
            return
        self.outcomes["taken over"] += 1
        previous = self._open.get(client_id)
        self._open[client_id] = writer
        if previous is not None:
            previous.close()
        if self._flood:
            many = publish_packet(f"prov/v1/{client_id}/request", b"{") * 200
            while not reader.at_eof():
                writer.write(many)
                await writer.drain()
                self.outcomes["flood"] += 200


async def attack(arguments: argparse.Namespace) -> None:
    """Until it is ended: prints what became of its CONNECTs, each second a line."""
    count = arguments.victims or arguments.devices
    client_ids = [f"gw-{number}" for number in (*range(count), *range(arguments.devices, _all(arguments)))]
    attacker = Attacker(arguments.attack, client_ids, arguments.addresses, flood=arguments.flood)
    workers = [asyncio.create_task(attacker.work()) for _ in range(WORKERS)]
    while True:
        await asyncio.sleep(1.0)
        print(dict(attacker.outcomes), flush=True)
        assert not any(worker.done() for worker in workers)


# The devices


async def provision(world: World, client_id: str, key: str, folder: Path, arguments: argparse.Namespace) -> float:
    """Seconds until the device works at its account's broker; infinite where it was given up."""
    began = time.monotonic()
    steps: list[str] = []

    def say(step: str, **_: object) -> None:
        steps.append(f"{time.monotonic() - began:.1f} {step}")

    device = Device(
        broker=world.provision_url,
        client_id=client_id,
        username="fleet",
        password=PASSWORD,
        activation_key=key,
        seal=True,
        store=folder / f"{client_id}.json",
        patience=arguments.seconds,
        key_at_connect=not arguments.password_only,
    )
    try:
        await Simulation(device, say).run()
    except (DeviceRefused, DeviceUnreached) as error:
        print(f"  {client_id}: {error}; its last steps: {'; '.join(steps[-4:])}")
        return float("inf")
    if arguments.steps:
        print(f"  {client_id}: {'; '.join(steps)}")
    return time.monotonic() - began


async def measure(world: World, arguments: argparse.Namespace) -> None:
    """The war, and its figures."""
    created = [
        await make_request(world.admin, f"gw-{number}", provision_username="fleet", generate_activation_key=True)
        for number in range(_all(arguments))
    ]
    attacker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.takeover_war", "--attack", str(world.provision_port), *sys.argv[1:],
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert attacker.stdout is not None
    lines = [await attacker.stdout.readline() for _ in range(5)]  # it is in the midst of it

    async def listen(stream: asyncio.StreamReader) -> None:
        async for text in stream:
            lines.append(text)

    listening = asyncio.create_task(listen(attacker.stdout))
    with tempfile.TemporaryDirectory() as folder:
        taken = await asyncio.gather(
            *(
                provision(world, f"gw-{number}", request.activation_key or "", Path(folder), arguments)
                for number, request in enumerate(created[: arguments.devices])
            )
        )
    seconds = len(lines)
    attacker.terminate()
    await attacker.wait()
    await listening
    report(arguments, taken, lines[-1].decode().strip() if lines else "nothing", seconds)


def line(what: str, reached: float, unit: str, goal: float | None = None) -> None:
    """One figure, which is as good as it is small."""
    beside = "" if goal is None else f"goal at most {goal:g}: {'reached' if reached <= goal else 'NOT REACHED'}"
    print(f"  {what:<44} {reached:8.1f} {unit:<2} {beside}")


def report(arguments: argparse.Namespace, taken: list[float], outcomes: str, seconds: int) -> None:
    """Print the figures."""
    victims = taken[: arguments.victims or arguments.devices]
    print(f"takeover war: {len(taken)} devices, {len(victims)} of them attacked, {arguments.spare} client ids to spare")
    print(f"  the attacker's CONNECTs in {seconds} s: {outcomes}")
    line("attacked devices not provisioned in time", sum(one == float("inf") for one in victims), "", 0)
    line("time to provisioned, attacked, median", sorted(victims)[len(victims) // 2], "s")
    line("time to provisioned, attacked, longest", max(victims), "s", GOAL_SECONDS)
    line("time to provisioned, all, longest", max(taken), "s", GOAL_SECONDS)
    if not arguments.password_only:
        record(
            "G20",
            f"attacker with the fleet's credential and every client id: longest time of {len(victims)} devices",
            "900 s",
            f"{max(victims):.1f} s",
            "python -m bench.takeover_war",
            max(victims) <= GOAL_SECONDS,
        )


async def main(arguments: list[str] | None = None) -> None:
    """The measurement, or the attacker that it starts."""
    parsed = parse(arguments)
    if parsed.attack:
        await attack(parsed)
        return
    async with bench_world() as world:
        await measure(world, parsed)


if __name__ == "__main__":
    asyncio.run(main())
