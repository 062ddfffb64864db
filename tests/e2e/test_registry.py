"""The device registry at a real account broker: who is let in, who loses what at once, and what gets through."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import pytest

from service.operations import users
from service.operations.administration import Administration
from service.operations.explain import explain
from tests.e2e.mqtt_raw import Client
from tests.support.command import Program, provision
from tests.support.database import Database, make_request
from tests.support.devices import connect_code, eventually, run_device
from tests.support.world import World
from tests.unit import vectors

REFUSED = 5
NO_SUBSCRIPTION = 0x80
_numbers = itertools.count()


class Party:
    """Clients at the account broker, each as somebody."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.passwords: dict[str, tuple[str, str]] = {}
        self.command: Program = provision(world.database)

    async def person(self, name: str, *permissions: str) -> Client:
        """A new person, connected under its own name."""
        made = await users.create_person(self.world.admin, "acme", name, ["broker:connect", *permissions])
        self.passwords[name] = (name, made)
        return await self.come(name)

    async def device(self, client_id: str, **request: Any) -> Client:
        """A device that was provisioned, connected."""
        await make_request(self.world.admin, client_id, **request)
        answer = (await run_device(self.world, client_id, self.folder)).answer()["connection"]
        self.passwords[client_id] = (answer["username"], answer["password"])
        return await self.come(client_id)

    async def come(self, client_id: str) -> Client:
        """Connect, and be accepted."""
        client = await Client.open(self.world.account_port)
        username, password = self.passwords[client_id]
        assert await client.connect(client_id, username=username, password=password) == 0
        return client

    async def code(self, client_id: str, as_whom: str | None = None) -> int | None:
        """What a CONNECT is answered."""
        return await connect_code(self.world.account_port, client_id, *self.passwords[as_whom or client_id])


@pytest.fixture
def party(world: World, tmp_path: Path) -> Party:
    return Party(world, tmp_path)


async def gets_through(publisher: Client, listener: Client, topic: str) -> bool:
    """
    Whether a message that one publishes now reaches the other.

    Who lost its rights is disconnected as well by our plugin; go-auth leaves it there without any.
    """
    try:
        await listener.waiting_messages()
        if await publisher.publish(topic, str(next(_numbers)).encode()) is None:
            return False
        return topic in await listener.waiting_messages()
    except ConnectionError:
        return False


async def back(party: Party, client_id: str) -> Client:
    """Connect, as soon as that is allowed again."""

    async def allowed() -> bool:
        return await party.code(client_id) == 0

    await eventually(allowed)
    return await party.come(client_id)


async def until(publisher: Client, listener: Client, topic: str, *, expected: bool) -> None:
    """Wait until the hooks have heard of a change; what holds then must go on to hold."""

    async def so() -> bool:
        return await gets_through(publisher, listener, topic) is expected

    await eventually(so)
    for _ in range(3):
        assert await gets_through(publisher, listener, topic) is expected


async def test_a_disabled_device_is_cut_off_at_once(party: Party) -> None:
    """What it publishes is not delivered, nothing is delivered to it; enabled, both work again."""
    boss = await party.person("boss", "data:manage")
    assert await boss.subscribe("acme/#") == 0
    device = await party.device("gw-1")
    assert await device.subscribe("acme/gw-1/commands") == 0
    assert await gets_through(device, boss, "acme/gw-1/data")
    assert await gets_through(boss, device, "acme/gw-1/commands")
    for word, expected, code in (("disable", False, REFUSED), ("enable", True, 0)):
        await party.command("device", word, "gw-1")
        if expected:
            device = await back(party, "gw-1")
            assert await device.subscribe("acme/gw-1/commands") == 0
        await until(device, boss, "acme/gw-1/data", expected=expected)
        await until(boss, device, "acme/gw-1/commands", expected=expected)
        if code == REFUSED:
            assert await party.code("gw-1") == REFUSED
    device.close()
    assert await party.code("gw-1") == 0


async def test_a_connection_changed_under_a_live_client(party: Party) -> None:
    """Reserved for somebody else, the device loses every right at once; given back, it has them again."""
    boss = await party.person("boss", "data:manage")
    assert await boss.subscribe("acme/#") == 0
    device = await party.device("gw-1")
    assert await gets_through(device, boss, "acme/gw-1/data")
    changed = await party.command("device", "connection", "gw-1", "--reserved-user", "boss")
    assert "cannot log in any more" in changed.err
    await until(device, boss, "acme/gw-1/data", expected=False)
    assert await party.code("gw-1") == REFUSED
    assert await party.code("gw-1", as_whom="boss") == 0  # takes the client id over
    username = party.passwords["gw-1"][0]
    await party.command("device", "connection", "gw-1", "--reserved-user", username)
    assert await party.code("gw-1", as_whom="boss") == REFUSED
    await eventually(functools.partial(both_come_and_meet, party))


