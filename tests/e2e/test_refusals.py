"""Each refusal is generic on the wire (D10) and has its true reason in `provision request explain`."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
from typing import Any

import pytest

from service.operations import credentials, moves
from service.operations.explain import explain
from tests.e2e.mqtt_raw import Client
from tests.support.database import PASSWORD, make_request
from tests.support.devices import ask, connect, connect_code, eventually, reply
from tests.support.world import ROOT, World, is_own_plugin

HOUR = datetime.timedelta(hours=1)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def refused(world: World, client_id: str, username: str, **fields: Any) -> dict[str, Any]:
    """Ask, and be refused."""
    client = await connect(world, client_id, username)
    assert await client.subscribe(f"prov/v1/{client_id}/reply") == 0
    await ask(client, client_id, **fields)
    answer = await reply(client)
    client.close()
    assert answer["result"] == "refused"
    return answer


async def explained(world: World, client_id: str, reason: str) -> dict[str, Any]:
    """The row of the timeline with this reason; refused connects are written once a second."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = [row for row in await explain(world.admin, client_id) if row["reason"] == reason]
        return bool(found)

    await eventually(there)
    return found[0]


async def test_too_early(world: World) -> None:
    """Before *activates on* a device may connect; it is told when to come."""
    begins = now() + HOUR
    await make_request(world.admin, "gw-1", activates_on=begins)
    answer = await refused(world, "gw-1", "factory-gw-1")
    assert answer["code"] == "not_yet_active"
    assert datetime.datetime.fromisoformat(answer["not_before"]) == begins.replace(
        microsecond=begins.microsecond // 1000 * 1000
    )
    assert 0 < answer["retry_after"] <= 3601
    row = await explained(world, "gw-1", "not_yet_active")
    assert row["correlation_id"] == answer["correlation_id"]


async def test_too_late(world: World) -> None:
    """After *expires on* a device may connect, but is not provisioned."""
    await make_request(world.admin, "gw-1", activates_on=now() - 2 * HOUR, expires_on=now() - HOUR)
    answer = await refused(world, "gw-1", "factory-gw-1")
    assert answer["code"] == "expired"
    await explained(world, "gw-1", "expired")


async def test_too_early_without_the_key_learns_nothing(world: World) -> None:
    """Whoever does not prove the key is told no more than `refused`, whatever the window says."""
    await make_request(world.admin, "gw-1", generate_activation_key=True, activates_on=now() + HOUR)
    answer = await refused(world, "gw-1", "factory-gw-1")
    assert answer["code"] == "refused"
    assert "not_before" not in answer


async def test_missing_and_wrong_key(world: World) -> None:
    """No key and a wrong one read the same to the device; operators read which."""
    created = await make_request(world.admin, "gw-1", generate_activation_key=True)
    missing = await refused(world, "gw-1", "factory-gw-1")
    wrong = await refused(world, "gw-1", "factory-gw-1", activation_key="a" * 32)
    assert created.activation_key is not None
    close = await refused(world, "gw-1", "factory-gw-1", activation_key=created.activation_key.upper())
    assert {answer["code"] for answer in (missing, wrong, close)} == {"refused"}
    assert (await explained(world, "gw-1", "missing_activation_key"))["correlation_id"] == missing["correlation_id"]
    assert (await explained(world, "gw-1", "wrong_activation_key"))["correlation_id"] in (
        wrong["correlation_id"],
        close["correlation_id"],
    )


async def test_seal_without_key_is_a_bad_message(world: World) -> None:
    await make_request(world.admin, "gw-1")
    assert (await refused(world, "gw-1", "factory-gw-1", seal=True))["code"] == "bad_message"


async def test_unknown_client_id(world: World) -> None:
    """A client id that no request knows is not let in, and explained all the same."""
    await make_request(world.admin, "gw-1")
    assert await connect_code(world.provision_port, "gw-9", "factory-gw-1", PASSWORD) == 5
    row = await explained(world, "gw-9", "no_matching_request")
    assert row["what"] == "connect_refused"
    assert row["detail"]["username"] == "factory-gw-1"
    assert row["account"] == "acme"


async def test_another_devices_client_id_on_a_shared_credential(world: World) -> None:
    """The fleet's credential lets it in as the other one; without the other's key it gets nothing."""
    first = await make_request(world.admin, "gw-1", provision_username="fleet", generate_activation_key=True)
    second = await make_request(world.admin, "gw-2", provision_username="fleet")
    assert second.activation_key is not None  # D12: on by default where the credential is shared
    answer = await refused(world, "gw-1", "fleet", activation_key=second.activation_key)
    assert answer["code"] == "refused"
    await explained(world, "gw-1", "wrong_activation_key")
    assert first.activation_key != second.activation_key


async def test_disabled_request_is_refused_at_the_door(world: World) -> None:
    await make_request(world.admin, "gw-1")
    await moves.set_enabled(world.admin, "acme", "gw-1", enabled=False)
    assert await connect_code(world.provision_port, "gw-1", "factory-gw-1", PASSWORD) == 5
    await explained(world, "gw-1", "request_disabled")


