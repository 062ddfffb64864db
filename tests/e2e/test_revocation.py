"""
Who loses the right to be at a broker loses publish, receive, its will and its stored session there, and nobody else
does. How long it takes is what `bench` prints; here it is only waited for.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from embedded.processes import free_port
from service.operations import accounts, credentials, devices, moves, users
from service.operations.administration import Administration
from tests.e2e.mqtt_raw import CONNACK, Client, Will, connect_packet
from tests.support.database import PASSWORD, Database, make_request
from tests.support.devices import ask, connect, connect_code, eventually, reply, run_device
from tests.support.figures import record
from tests.support.scene import ACCOUNT
from tests.support.stalling import Stalling, stalling
from tests.support.world import World, is_own_plugin

_numbers = itertools.count()


_opened: list[Client] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """Every connection, at the end, whatever became of it."""
    yield
    while _opened:
        _opened.pop().close()


async def open_at(port: int) -> Client:
    """A TCP connection."""
    _opened.append(await Client.open(port))
    return _opened[-1]


async def come(world: World, name: str, password: str, *, clean: bool = True, will: bool = False) -> Client:
    """At the account broker, under its own name; a will is on its own topic."""
    client = await open_at(world.account_port)
    last = Will(f"acme/{name}/will", b"gone", qos=1) if will else None
    assert await client.connect(name, username=name, password=password, clean=clean, will=last) == 0
    return client


async def gets_through(publisher: Client, listener: Client, topic: str) -> bool:
    """Whether a message that one publishes now reaches the other."""
    try:
        await listener.waiting_messages()
        if await publisher.publish(topic, str(next(_numbers)).encode()) is None:
            return False
        return topic in await listener.waiting_messages()
    except ConnectionError:
        return False


async def stays_out(client: Client, boss: Client, name: str) -> None:
    """Neither publish nor receive, from some moment on and for good; and then its connection is lost, with its will."""

    async def is_out() -> bool:
        sent = await gets_through(client, boss, f"acme/{name}/x")
        return not sent and not await gets_through(boss, client, f"acme/{name}/x")

    await eventually(is_out)
    for _ in range(3):
        assert await is_out()
    client.close()
    assert f"acme/{name}/will" not in await boss.waiting_messages()
    assert await boss.ping()


async def its_session_ends(world: World, name: str, times: int) -> None:
    """Wait until the responder has ended a session of this client at the account broker so often."""
    where = f'"{ACCOUNT}"'

    async def ended() -> bool:
        lines = [line for line in world.logs().splitlines() if "session_ended" in line]
        return sum(f'"{name}"' in line and where in line for line in lines) >= times

    await eventually(ended)


async def comes_back(world: World, name: str, password: str) -> Client:
    """As soon as it may, asking for its session: nothing is left of it."""

    async def may() -> bool:
        return await connect_code(world.account_port, f"{name}x", name, password) == 0

    await eventually(may)
    client = await open_at(world.account_port)
    await client.send(connect_packet(name, username=name, password=password, clean=False))
    answer = await client.read(CONNACK)
    assert answer is not None
    assert list(answer.body) == [0, 0], "no session, let in"
    assert await client.waiting_messages() == []
    return client


Change = Callable[[bool], Awaitable[None]]


async def lose_everything(world: World, boss: Client, name: str, password: str, change: Change) -> None:
    """A client that is there, and then one whose session is kept while it is not."""
    live = await come(world, name, password, clean=False, will=True)
    assert await live.subscribe(f"acme/{name}/#", qos=1) == 1
    assert await gets_through(live, boss, f"acme/{name}/x")
    await change(False)
    await stays_out(live, boss, name)
    await its_session_ends(world, name, 1)
    await change(True)
    stored = await comes_back(world, name, password)
    assert await stored.subscribe(f"acme/{name}/orders", qos=1) == 1
    stored.close()
    assert await boss.publish(f"acme/{name}/orders", b"1", qos=1) == 0
    await change(False)
    await its_session_ends(world, name, 2)
    await change(True)
    await (await comes_back(world, name, password)).disconnect()


async def test_at_an_account_broker(world: World) -> None:
    """A user, a device, a deletion, an account."""
    admin = world.admin
    passwords = {}
    for name in ("boss", "bystander", "by-user", "by-device", "deleted"):
        permissions = ["broker:connect", *(["data:manage"] if name == "boss" else [])]
        passwords[name] = await users.create_person(admin, "acme", name, permissions)
    await world.database.execute(
        "INSERT INTO devices (account_id, client_id) SELECT id, 'by-device' FROM accounts WHERE name = 'acme'"
    )
    boss = await come(world, "boss", passwords["boss"])
    assert await boss.subscribe("acme/#") == 0
    bystander = await come(world, "bystander", passwords["bystander"])

    async def user(enabled: bool) -> None:
        await users.set_user_enabled(admin, "acme", "by-user", enabled=enabled)

    async def device(enabled: bool) -> None:
        await devices.set_device_enabled(admin, "acme", "by-device", enabled=enabled)

    for name, change in (("by-user", user), ("by-device", device)):
        await lose_everything(world, boss, name, passwords[name], change)
        assert await gets_through(bystander, boss, "acme/bystander/x")
    gone = await come(world, "deleted", passwords["deleted"], will=True)
    assert await gets_through(gone, boss, "acme/deleted/x")
    await users.delete_user(admin, "acme", "deleted")
    await stays_out(gone, boss, "deleted")
    assert await gets_through(bystander, boss, "acme/bystander/x")

    stored = await come(world, "by-user", passwords["by-user"], clean=False)
    assert await stored.subscribe("acme/by-user/orders", qos=1) == 1
    stored.close()
    await accounts.set_account_enabled(admin, "acme", enabled=False)
    for client, name in ((boss, "boss"), (bystander, "bystander")):

        async def is_out(client: Client = client, name: str = name) -> bool:
            return not await gets_through(client, client, f"acme/{name}/x")

        await eventually(is_out)
    await its_session_ends(world, "by-user", 3)
    await accounts.set_account_enabled(admin, "acme", enabled=True)
    await (await comes_back(world, "by-user", passwords["by-user"])).disconnect()
    record(
        "G14",
        "user, device, account disabled, user deleted: publish, receive, will and session are lost",
        "all, nobody else's",
        "all, nobody else's",
        "make test",
        True,
    )


async def test_at_the_provision_broker(world: World, tmp_path: Path) -> None:
    """A request (stopped, disabled, deleted, and when PROVISIONED) and a credential; who works elsewhere goes on."""
    admin = world.admin
    own = ("credential", "bystander")
    everybody = ("stopped", "disabled", "deleted", "provisioned", *own)
    for client_id in everybody:
        await make_request(
            admin,
            client_id,
            provision_username=client_id if client_id in own else "fleet",
            generate_activation_key=False,
        )
    await make_request(admin, "waiting", provision_username="bystander", generate_activation_key=False)
    managed = (await run_device(world, "provisioned", tmp_path, username="fleet")).answer()["connection"]
    working = await open_at(world.account_port)
    assert await working.connect("provisioned", username=managed["username"], password=managed["password"]) == 0
    assert await working.subscribe("acme/provisioned/x") == 0
    clients = {}
    for client_id in everybody:
        clients[client_id] = await connect(world, client_id, client_id if client_id in own else "fleet")
        _opened.append(clients[client_id])
        assert await clients[client_id].subscribe(f"prov/v1/{client_id}/reply") == 0
    await ask(clients["stopped"], "stopped")
    assert (await reply(clients["stopped"]))["result"] == "accepted"

    await moves.stop_request(admin, "acme", "stopped")
    await moves.set_enabled(admin, "acme", "disabled", enabled=False)
    await moves.delete_request(admin, "acme", "deleted")
    await users.set_user_enabled(admin, "acme", "credential", enabled=False)
    await moves.set_enabled(admin, "acme", "provisioned", enabled=False)
    for client_id in everybody[:-1]:

        async def is_out(client_id: str = client_id) -> bool:
            """Refused, or not there any more."""
            with suppress(ConnectionError):
                return await clients[client_id].subscribe(f"prov/v1/{client_id}/reply") not in (0, 1)
            return True

        await eventually(is_out)
        username = client_id if client_id in own else "fleet"

        async def is_refused(client_id: str = client_id, username: str = username) -> bool:
            """Once there is a token of the slow-hash budget for it."""
            return await connect_code(world.provision_port, client_id, username, PASSWORD) == 5

        await eventually(is_refused)
    # A held credential's clients stay where they are; the next CONNECT has to wait, and gets no verdict.
    await credentials.hold(admin, "acme", "bystander")

    async def waits() -> bool:
        """Another device of the credential; its password is remembered, so no budget is in its way."""
        return await connect_code(world.provision_port, "waiting", "bystander", PASSWORD) is None

    await eventually(waits)
    await ask(clients["bystander"], "bystander")
    assert (await reply(clients["bystander"]))["result"] == "accepted"
    assert await gets_through(working, working, "acme/provisioned/x")


@pytest.fixture
async def cut_world(database: Database, admin: Administration) -> AsyncIterator[tuple[World, Stalling, Stalling]]:
    """Without a responder, whose takeovers would end sessions; what hooks and plugin follow can be cut."""
    parts = urlsplit(database.url("hooks").reveal())
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(
            stalling(parts.port or 5432, b"provisioning-hooks-feed", host=parts.hostname or "127.0.0.1")
        )
        hooks_port = free_port()
        hooks = await stack.enter_async_context(stalling(hooks_port, b"GET /hooks/changes"))
        netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{postgres.port}"
        url = urlunsplit((parts.scheme, netloc, parts.path, "sslmode=disable", ""))
        settings = {"PROVISION_HOOKS_DATABASE_URL": url, "PROVISION_HOOKS_PORT": str(hooks_port)}
        world = World(database=database, admin=admin, hooks_port=hooks.port, settings=settings)
        try:
            await world.prepare()
            await asyncio.to_thread(world.start, world.hooks, world.account_broker)
            yield world, postgres, hooks
        finally:
            world.close()


@pytest.mark.parametrize(
    "which",
    ["both", pytest.param("postgres", marks=pytest.mark.long), pytest.param("hooks", marks=pytest.mark.long)],
)
async def test_with_the_feeds_cut(cut_world: tuple[World, Stalling, Stalling], which: str) -> None:
    """Connections that hang, and are not closed: what hooks hear of Postgres, what the plugin hears of hooks."""
    world, postgres, hooks = cut_world
    passwords = {}
    for name in ("boss", "by-user"):
        permissions = ["broker:connect", *(["data:manage"] if name == "boss" else [])]
        passwords[name] = await users.create_person(world.admin, "acme", name, permissions)
    boss = await come(world, "boss", passwords["boss"])
    assert await boss.subscribe("acme/#") == 0
    live = await come(world, "by-user", passwords["by-user"], will=True)
    assert await live.subscribe("acme/by-user/#") == 0
    assert await gets_through(live, boss, "acme/by-user/x")
    assert postgres.seen > 0
    assert hooks.seen > 0 or not is_own_plugin()
    for proxy in {"both": (postgres, hooks), "postgres": (postgres,), "hooks": (hooks,)}[which]:
        proxy.cut()
    await users.set_user_enabled(world.admin, "acme", "by-user", enabled=False)
    await stays_out(live, boss, "by-user")
    assert await gets_through(boss, boss, "acme/boss/x"), "whoever has rights keeps them"
