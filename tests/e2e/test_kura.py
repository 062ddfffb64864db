"""A Kura gateway goes from factory credentials to its account's broker; others cannot speak for it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from service.core import device_config
from service.mqtt import kura_payload
from service.mqtt.device import DeviceUnreached
from service.mqtt.kura_device import Gateway
from service.operations import explain
from tests.e2e.mqtt_raw import Client
from tests.support.database import PASSWORD, make_request
from tests.support.devices import Run, connect, connect_code, eventually, payload, run_gateway
from tests.support.world import World

NAMES = ("heater", "cooler", "fan")


def applications(*names: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "version": "1.0", "url": f"https://packages.example/{name}.dp", "sha256": "a" * 64, "size": 1}
        for name in names
    ]


async def run_states(world: World) -> list[str]:
    rows = await world.database.fetch(
        "SELECT detail ->> 'state' AS s FROM events WHERE kind IN ('run_moved', 'run_ended') ORDER BY id"
    )
    return [row["s"] for row in rows]


async def users(world: World) -> list[str]:
    return [row["name"] for row in await world.database.fetch("SELECT name FROM users WHERE kind = 'device'")]


async def reasons(world: World, client_id: str) -> list[str]:
    """What `request explain` says, in order."""
    return [row["reason"] for row in await explain.explain(world.admin, client_id) if row["reason"] is not None]


async def check_provisioned(world: World, run: Run) -> None:
    assert run.names()[-1] == "born"
    assert await world.database.value("SELECT state FROM provision_requests") == "PROVISIONED"
    [row] = await world.database.fetch(
        "SELECT state, salt, sealed_key FROM provision_runs ORDER BY number DESC LIMIT 1"
    )
    assert tuple(row) == ("COMPLETED", None, None)
    assert await users(world) == [run.answer()["connection"]["username"]]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_the_whole_way_with_two_applications(world: World, tmp_path: Path, version: str) -> None:
    """Key, two applications, configuration with a Password, login, BIRTH at home."""
    configuration, problems = device_config.parse(
        json.dumps({
            "org.example.Modem": {"apn": "iot & <more>", "pin": {"type": "Password", "value": "1234"}},
            device_config.TRANSPORT: {"USERNAME": "mine", "broker-url": "mqtt://evil", "keep-alive": 30},
        })
    )  # fmt: skip
    assert not problems
    created = await make_request(
        world.admin,
        "gw-1",
        generate_activation_key=True,
        applications=applications("heater", "cooler"),
        additional_device_configuration=configuration,
    )
    run = await run_gateway(world, "gw-1", tmp_path, activation_key=created.activation_key, version=version)
    await check_provisioned(world, run)
    installed = [what["application"] for step, what in run.steps if step == "notified" and what["what"] == "install"]
    assert installed == ["heater", "cooler"]
    assert await run_states(world) == ["APPS_INSTALLING", "APPS_INSTALLED", "CONF_UPDATING", "CONF_UPDATED"]
    assert run.answer()["connection"]["endpoint"] == world.account_url
    assert run.answer()["auto_connect"] is True
    [device] = await world.database.fetch("SELECT client_id FROM devices")
    assert device["client_id"] == "gw-1"


async def test_a_stock_gateway_starts_on_its_birth(world: World, tmp_path: Path) -> None:
    """Without PROV and without applications: its BIRTH asks, where the request allows it."""
    await make_request(world.admin, "gw-1", start_on_birth=True)
    run = await run_gateway(world, "gw-1", tmp_path, Gateway(only_birth=True, applies_after=0.1))
    await check_provisioned(world, run)
    assert await run_states(world) == ["CONF_UPDATING", "CONF_UPDATED"]


async def test_a_birth_alone_starts_nothing(world: World, tmp_path: Path) -> None:
    await make_request(world.admin, "gw-1")
    with pytest.raises(DeviceUnreached):
        await run_gateway(world, "gw-1", tmp_path, Gateway(only_birth=True), patience=1, first_wait=0.5)
    assert await world.database.value("SELECT state FROM provision_requests") == "OPEN"
    assert set(await reasons(world, "gw-1")) == {"birth_starts_nothing"}


async def test_an_application_fails_twice_and_then_succeeds(world: World, tmp_path: Path) -> None:
    await make_request(world.admin, "gw-1", applications=applications("heater", "cooler"))
    run = await run_gateway(world, "gw-1", tmp_path, Gateway(failures={2: 2}, applies_after=0.1))
    await check_provisioned(world, run)
    rows = await world.database.fetch("SELECT detail FROM events WHERE kind = 'step_failed' ORDER BY id")
    details = [json.loads(row["detail"]) for row in rows]
    assert [(row["step"], row["retries"], row["detail"]) for row in details] == [
        ("cooler 1.0", 1, "simulated failure"),
        ("cooler 1.0", 2, "simulated failure"),
    ]
    assert await world.database.value("SELECT attempts FROM provision_requests") == 0


async def test_failing_for_good_abandons_the_request(world: World, tmp_path: Path) -> None:
    """Retries, then attempts are used up: ABANDONED, its credential dead, the reason where operators look."""
    await make_request(world.admin, "gw-1", maximum_attempts=2, applications=applications("heater"))
    with pytest.raises(DeviceUnreached):
        await run_gateway(world, "gw-1", tmp_path, Gateway(failures={1: 1000}), patience=3, first_wait=0.5)
    [row] = await world.database.fetch("SELECT state, attempts FROM provision_requests")
    assert tuple(row) == ("ABANDONED", 2)
    assert [row["state"] for row in await world.database.fetch("SELECT state FROM provision_runs ORDER BY number")] == [
        "FAILED",
        "ABANDONED",
    ]
    assert await users(world) == []
    assert await world.database.fetch("SELECT FROM provision_runs WHERE salt IS NOT NULL") == []
    story = await reasons(world, "gw-1")
    assert story.count("step_failed") == 2
    assert story[-1] == "abandoned"


async def test_refused_is_silence(world: World, tmp_path: Path) -> None:
    """A wrong key, another username: nothing on the wire, the reason in the log."""
    created = await make_request(world.admin, "gw-1", generate_activation_key=True)
    client = await connect(world, "gw-1", "factory-gw-1")
    assert await client.subscribe("$EDC/provision/gw-1/#") == 0
    told: list[dict[str, kura_payload.Metric]] = [
        {"activationKey": "wrong"},
        {},
        {"activationKey": created.activation_key or "", "username": "somebody"},
    ]
    for metrics in told:
        prov = kura_payload.encode(metrics)
        assert await client.publish("$EDC/provision/gw-1/MQTT/PROV", prov, qos=1) == 0
    assert await client.publish("$EDC/provision/gw-1/MQTT/PROV", b"\xff\xff", qos=1) == 0

    async def noted() -> bool:
        return len(await reasons(world, "gw-1")) == 4

    await eventually(noted)
    assert set(await reasons(world, "gw-1")) == {
        "wrong_activation_key", "missing_activation_key", "wrong_provision_username", "not_kura",
    }  # fmt: skip
    # Its own PROVs come back to it, as its grant covers them; nothing else does.
    own = [await client.message() for _ in range(4)]
    assert all(b"MQTT/PROV" in packet.body for packet in own if packet)
    assert await client.waiting_messages() == []
    assert await world.database.value("SELECT state FROM provision_requests") == "OPEN"
    client.close()


class Raw:
    """A gateway that says what a test wants."""

    def __init__(self, client: Client, client_id: str) -> None:
        self.client, self.client_id = client, client_id

    async def prov(self) -> None:
        prov = kura_payload.encode({})
        assert await self.client.publish(f"$EDC/provision/{self.client_id}/MQTT/PROV", prov, qos=1) == 0

    async def request(self) -> tuple[str, dict[str, Any]]:
        """The next message of the platform: (topic, metrics)."""
        while True:
            packet = await self.client.message()
            assert packet is not None
            length = int.from_bytes(packet.body[:2], "big")
            topic = packet.body[2 : 2 + length].decode()
            if "/MQTT/" not in topic:
                return topic, dict(kura_payload.decode(payload(packet, self.client.version)).metrics)

    async def reply(self, request_id: str, code: int = 200, *, app: str = "DEPLOY-V2", whose: str = "") -> Any:
        topic = f"$EDC/provision/~{whose or self.client_id}/{app}/REPLY/{request_id}"
        return await self.client.publish(topic, kura_payload.encode({"response.code": code}), qos=1)

    async def notify(self, job_id: int, status: str, *, whose: str = "", ending: str = "") -> Any:
        topic = (
            f"$EDC/provision/~{whose or self.client_id}/DEPLOY-V2/NOTIFY/{ending or whose or self.client_id}/install"
        )
        metrics: dict[str, kura_payload.Metric] = {"job.id": job_id, "dp.install.status": status}
        return await self.client.publish(topic, kura_payload.encode(metrics), qos=1)


async def open_raw(world: World, client_id: str) -> Raw:
    client = await connect(world, client_id, f"factory-{client_id}")
    assert await client.subscribe(f"$EDC/provision/{client_id}/#") == 0
    return Raw(client, client_id)


async def run_state(world: World, client_id: str) -> str:
    state: str = await world.database.value(
        "SELECT r.state FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id WHERE q.client_id = $1",
        client_id,
    )
    return state


async def test_nobody_speaks_for_another(world: World) -> None:
    """Forged, replayed, of another request: without effect, whatever ids a thief knows."""
    for client_id in ("gw-1", "gw-2"):
        await make_request(world.admin, client_id, applications=applications("heater"))
    victim, thief = await open_raw(world, "gw-1"), await open_raw(world, "gw-2")
    assert await thief.client.subscribe("$EDC/provision/gw-1/#") == 128
    for mine in (victim, thief):
        await mine.prov()
    (topic, asked), (_, own) = await victim.request(), await thief.request()
    assert topic == "$EDC/provision/gw-1/DEPLOY-V2/EXEC/download"
    assert asked["requester.client.id"] == "~gw-1"
    # In another's name, and in its own name about another's request.
    await thief.reply(asked["request.id"], 500, whose="gw-1")
    await thief.notify(asked["job.id"], "FAILED", whose="gw-1")
    await thief.notify(asked["job.id"], "FAILED", whose="gw-1", ending="gw-2")
    await thief.notify(asked["job.id"], "COMPLETED")
    await thief.reply(asked["request.id"], 500)
    await thief.reply("f" * 32, 500)

    async def noted() -> bool:
        return (await reasons(world, "gw-2")).count("reply_to_nothing") == 3

    await eventually(noted)
    assert (await run_state(world, "gw-1"), await run_state(world, "gw-2")) == ("APPS_INSTALLING", "APPS_INSTALLING")
    assert await world.database.fetch("SELECT FROM run_steps WHERE retries > 0 OR answered_at IS NOT NULL") == []

    # A replay of its own words: once is enough.
    await thief.reply(own["request.id"])
    await thief.notify(own["job.id"], "COMPLETED")
    _, configuration = await thief.request()
    await thief.notify(own["job.id"], "FAILED")
    await thief.reply(own["request.id"], 500)

    async def late() -> bool:
        # Three where the first REPLY was handled after its NOTIFY: messages are handled side by side.
        return (await reasons(world, "gw-2")).count("reply_late") >= 2

    await eventually(late)
    assert await run_state(world, "gw-2") == "CONF_UPDATING"
    await thief.reply(configuration["request.id"], app="CONF-V1")

    async def updated() -> bool:
        return await run_state(world, "gw-2") == "CONF_UPDATED"

    await eventually(updated)
    assert await run_state(world, "gw-1") == "APPS_INSTALLING"
    victim.client.close()
    thief.client.close()


async def test_the_wire_of_a_run_is_that_of_its_first_ask(world: World, tmp_path: Path) -> None:
    await make_request(world.admin, "gw-1", applications=applications("heater"))
    gateway = await open_raw(world, "gw-1")
    await gateway.prov()
    await gateway.request()
    assert await gateway.client.subscribe("prov/v1/gw-1/reply") == 0
    assert await gateway.client.publish("prov/v1/gw-1/request", b'{"id":"x"}', qos=1) == 0

    async def noted() -> bool:
        return "run_on_another_wire" in await reasons(world, "gw-1")

    await eventually(noted)
    gateway.client.close()


@pytest.fixture
async def impatient(stopped_world: World) -> World:
    """A world whose steps are sent again after a second."""
    stopped_world.settings = {"PROVISION_STEP_TIMEOUT": "1"}
    stopped_world.responder = stopped_world.new_responder("responder")
    return stopped_world


# Messages of a run with one application, in order: PROV, REPLY, NOTIFY (3 to 5), REPLY of the configuration. Published
# are two: the download, and the configuration.
CRASHES = [
    *(("before_commit", number) for number in (1, 2, 5, 6)),
    *(("after_commit", number) for number in (1, 2, 5, 6)),
    *(("after_publish", number) for number in (1, 2)),
]


@pytest.mark.parametrize(("point", "number"), CRASHES)
async def test_the_responder_dies(impatient: World, tmp_path: Path, point: str, number: int) -> None:
    """Killed at each step of the run: the device finishes, one live user is left, with the password it was given."""
    world = impatient
    created = await make_request(world.admin, "gw-1", generate_activation_key=True, applications=applications("heater"))
    crashing = world.new_responder("crashing")
    crashing.command = [sys.executable, "-m", "tests.support.crashing_responder", point, str(number)]
    world.start(world.hooks, world.provision_broker, world.account_broker, crashing)
    gateway = asyncio.ensure_future(
        run_gateway(world, "gw-1", tmp_path, activation_key=created.activation_key, first_wait=1.5)
    )

    async def dead() -> bool:
        return crashing.pid() is None

    await eventually(dead)
    world.start(world.responder)
    run = await gateway
    await check_provisioned(world, run)
    assert await world.database.value("SELECT count(*) FROM provision_runs") == 1
    digests = await world.database.fetch("SELECT DISTINCT detail ->> 'digest' FROM events WHERE detail ? 'digest'")
    assert len(digests) == 1
    target = run.answer()["connection"]
    assert await connect_code(world.account_port, "gw-1", target["username"], target["password"]) == 0


async def test_the_command_is_a_gateway(world: World, tmp_path: Path) -> None:
    """`provision device run --wire kura`: every step a line, exit statuses as for JSON."""
    created = await make_request(world.admin, "gw-1", generate_activation_key=True, applications=applications("heater"))
    (tmp_path / "key").write_text(f"{created.activation_key}\n")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")

    async def device_run(*more: str) -> tuple[int, list[dict[str, Any]]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service", "cli", "device", "run", "gw-1", "--wire", "kura", "--json",
            "--broker", world.provision_url, "--username", "factory-gw-1",
            "--password-file", str(tmp_path / "password"), "--mqtt-version", "3.1.1", *more,
            stdout=asyncio.subprocess.PIPE,
            env=world.environment(),
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, [json.loads(line) for line in out.splitlines()]

    store = ("--store", str(tmp_path / "answer.json"))
    status, _ = await device_run(*store, "--patience", "1", "--first-wait", "0.5")
    assert status == 4  # no key: silence
    status, steps = await device_run(*store, "--activation-key-file", str(tmp_path / "key"), "--fail", "1", "1")
    assert (status, steps[-1]["step"]) == (0, "born")
    installed = [row["status"] for row in steps if row["step"] == "notified" and row["what"] == "install"]
    assert installed == ["FAILED", "COMPLETED"]
    # Kept: at home it needs no provision broker any more.
    status, steps = await device_run(*store)
    assert (status, steps[0]["step"], steps[-1]["step"]) == (0, "has an answer", "born")


async def test_another_name_of_the_provision_account(stopped_world: World, tmp_path: Path) -> None:
    """A setting of hooks and responder; the default's topics are nobody's then."""
    world = stopped_world
    for process in (world.hooks, world.responder):
        process.environment = {**process.environment, "PROVISION_PROVISION_ACCOUNT": "ec-provisioning"}
    world.start()
    await make_request(world.admin, "gw-1")
    client = await connect(world, "gw-1", "factory-gw-1")
    assert await client.subscribe("$EDC/provision/gw-1/#") == 128
    client.close()
    run = await run_gateway(world, "gw-1", tmp_path, Gateway(provision_account="ec-provisioning", applies_after=0.1))
    await check_provisioned(world, run)
