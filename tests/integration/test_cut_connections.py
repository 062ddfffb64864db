"""
The connection to Postgres ends at each byte of a COMMIT, and of its answer: nobody knows whether it happened (G5, T29).

Whoever asked asks again, as the responder does and brokers' clients do. There is one credential, the device finishes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from service.db.pool import TRANSIENT, open_pool
from service.keys import Secret
from tests.support.database import Database
from tests.support.desk import say
from tests.support.figures import record
from tests.support.gate import CountingStore, open_gate
from tests.support.proxy import CutAt, Link, linked
from tests.support.scene import ACCOUNT, Device, Scene, new_desk, open_scene

COMMIT = b"Q\x00\x00\x00\x0cCOMMIT;\x00"
# CommandComplete and ReadyForQuery.
COMMITTED = 1 + 4 + len(b"COMMIT\x00") + 6
COMMAND = "pytest tests/integration/test_cut_connections.py"


@dataclass
class Cut:
    """A scene whose responder and hooks reach Postgres over a link."""

    scene: Scene
    link: Link
    number: int = 0

    def next_client_id(self) -> str:
        self.number += 1
        return f"gw-{self.number}"


@asynccontextmanager
async def over_a_link(database: Database) -> AsyncIterator[Cut]:
    found = re.search(r":(\d+)/", database.url().reveal())
    assert found is not None
    async with open_scene(database) as scene, linked(int(found[1])) as link:

        def through(role: str) -> Secret:
            return Secret(re.sub(r":\d+/", f":{link.port}/", database.url(role).reveal()))

        pool = await open_pool(through("responder"), name="test", size=2, timeout=20)
        try:
            async with open_gate(through("hooks"), database.event_key) as gate:
                await gate.follow()
                scene.desk, scene.gate = new_desk(database, pool), gate
                yield Cut(scene, link)
        finally:
            pool.terminate()


Act = Callable[[], Awaitable[Any]]


async def cut_once(cut: Cut, at: CutAt, act: Act) -> None:
    """Do it with the connection cut, then until it is done. What goes wrong must be what is tried again."""
    cut.link.tamper = at
    try:
        await act()
    except TRANSIENT:
        pass
    finally:
        cut.link.tamper = None
    assert at.done, "nothing was cut"
    await act()


async def finishes(cut: Cut, device: Device) -> None:
    """One user, whose login is confirmed."""
    client_id = device.client_id
    made = await cut.scene.database.fetch(
        "SELECT u.name FROM users u JOIN provision_runs r ON r.user_id = u.id JOIN provision_requests q"
        " ON q.id = r.request_id WHERE q.client_id = $1",
        client_id,
    )
    assert [row["name"] for row in made] == [device.username]
    assert await cut.scene.login(device)
    assert await cut.scene.state(client_id) == "PROVISIONED"


async def begin(cut: Cut, at: CutAt) -> None:
    """The ask that begins a run."""
    device = await cut.scene.request(cut.next_client_id())
    passwords = set()

    async def ask() -> None:
        assert (await cut.scene.ask(device))["result"] == "accepted"
        passwords.add(device.password)

    await cut_once(cut, at, ask)
    assert len(passwords) == 1
    await finishes(cut, device)


async def repeat(cut: Cut, at: CutAt) -> None:
    """The ask that is answered the same again."""
    device = await cut.scene.run(cut.next_client_id())
    password = device.password

    async def ask() -> None:
        assert (await cut.scene.ask(device))["result"] == "accepted"
        assert device.password == password

    await cut_once(cut, at, ask)
    await finishes(cut, device)


async def status(cut: Cut, at: CutAt) -> None:
    """A step of the device."""
    device = await cut.scene.run(cut.next_client_id())
    await cut_once(cut, at, lambda: say(cut.scene.desk, device.client_id, device.run, "installing"))
    assert await cut.scene.run_state(device.client_id) == "APPS_INSTALLING"
    await finishes(cut, device)


async def failure(cut: Cut, at: CutAt) -> None:
    """The device failed: one attempt, however often it is said."""
    device = await cut.scene.run(cut.next_client_id(), maximum_attempts=3)
    await cut_once(cut, at, lambda: cut.scene.fail(device))
    query = "SELECT attempts FROM provision_requests WHERE client_id = $1"
    assert await cut.scene.database.value(query, device.client_id) == 1
    assert (await cut.scene.ask(device))["result"] == "accepted"
    await finishes(cut, device)


async def confirm(cut: Cut, at: CutAt) -> None:
    """The first login: one statement, committed as it ends."""
    device = await cut.scene.run(cut.next_client_id())
    store = cut.scene.gate.store
    call = CountingStore._call

    async def armed(self: CountingStore, name: str, *arguments: Any) -> Any:
        if name == "login":
            at.arm()
        return await call(self, name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CountingStore, "_call", armed)
        cut.link.tamper = at
        verdict = await cut.scene.login(device)
        cut.link.tamper = None
    assert verdict.outcome.value in (200, 503), "trouble is no verdict"
    assert store is cut.scene.gate.store
    await finishes(cut, device)


BY_COMMIT = [begin, repeat, status, failure]
Positions = list[tuple[bool, int]]


def commit_positions(every: int) -> Positions:
    """Of the question and of its answer."""
    return [(True, n) for n in range(0, len(COMMIT) + 1, every)] + [(False, n) for n in range(0, COMMITTED, every)]


async def confirm_positions(cut: Cut, every: int) -> Positions:
    """As many bytes as a login has where nothing is cut, on a new connection as after a cut."""
    await _reconnect(cut)
    at = CutAt(up=True, after=1 << 30)
    await confirm(cut, at)
    return [(up, n) for up in (True, False) for n in range(0, at.passed[up], every)]


async def _reconnect(cut: Cut) -> None:
    cut.link.cut()
    await cut.scene.gate.connect(ACCOUNT, "nobody", "nothing", "x-1")
    assert await cut.scene.gate.connect(ACCOUNT, "nobody", "nothing", "x-1") is not None


async def cut_everywhere(database: Database, act: Callable[[Cut, CutAt], Awaitable[None]], every: int) -> int:
    async with over_a_link(database) as cut:
        if act is confirm:
            for up, after in (positions := await confirm_positions(cut, every)):
                await _reconnect(cut)
                await confirm(cut, CutAt(up=up, after=after))
        else:
            for up, after in (positions := commit_positions(every)):
                await act(cut, CutAt(up=up, after=after, begins=COMMIT))
    await database.check_invariants()
    return len(positions)


@pytest.mark.parametrize("act", BY_COMMIT, ids=lambda act: act.__name__)
async def test_cut_in_a_commit(database: Database, act: Callable[[Cut, CutAt], Awaitable[None]]) -> None:
    """A sample of the bytes."""
    assert await cut_everywhere(database, act, 7) == 5


async def test_cut_in_a_confirmation(database: Database) -> None:
    """A sample of the bytes."""
    assert await cut_everywhere(database, confirm, 100) >= 5


@pytest.mark.long
@pytest.mark.parametrize("act", [*BY_COMMIT, confirm], ids=lambda act: act.__name__)
async def test_cut_at_every_byte(database: Database, act: Callable[[Cut, CutAt], Awaitable[None]]) -> None:
    done = await cut_everywhere(database, act, 1)
    record(
        "T29", f"{act.__name__}: bytes of the commit and its answer that the connection ended at, second credentials",
        "every one, 0", f"{done}, 0", f"{COMMAND} -m long", True,
    )  # fmt: skip
