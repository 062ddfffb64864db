"""
What devices, time and administrators do, told so that it comes to a good end however often a process of ours dies.

Each story takes a stage and a client id that nobody else has, and returns when all is as it should be.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.mqtt.kura_device import Gateway
from service.operations import credentials, devices
from service.operations.requests import Created
from tests.e2e.mqtt_raw import Client
from tests.support.database import PASSWORD, make_request
from tests.support.devices import Run, connect_code, eventually, payload, run_device, run_gateway
from tests.support.world import World


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a story happens."""

    world: World
    folder: Path

    async def request(self, client_id: str, **changes: Any) -> Created:
        """A provision request with an activation key and a short way for its answer."""
        return await make_request(self.world.admin, client_id, **{"generate_activation_key": True, **changes})

    async def run(self, client_id: str, created: Created) -> Run:
        """A device's whole way."""
        key = created.activation_key
        return await run_device(
            self.world, client_id, self.folder, activation_key=key, seal=key is not None, first_wait=2.0
        )

    async def state(self, client_id: str) -> str:
        """The request's."""
        return str(
            await self.world.database.value("SELECT state FROM provision_requests WHERE client_id = $1", client_id)
        )


async def settled(stage: Stage, client_id: str, run: Run) -> None:
    """Provisioned once and for all: one credential, the one that the device has."""
    rows = await stage.world.database.fetch(
        "SELECT u.name, q.state FROM provision_requests q JOIN provision_runs r ON r.request_id = q.id"
        " JOIN users u ON u.id = r.user_id WHERE q.client_id = $1",
        client_id,
    )
    assert [tuple(row) for row in rows] == [(run.answer()["connection"]["username"], "PROVISIONED")]


async def device(stage: Stage, client_id: str) -> None:
    """From its factory credentials to its account's broker."""
    created = await stage.request(client_id)
    await settled(stage, client_id, await stage.run(client_id, created))


async def device_stays(stage: Stage, client_id: str) -> None:
    """It stays connected at its account's broker, and is known to be."""
    created = await stage.request(client_id)
    target = (await stage.run(client_id, created)).answer()["connection"]
    status = "SELECT status FROM device_connections WHERE client_id = $1"
    at_home = await Client.open(stage.world.account_port)

    async def is_(what: str) -> bool:
        return bool(await stage.world.database.value(status, client_id) == what)

    while await at_home.connect(client_id, username=target["username"], password=target["password"]) != 0:
        at_home = await Client.open(stage.world.account_port)
    await asyncio.sleep(2)  # the broker tells of it a second later
    await eventually(lambda: is_("CONNECTED"), patience=60)
    at_home.close()
    await eventually(lambda: is_("DISCONNECTED"), patience=60)


async def device_asks_twice(stage: Stage, client_id: str) -> None:
    """The answer is the same; then the whole way."""
    created = await stage.request(client_id)
    asked = {"activation_key": created.activation_key}
    first = await answered(stage, client_id, {"id": "ask-1", **asked})
    second = await answered(stage, client_id, {"id": "ask-2", **asked})
    assert first["result"] == second["result"] == "accepted"
    assert first["digest"] == second["digest"]
    await settled(stage, client_id, await stage.run(client_id, created))


async def device_with_wrong_key_first(stage: Stage, client_id: str) -> None:
    """Refused, and then accepted with the right one."""
    created = await stage.request(client_id)
    refused = await answered(stage, client_id, {"id": "ask-1", "activation_key": "wrong"})
    assert (refused["result"], refused["code"]) == ("refused", "refused")
    await settled(stage, client_id, await stage.run(client_id, created))


async def device_talks_nonsense_first(stage: Stage, client_id: str) -> None:
    """`bad_message`, and then accepted."""
    created = await stage.request(client_id)
    refused = await answered(stage, client_id, {"id": "ask-1", "nonsense": True})
    assert refused["code"] == "bad_message"
    await settled(stage, client_id, await stage.run(client_id, created))


async def device_whose_run_is_overdue(stage: Stage, client_id: str) -> None:
    """It asked and vanished; asked again past its deadline, it gets other credentials, and the old ones are gone."""
    created = await stage.request(client_id)
    await answered(stage, client_id, {"id": "early", "activation_key": created.activation_key})
    await overdue(stage, client_id)
    await settled(stage, client_id, await stage.run(client_id, created))