async def test_disabling_ends_the_session_that_waits(world: World) -> None:
    """A connected device whose request is disabled loses every right at once, and then its session."""
    await make_request(world.admin, "gw-1")
    client = await connect(world, "gw-1", "factory-gw-1")
    await moves.set_enabled(world.admin, "acme", "gw-1", enabled=False)
    assert await client.read() is None  # our plugin cuts it; with go-auth the takeover does

    async def ended() -> bool:
        lines = world.responder.log.read_text().splitlines()
        return any('"session_ended"' in line and '"gw-1"' in line for line in lines)

    await eventually(ended)


async def test_a_will_does_not_outlive_the_right_to_publish(world: World) -> None:
    """Wrong passwords and unknown users read the same."""
    await make_request(world.admin, "gw-1")
    assert await connect_code(world.provision_port, "gw-1", "factory-gw-1", PASSWORD + "x") == 5
    await explained(world, "gw-1", "wrong_password")
    assert await connect_code(world.provision_port, "gw-1", "nobody-at-all", PASSWORD) == 5
    await explained(world, "gw-1", "unknown_user")


async def test_unreadable_messages_never_stop_the_next(world: World) -> None:
    """Poison is acknowledged and recorded by length and hash; the next good ask is answered."""
    await make_request(world.admin, "gw-1")
    client = await connect(world, "gw-1", "factory-gw-1")
    await client.subscribe("prov/v1/gw-1/reply")
    poison = [
        b"",
        b"\xff\xfe",
        b"[]",
        b"canary\0",
        b'{"id":"a","id":"b"}',
        b"[" * 15_000,
        b'{"id":' + b"9" * 9000 + b"}",
    ]
    for payload in poison:
        assert await client.publish("prov/v1/gw-1/request", payload, qos=1) == 0
    await ask(client, "gw-1")
    while (answer := await reply(client))["result"] != "accepted":
        assert answer["code"] == "bad_message"
    client.close()
    unreadable = "SELECT detail::text AS detail FROM events WHERE kind = 'message_unreadable'"

    async def all_recorded() -> bool:  # messages are handled side by side
        return len(await world.database.fetch(unreadable)) == len(poison)

    await eventually(all_recorded)
    rows = await world.database.fetch(unreadable)
    assert all("canary" not in row["detail"] for row in rows)


@pytest.mark.parametrize("as_json", [False, True])
async def test_explain_command_shows_the_timeline(world: World, as_json: bool) -> None:
    """The command, as an operator calls it, for a client id that no request knows."""
    await connect_code(world.provision_port, "stranger", "nobody", PASSWORD)
    await explained(world, "stranger", "unknown_user")
    command = [sys.executable, "-m", "service", "cli", "request", "explain", "stranger"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *(["--json"] if as_json else []),
        cwd=ROOT,
        env=world.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    if as_json:
        assert [row["reason"] for row in json.loads(out)] == ["unknown_user"]
    else:
        assert b"connect_refused" in out
        assert b"unknown_user" in out


async def open_client(world: World) -> Client:
    return await Client.open(world.provision_port)


async def test_a_flood_of_one_device_keeps_nobody_waiting(world: World) -> None:
    """Beyond its share its messages are dropped before they cost a query; another device is answered meanwhile."""
    for name in ("flooder", "victim"):
        await make_request(world.admin, name)
    flooder = await connect(world, "flooder", "factory-flooder")
    for _ in range(2000):
        await flooder.publish("prov/v1/flooder/request", b"[" * 2_000, qos=0)
    victim = await connect(world, "victim", "factory-victim")
    await victim.subscribe("prov/v1/victim/reply")
    await ask(victim, "victim")
    assert (await reply(victim))["result"] == "accepted"
    refused = "SELECT coalesce(sum(count), 0) + (SELECT count(*) FROM events WHERE client_id = 'flooder') FROM refusals"
    assert await world.database.value(refused) < 1000
    flooder.close()
    victim.close()


async def test_a_leaked_credential_is_seen_and_held(world: World) -> None:
    """Client ids that no request has, from an address that our plugin tells; the hold lets the thief in no more."""
    await make_request(world.admin, "gw-1", provision_username="fleet")
    await credentials.watch(world.admin, "acme", "fleet", unknown_client_ids=3, hold=True)

    async def all_counted() -> bool:
        """Beyond the budget a CONNECT is not heard."""
        for number in range(3):
            await connect_code(world.provision_port, f"x-{number}", "fleet", PASSWORD)
        shown = await credentials.show_credential(world.admin, "acme", "fleet")
        return bool(shown["last_two_hours"]["unknown_client_ids"] == 3)

    async def held() -> bool:
        shown = await credentials.show_credential(world.admin, "acme", "fleet")
        return bool(shown["held_by"] == "leak watch")

    await eventually(all_counted)

    await eventually(held, patience=60)
    shown = await credentials.show_credential(world.admin, "acme", "fleet")
    addresses = 1 if is_own_plugin() else 0
    assert shown["last_two_hours"] == {"unknown_client_ids": 3, "wrong_keys": 0, "addresses": addresses}
    await connect_code(world.provision_port, "gw-1", "fleet", PASSWORD)
    await explained(world, "gw-1", "credential_held")
    await credentials.lift(world.admin, "acme", "fleet")
    client = await connect(world, "gw-1", "fleet")
    client.close()
