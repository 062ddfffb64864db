"""How many statements each kind of message takes, on real Postgres: each is a round trip, and holds the request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import pytest

from service.keys import new_correlation_id
from service.operations.asks import Desk
from tests.support.desk import ask, say
from tests.support.gateways import Gateway, new_kura_desk
from tests.support.scene import Scene, expire, new_desk
from tests.support.scene import now as clock

BEGIN, LOAD, COMMIT = "BEGIN", "lock_case", "COMMIT"


class Counted:
    """A desk on a pool that notes every statement, by its function's name or its first word."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.desk: Desk

    def note(self, query: Any) -> None:
        known = ("lock_case", "write_case", "begin_run", "end_run", "append_event")
        text: str = query.query
        self.statements.append(next((name for name in known if f"{name}(" in text), text.split()[0].strip(";")))

    async def of(self, handled: Awaitable[Any]) -> list[str]:
        """What handling a message takes."""
        self.statements.clear()
        await handled
        return list(self.statements)


@pytest.fixture
async def counted(scene: Scene) -> AsyncIterator[Counted]:
    counted = Counted()

    async def init(connection: Any) -> None:
        connection.add_query_logger(counted.note)

    async def reset(_connection: object) -> None:
        """As in the responder: nothing."""

    async with asyncpg.create_pool(
        scene.database.url("responder").reveal(), min_size=0, max_size=2, init=init, reset=reset
    ) as pool:
        counted.desk = scene.desk = new_desk(scene.database, pool)
        yield counted


async def test_the_json_wire(scene: Scene, counted: Counted) -> None:
    """Good asks, repeated asks, every status, a failure."""
    device = await scene.request(generate_activation_key=True)
    await scene.request("gw-2")
    assert await counted.of(scene.ask(device)) == [BEGIN, LOAD, "begin_run", COMMIT]
    assert await counted.of(scene.ask(device)) == [BEGIN, LOAD, "write_case", COMMIT]
    for state in ("installing", "configuring"):
        handled = say(counted.desk, "gw-1", device.run, state)
        assert await counted.of(handled) == [BEGIN, LOAD, "write_case", COMMIT]
    await expire(scene.database)
    assert await counted.of(scene.ask(device)) == [BEGIN, LOAD, "end_run", "begin_run", COMMIT]
    handled = say(counted.desk, "gw-1", device.run, "failed")
    assert await counted.of(handled) == [BEGIN, LOAD, "end_run", COMMIT]
    await scene.database.check_invariants()
    assert await scene.kinds() == [
        "request_created", "run_started", "ask_repeated", "run_moved", "run_moved", "run_ended", "run_started",
        "run_ended",
    ]  # fmt: skip


async def test_what_is_refused_on_the_json_wire(scene: Scene, counted: Counted) -> None:
    """By the key (and `busy`), by the window, by the client id, unreadable, a status of no run, and what failed."""
    await scene.request(generate_activation_key=True)
    await scene.request("gw-2", activates_on=clock().replace(year=clock().year + 1))
    refusal = [BEGIN, LOAD, "write_case", COMMIT]
    for code in ["refused"] * 10 + ["busy"]:
        replies: list[dict[str, Any]] = []

        async def wrong(replies: list[dict[str, Any]] = replies) -> None:
            replies.append(await ask(counted.desk, "gw-1", activation_key="wrong"))

        assert await counted.of(wrong()) == refusal
        assert replies[0]["code"] == code
    assert await counted.of(ask(counted.desk, "gw-2")) == refusal
    assert await counted.of(ask(counted.desk, "gw-9")) == refusal
    assert await counted.of(counted.desk.ask("gw-1", b"{", 1e6)) == refusal
    assert await counted.of(say(counted.desk, "gw-1", "no-such-run", "installing")) == refusal
    failed = counted.desk.record_failure("gw-1", b"{}", new_correlation_id())
    assert await counted.of(failed) == ["append_event"]
    await scene.database.check_invariants()
    assert await scene.database.value("SELECT key_failures FROM provision_requests WHERE client_id = 'gw-1'") == 11
    assert await scene.database.value("SELECT sum(count) FROM credential_uses WHERE kind = 'wrong_key'") == 11
    assert await scene.database.value("SELECT sum(count) FROM refusals") == 1


async def test_the_kura_wire(scene: Scene, counted: Counted) -> None:
    """An ask with its first step, the step again, replies and notices that move the run."""
    application = {"name": "a", "version": "1", "url": "https://x.example/a.dp", "sha256": "a" * 64, "size": 1}
    device = await scene.request(generate_activation_key=True, applications=[application])
    gateway = Gateway(desk=new_kura_desk(scene), client_id="gw-1", activation_key=device.activation_key)
    moved = [BEGIN, LOAD, "write_case", COMMIT]
    assert await counted.of(gateway.prov()) == [BEGIN, LOAD, "begin_run", "write_case", COMMIT]
    assert await counted.of(gateway.prov()) == moved
    [download] = gateway.asked
    assert await counted.of(gateway.reply(download)) == moved
    assert await counted.of(gateway.notify(download, "COMPLETED")) == moved
    assert await counted.of(gateway.reply(gateway.asked[-1])) == moved
    assert await scene.run_state() == "CONF_UPDATED"
    assert await counted.of(gateway.reply("of-nothing")) == moved
    await scene.database.check_invariants()


async def test_beginning_a_run_is_no_change_for_brokers(scene: Scene) -> None:
    """
    Nobody's rights change, so nobody loads them anew; and commits that notify wait for one another, others do not.
    """
    device = await scene.request()
    before = await scene.database.value("SELECT count(*) FROM changes")
    await scene.ask(device)
    assert await scene.login(device)
    assert await scene.database.value("SELECT count(*) FROM changes") == before