async def overdue(stage: Stage, client_id: str) -> None:
    """The live run's deadline is over."""
    await stage.world.database.execute(
        "UPDATE provision_runs r SET confirm_by = clock_timestamp() - interval '1 second', outage = outage()"
        " FROM provision_requests q WHERE q.id = r.request_id AND q.client_id = $1 AND r.ended_at IS NULL",
        client_id,
    )


async def device_fails_first(stage: Stage, client_id: str) -> None:
    """It says that it failed, which costs one attempt and no more, and tries again."""
    created = await stage.request(client_id)
    answer = await answered(stage, client_id, {"id": "ask-1", "activation_key": created.activation_key})
    status = json.dumps({"run": answer["run"], "state": "failed"}).encode()

    async def failed() -> bool:
        await said(stage, client_id, f"prov/v1/{client_id}/status", status)
        return await stage.state(client_id) == "OPEN"

    await eventually(failed, patience=60)
    attempts = "SELECT attempts FROM provision_requests WHERE client_id = $1"
    assert await stage.world.database.value(attempts, client_id) == 1
    await settled(stage, client_id, await stage.run(client_id, created))


async def gateway(stage: Stage, client_id: str) -> None:
    """A Kura gateway with one application."""
    applications = [{"name": "fan", "version": "1", "url": "https://p.example/f.dp", "sha256": "a" * 64, "size": 1}]
    created = await stage.request(client_id, applications=applications)
    run = await run_gateway(
        stage.world,
        client_id,
        stage.folder,
        Gateway(applies_after=0.1),
        activation_key=created.activation_key,
        first_wait=2.0,
    )
    await settled(stage, client_id, run)
    born = "SELECT born_at IS NOT NULL FROM device_connections WHERE client_id = $1"
    await eventually(lambda: stage.world.database.value(born, client_id), patience=60)


async def stock_gateway(stage: Stage, client_id: str) -> None:
    """A Kura gateway that only says BIRTH."""
    await stage.request(client_id, generate_activation_key=False, start_on_birth=True)
    run = await run_gateway(
        stage.world, client_id, stage.folder, Gateway(only_birth=True, applies_after=0.1), first_wait=2.0
    )
    await settled(stage, client_id, run)


async def run_that_nobody_confirms(stage: Stage, client_id: str) -> None:
    """The sweep closes it: no attempt, the request is OPEN, the credential gone."""
    created = await stage.request(client_id)
    await answered(stage, client_id, {"id": "ask-1", "activation_key": created.activation_key})
    await overdue(stage, client_id)

    async def closed() -> bool:
        return await stage.state(client_id) == "OPEN"

    await eventually(closed, patience=60)
    left = "SELECT count(*) FROM users u JOIN provision_runs r ON r.user_id = u.id JOIN provision_requests q"
    assert await stage.world.database.value(f"{left} ON q.id = r.request_id WHERE q.client_id = $1", client_id) == 0


async def overlap_that_ends(stage: Stage, client_id: str) -> None:
    """A rotation's old password is forgotten, with one event."""
    admin, database = stage.world.admin, stage.world.database
    await stage.request(client_id)
    name = f"factory-{client_id}"
    await credentials.rotate(admin, "acme", name, password="Another-Password-1", overlap=datetime.timedelta(days=1))
    await database.execute(
        "UPDATE credentials c SET rotated_at = rotated_at - interval '2 days',"
        " overlap_until = overlap_until - interval '2 days' FROM users u WHERE u.id = c.user_id AND u.name = $1",
        name,
    )
    open_overlaps = "SELECT count(*) FROM credentials WHERE previous_password_bcrypt IS NOT NULL"

    async def forgotten() -> bool:
        return bool(await database.value(open_overlaps) == 0)

    await eventually(forgotten, patience=60)
    told = "SELECT count(*) FROM events WHERE kind = 'credential_rotation_finished' AND detail ->> 'username' = $1"
    assert await database.value(told, name) == 1