async def both_come_and_meet(party: Party) -> bool:
    """
    The device and the person connect, and what one publishes reaches the other.

    The end of the other login's session may still be on its way and meet the one that follows it, which then connects
    again, as a device does.
    """
    device, boss = await back(party, "gw-1"), await back(party, "boss")
    try:
        await boss.subscribe("acme/#")
        return await gets_through(device, boss, "acme/gw-1/data")
    except ConnectionError:
        return False
    finally:
        device.close()
        boss.close()


def one_of_each(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the coupling table one row for each mode and outcome; less those that no database can hold."""
    chosen: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in rows:
        connection = row["connection"] or {}
        if not (row["reserved_elsewhere"] and connection.get("reserved_user") == "same"):
            key = (row["account_coupling"], connection.get("coupling"), row.get("reason"), row.get("changes"))
            chosen.setdefault(key, row)
    return list(chosen.values())


async def test_the_coupling_table_at_the_broker(party: Party) -> None:
    rows = one_of_each(vectors.rows("coupling", "rows"))
    assert len(rows) >= 10
    for number, row in enumerate(rows):
        client_id, same, other = f"row-{number}", f"same-{number}", f"other-{number}"
        for name in (same, other):
            made = await users.create_person(party.world.admin, "acme", name, ["broker:connect"])
            party.passwords[name] = (name, made)
        await _store(party.world.database, row, client_id, {"same": same, "other": other, "none": None})
        code = await party.code(client_id, as_whom=same)
        assert code == (0 if row["allowed"] else REFUSED), row
        if row["allowed"]:
            last = await party.world.database.fetch(
                "SELECT u.name, c.allow_user_change FROM device_connections c JOIN users u ON u.id = c.user_id"
                " WHERE c.client_id = $1",
                client_id,
            )
            assert [tuple(found) for found in last] == [(same, False)], row
        else:
            await _explained(party.world, client_id, row["reason"])


async def _store(database: Database, row: dict[str, Any], client_id: str, people: dict[str, str | None]) -> None:
    """The account and the connections as a row of the table has them."""
    await database.execute("UPDATE accounts SET device_connection_coupling = $1", row["account_coupling"])
    connection = (
        "INSERT INTO device_connections (account_id, client_id, coupling, user_id, reserved_user_id, allow_user_change)"
        " SELECT id, $1, $2, (SELECT id FROM users WHERE name = $3), (SELECT id FROM users WHERE name = $4), $5"
        " FROM accounts WHERE kind = 'account'"
    )
    if row["reserved_elsewhere"]:
        await database.execute(connection, f"{client_id}-else", "INHERITED", None, people["same"], False)
    if row["connection"] is not None:
        stored = row["connection"]
        last, reserved = people[stored["last_user"]], people[stored["reserved_user"]]
        await database.execute(connection, client_id, stored["coupling"], last, reserved, stored["allow_user_change"])


async def _explained(world: World, client_id: str, reason: str) -> None:
    """Refused connects are written once a second."""

    async def there() -> bool:
        return reason in {row["reason"] for row in await explain(world.admin, client_id)}

    await eventually(there)


CONTROL, ANSWER = "$EDC/acme/gw-2/CONF-V1/GET/configurations", "$EDC/acme/gw-2/CONF-V1/REPLY/1"
# What is published by whom ({c}: its own client id), and who gets it through.
EVERYBODY = {"gw-1", "plain", "device-manager", "data-manager", "data-viewer"}
PUBLISHED = {
    "acme/{c}/x": EVERYBODY,
    "acme/gw-2/x": {"data-manager"},
    "acme/x": {"data-manager"},
    "$EDC/acme/{c}/MQTT/BIRTH": EVERYBODY,
    CONTROL: {"device-manager"},
    ANSWER: EVERYBODY,
    "$EDC/acme/gw-2/DEPLOY-V2/NOTIFY/{c}/download": EVERYBODY,
    "$EDC/acme/gw-2/DEPLOY-V2/NOTIFY/gw-2/download": {"device-manager"},
}
# What is subscribed to, and by whom it may be.
SUBSCRIBED = {
    "acme/{c}/#": EVERYBODY,
    "$EDC/acme/{c}/#": EVERYBODY,
    "acme/#": {"data-manager", "data-viewer"},
    "acme/gw-2/#": {"data-manager", "data-viewer"},
    "$EDC/acme/#": {"device-manager"},
    "$EDC/acme/+/+/REPLY/#": {"device-manager"},
    "$EDC/acme/gw-2/#": {"device-manager"},
    "#": set(),
    "+/+/x": set(),
    "$EDC/#": set(),
    "globex/#": set(),
    "$share/x/acme/#": set(),
}
# What somebody else publishes, and who reads it.
READ = {
    "acme/{c}/commands": EVERYBODY,
    "$EDC/acme/{c}/CONF-V1/GET/x": EVERYBODY,
    "acme/gw-2/x": {"data-manager", "data-viewer"},
    CONTROL: {"device-manager"},
    ANSWER: {"device-manager"},
}


@pytest.fixture
async def everybody(party: Party) -> dict[str, Client]:
    """A provisioned device, and persons with one permission each beside broker:connect."""
    return {
        "gw-1": await party.device("gw-1"),
        "plain": await party.person("plain"),
        "device-manager": await party.person("device-manager", "device:manage"),
        "data-manager": await party.person("data-manager", "data:manage"),
        "data-viewer": await party.person("data-viewer", "data:view"),
    }


async def test_what_each_may_publish(party: Party, everybody: dict[str, Client]) -> None:
    """Read back from a second client."""
    witness = await party.person("witness", "device:manage", "data:manage")
    for wanted in ("acme/#", "$EDC/acme/#"):
        assert await witness.subscribe(wanted) == 0
    for pattern, allowed in PUBLISHED.items():
        for name, client in everybody.items():
            found = await gets_through(client, witness, pattern.replace("{c}", name))
            assert found is (name in allowed), (name, pattern)


async def test_what_each_may_subscribe_to_and_reads(party: Party, everybody: dict[str, Client]) -> None:
    """Refused in the SUBACK, and nothing of it arrives."""
    for pattern, allowed in SUBSCRIBED.items():
        for name, client in everybody.items():
            code = await client.subscribe(pattern.replace("{c}", name))
            assert code == (0 if name in allowed else NO_SUBSCRIPTION), (name, pattern)
    speaker = await party.person("speaker", "device:manage", "data:manage")
    for pattern, readers in READ.items():
        for name, client in everybody.items():
            found = await gets_through(speaker, client, pattern.replace("{c}", name))
            assert found is (name in readers), (name, pattern)


async def test_narrowed_replies(database: Database, admin: Administration, tmp_path: Path) -> None:
    """With the setting a device answers whom asks as `~` and its client id, and forges nobody's answer."""
    world = World(database=database, admin=admin, settings={"PROVISION_NARROW_REPLY": "true"})
    try:
        await world.prepare()
        world.start()
        party = Party(world, tmp_path)
        boss = await party.person("boss", "device:manage")
        assert await boss.subscribe("$EDC/acme/#") == 0
        device = await party.device("gw-1")
        for requester in ("~gw-1", "gw-1", "~gw-2", "gw-2", "boss"):
            found = await gets_through(device, boss, f"$EDC/acme/{requester}/CONF-V1/REPLY/1")
            assert found is (requester in ("~gw-1", "gw-1")), requester
        assert await gets_through(device, boss, "$EDC/acme/boss/DEPLOY-V2/NOTIFY/gw-1/download")
    finally:
        world.close()


async def test_mandatory_provisioning_at_the_broker(party: Party) -> None:
    """A hand-made device is cut off at once; what has a request works, and what gets one is let in."""
    boss = await party.person("boss", "data:manage")
    assert await boss.subscribe("acme/#") == 0
    device, plain = await party.device("gw-1"), await party.person("plain")
    assert await gets_through(plain, boss, "acme/plain/x")
    await party.command("account", "change", "acme", "--mandatory-provisioning")
    await until(plain, boss, "acme/plain/x", expected=False)
    assert await party.code("plain") == REFUSED
    await _explained(party.world, "plain", "provisioning_mandatory")
    assert await gets_through(device, boss, "acme/gw-1/x")
    newer = await party.device("gw-2")
    assert await gets_through(newer, boss, "acme/gw-2/x")
    await party.command("account", "change", "acme", "--no-mandatory-provisioning")
    plain = await back(party, "plain")
    await until(plain, boss, "acme/plain/x", expected=True)


@pytest.mark.parametrize("how", ["user", "account"])
async def test_a_stored_session_ends_with_the_right_to_be_there(party: Party, how: str) -> None:
    """What waited for it is gone: with another password or another owner nobody gets it."""
    boss = await party.person("boss", "data:manage")
    plain = await party.person("plain")
    plain.close()
    plain = await Client.open(party.world.account_port)
    assert await plain.connect("plain", username="plain", password=party.passwords["plain"][1], clean=False) == 0
    assert await plain.subscribe("acme/plain/orders", qos=1) == 1
    plain.close()
    assert await boss.publish("acme/plain/orders", b"1", qos=1) == 0
    change = ("user", "{}", "plain") if how == "user" else ("account", "{}", "acme")
    await party.command(*(word.format("disable") for word in change))

    async def ended() -> bool:
        return "session_ended" in party.world.logs()

    await eventually(ended)
    await party.command(*(word.format("enable") for word in change))
    back = await Client.open(party.world.account_port)

    async def let_in() -> bool:
        return await party.code("boss") == 0

    await eventually(let_in)
    assert await back.connect("plain", username="plain", password=party.passwords["plain"][1], clean=False) == 0
    assert await back.waiting_messages() == []
    back.close()
