"""A device moves from one account to another, through real brokers."""

from __future__ import annotations

from pathlib import Path

from service.operations import accounts, releases
from tests.e2e.mqtt_raw import Client
from tests.support.database import PASSWORD, make_request
from tests.support.devices import connect_code, eventually, run_device
from tests.support.world import World

NO_SUBSCRIBERS, NOT_AUTHORIZED = 0x10, 0x87


async def provisioned(world: World, folder: Path) -> dict[str, str]:
    """The device works in its first account; what it logs in with."""
    created = await make_request(world.admin, "gw-1", generate_activation_key=True)
    run = await run_device(world, "gw-1", folder, activation_key=created.activation_key, seal=True)
    connection: dict[str, str] = run.answer()["connection"]
    return connection


async def move(world: World, folder: Path) -> dict[str, str]:
    """The other account's request, and the device with its factory credentials; what it logs in with then."""
    created = await make_request(
        world.admin, "gw-1", "globex", provision_username="globex-factory", generate_activation_key=True
    )
    assert await connect_code(world.provision_port, "gw-1", "factory-gw-1", PASSWORD) in (5, None)
    (folder / "moved").mkdir()
    run = await run_device(
        world,
        "gw-1",
        folder / "moved",
        username="globex-factory",
        activation_key=created.activation_key,
        seal=True,
    )
    assert run.names()[-1] == "received it back"
    connection: dict[str, str] = run.answer()["connection"]
    assert connection["account"] == "globex"
    return connection


async def test_a_device_moves_to_another_account_of_the_same_broker(world: World, tmp_path: Path) -> None:
    """The old device works until the new one's first login, which takes the client id over as any login does."""
    await accounts.create_account(world.admin, "globex", brokers=["account-broker"])
    old = await provisioned(world, tmp_path)
    await releases.release_device(world.admin, "acme", "gw-1", to="globex")
    at_work = await Client.open(world.account_port)
    assert await at_work.connect("gw-1", username=old["username"], password=old["password"]) == 0
    assert await at_work.subscribe("$EDC/acme/gw-1/#") == 0

    new = await move(world, tmp_path)
    assert not await at_work.ping(), "its session was taken over"
    assert await connect_code(world.account_port, "gw-1", old["username"], old["password"]) == 5
    assert await connect_code(world.provision_port, "gw-1", "factory-gw-1", PASSWORD) in (5, None)
    assert await connect_code(world.account_port, "gw-1", new["username"], new["password"]) == 0
    assert [row["status"] for row in await releases.list_releases(world.admin, "globex")] == ["USED"]
    await world.database.check_invariants()


async def test_a_device_moves_to_another_account_s_own_broker(world: World, tmp_path: Path) -> None:
    """Nothing ends the old session there, and it is worth nothing from the first login on."""
    broker, port = await world.add_account_broker("globex-broker")
    world.start(broker)
    await accounts.create_account(world.admin, "globex", brokers=["globex-broker"])
    old = await provisioned(world, tmp_path)
    await releases.release_device(world.admin, "acme", "gw-1", to="globex")
    at_work = await Client.open(world.account_port, version=5)
    assert await at_work.connect("gw-1", username=old["username"], password=old["password"]) == 0
    assert await at_work.publish("$EDC/acme/gw-1/data", b"1", qos=1) in (0, NO_SUBSCRIBERS)

    new = await move(world, tmp_path)

    async def refused() -> bool:
        return await at_work.publish("$EDC/acme/gw-1/data", b"2", qos=1) in (NOT_AUTHORIZED, None)

    await eventually(refused)
    assert await connect_code(world.account_port, "gw-1", old["username"], old["password"]) == 5
    assert await connect_code(world.account_port, "gw-1", new["username"], new["password"]) == 5
    assert await connect_code(port, "gw-1", new["username"], new["password"]) == 0
    at_work.close()
    await world.database.check_invariants()


async def test_a_move_that_never_happens(world: World, tmp_path: Path) -> None:
    """The other account's device never asks: the old one works on, and gets its client id back."""
    await accounts.create_account(world.admin, "globex", brokers=["account-broker"])
    old = await provisioned(world, tmp_path)
    await releases.release_device(world.admin, "acme", "gw-1", to="globex")
    await make_request(world.admin, "gw-1", "globex", provision_username="globex-factory")
    assert await connect_code(world.account_port, "gw-1", old["username"], old["password"]) == 0
    await releases.cancel_release(world.admin, "acme", "gw-1")
    assert await connect_code(world.provision_port, "gw-1", "globex-factory", PASSWORD) in (5, None)
    # Its key was proved at a CONNECT (decision 0014): without it nobody is let in for a while.
    await world.database.execute("DELETE FROM key_proofs")

    async def let_in() -> bool:
        return await connect_code(world.provision_port, "gw-1", "factory-gw-1", PASSWORD) == 0

    await eventually(let_in)
    assert await connect_code(world.account_port, "gw-1", old["username"], old["password"]) == 0