async def credential_that_leaks(stage: Stage, client_id: str) -> None:
    """Too many unknown client ids: told of once, and held."""
    admin, database = stage.world.admin, stage.world.database
    await stage.request(client_id)
    name = f"factory-{client_id}"
    await credentials.watch(admin, "acme", name, hold=True, unknown_client_ids=1)
    strangers = iter(range(1000))
    told = "SELECT count(*) FROM events WHERE kind = 'credential_leak_suspected' AND detail ->> 'username' = $1"

    async def held() -> bool:
        await connect_code(stage.world.provision_port, f"{client_id}-{next(strangers)}", name, PASSWORD)
        return bool(await database.value(told, name))

    await eventually(held, patience=90)
    assert await database.value(told, name) == 1


async def device_is_disabled(stage: Stage, client_id: str) -> None:
    """Its kept session at its account's broker is wiped."""
    created = await stage.request(client_id)
    run = await stage.run(client_id, created)
    target = run.answer()["connection"]
    who = {"username": target["username"], "password": target["password"]}
    sleeper = await Client.open(stage.world.account_port)
    assert await sleeper.connect(client_id, clean=False, **who) == 0
    assert await sleeper.subscribe(f"acme/{client_id}/x", qos=1) == 1
    await sleeper.disconnect()
    await devices.set_device_enabled(stage.world.admin, "acme", client_id, enabled=False)
    await eventually(lambda: took_over(stage, client_id), patience=60)
    await devices.set_device_enabled(stage.world.admin, "acme", client_id, enabled=True)

    async def back() -> bool:
        client = await Client.open(stage.world.account_port)
        code = await client.connect(client_id, clean=False, **who)
        client.close()
        return code == 0

    await eventually(back, patience=60)


async def took_over(stage: Stage, client_id: str) -> bool:
    """Whether the responder said so."""
    lines = stage.world.responder.log.read_text().splitlines()
    return any('"session_ended"' in line and f'"{client_id}"' in line and "account" in line for line in lines)


async def device_with_wrong_password_first(stage: Stage, client_id: str) -> None:
    """Refused, which is counted; then the whole way."""
    created = await stage.request(client_id)

    async def is_refused() -> bool:
        """Where hooks answer again: in the story before they may have died."""
        username = f"factory-{client_id}"
        return await connect_code(stage.world.provision_port, client_id, username, "Wrong-Password-1") == 5

    await eventually(is_refused, patience=60)
    await settled(stage, client_id, await stage.run(client_id, created))


# What a device of few words does


async def answered(stage: Stage, client_id: str, ask: dict[str, Any]) -> dict[str, Any]:
    """The answer to this ask, however often it has to be said."""
    data = json.dumps(ask).encode()
    found: list[dict[str, Any]] = []

    async def heard() -> bool:
        reply = await said(stage, client_id, f"prov/v1/{client_id}/request", data, expects=ask["id"])
        found.extend([reply] if reply is not None else [])
        return bool(found)

    await eventually(heard, patience=60)
    return found[0]


async def said(
    stage: Stage, client_id: str, topic: str, data: bytes, *, expects: str | None = None
) -> dict[str, Any] | None:
    """Publish it once, on a connection of its own; the reply to an ask, if it comes in time."""
    client = await Client.open(stage.world.provision_port)
    try:
        if await client.connect(client_id, username=f"factory-{client_id}", password=PASSWORD) != 0:
            return None
        if await client.subscribe(f"prov/v1/{client_id}/reply", qos=1) != 1:
            return None
        if await client.publish(topic, data, qos=1) != 0 or expects is None:
            return None
        async with asyncio.timeout(3):
            while (packet := await client.message()) is not None:
                reply: dict[str, Any] = json.loads(payload(packet))
                if reply.get("id") == expects:
                    return reply
    except TimeoutError:
        pass
    finally:
        client.close()
    return None


Story = Callable[[Stage, str], Awaitable[None]]

STORIES: dict[str, Story] = {
    "a device": device,
    "a device that stays": device_stays,
    "a device that asks twice": device_asks_twice,
    "a device with a wrong key first": device_with_wrong_key_first,
    "a device that talks nonsense first": device_talks_nonsense_first,
    "a device whose run is overdue": device_whose_run_is_overdue,
    "a device that fails first": device_fails_first,
    "a gateway": gateway,
    "a stock gateway": stock_gateway,
    "a run that nobody confirms": run_that_nobody_confirms,
    "an overlap that ends": overlap_that_ends,
    "a credential that leaks": credential_that_leaks,
    "a device that is disabled": device_is_disabled,
    "a device with a wrong password first": device_with_wrong_password_first,
}
