"""Each request's events are a chain: what is edited, removed, added or signed with another key shows (I9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.db.pool import Connection
from service.keys import new_key, parse_key
from service.operations import accounts, events, moves
from service.operations.events import Author
from tests.support.scene import ACCOUNT, Scene


@pytest.fixture
async def connection(scene: Scene) -> AsyncIterator[Connection]:
    """A superuser's with a provisioned request, whose every deed is undone."""
    await scene.provision(generate_activation_key=True)
    opened = await asyncpg.connect(scene.database.url().reveal())
    transaction = opened.transaction()
    await transaction.start()
    try:
        yield opened
    finally:
        await transaction.rollback()
        await opened.close()


async def broken(connection: Connection, key: bytes) -> int | None:
    """Where the only request's chain breaks."""
    number: int | None = await connection.fetchval("SELECT broken_event_number($1, id) FROM provision_requests", key)
    return number


async def test_a_chain_holds(scene: Scene, connection: Connection) -> None:
    """Written by administrator, responder and hooks, numbered without a gap, with head and count on the request."""
    rows = await connection.fetch(
        "SELECT kind, number, chain, source FROM events WHERE request_id IS NOT NULL ORDER BY id"
    )
    assert [row["kind"] for row in rows] == ["request_created", "run_started", "confirmed"]
    assert [row["source"] for row in rows] == ["cli", "mqtt", "hooks"]
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert len({row["chain"] for row in rows}) == 3
    request = await connection.fetchrow("SELECT events_count, events_head FROM provision_requests")
    assert request is not None
    assert (request["events_count"], request["events_head"]) == (3, rows[-1]["chain"])
    assert await broken(connection, scene.database.event_key) is None


EDITS = {
    "kind": "'run_moved'",
    "at": "at + interval '1 microsecond'",
    "client_id": "'gw-2'",
    "actor": "'somebody'",
    "source": "'api'",
    "correlation_id": "'x'",
    "reason": "'because'",
    "detail": "detail || '{\"more\": 1}'",
    "chain": "sha256('x')",
    "account_id": "NULL",
}


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_an_edited_event_shows(scene: Scene, connection: Connection, number: int) -> None:
    for column, value in EDITS.items():
        attempt = connection.transaction()
        await attempt.start()
        await connection.execute(f"UPDATE events SET {column} = {value} WHERE request_id > 0 AND number = $1", number)
        assert await broken(connection, scene.database.event_key) == number, column
        await attempt.rollback()


async def test_a_removed_event_shows(scene: Scene, connection: Connection) -> None:
    """In the middle as a gap; at the end by count and head on the request."""
    for number in (1, 2, 3):
        attempt = connection.transaction()
        await attempt.start()
        await connection.execute("DELETE FROM events WHERE request_id > 0 AND number = $1", number)
        assert await broken(connection, scene.database.event_key) == number
        if number < 3:  # also where the others move up
            await connection.execute("UPDATE events SET number = -number WHERE request_id > 0 AND number > $1", number)
            await connection.execute("UPDATE events SET number = -number - 1 WHERE number < 0")
            assert await broken(connection, scene.database.event_key) == number
        await attempt.rollback()
    await connection.execute("DELETE FROM events WHERE request_id IS NOT NULL")
    assert await broken(connection, scene.database.event_key) == 1


async def test_a_cut_end_shows_even_with_the_count_set_back(scene: Scene, connection: Connection) -> None:
    await connection.execute("DELETE FROM events WHERE request_id > 0 AND number = 3")
    await connection.execute("UPDATE provision_requests SET events_count = 2")
    assert await broken(connection, scene.database.event_key) == 3


async def test_an_added_event_shows(scene: Scene, connection: Connection) -> None:
    """At the end or in between, with a copied link, or with one under another key."""
    for number in (4, 9):
        attempt = connection.transaction()
        await attempt.start()
        await connection.execute(
            "INSERT INTO events (at, kind, account_id, request_id, number, client_id, actor, source, detail, chain)"
            " SELECT at, kind, account_id, request_id, $1, client_id, actor, source, detail, chain FROM events"
            " WHERE request_id > 0 AND number = 3",
            number,
        )
        assert await broken(connection, scene.database.event_key) == 4
        await attempt.rollback()
    await connection.execute(
        "SELECT append_event($1, 'request_changed', account_id, id, client_id, 'x', 'cli') FROM provision_requests",
        parse_key(new_key()),
    )
    assert await broken(connection, scene.database.event_key) == 4


async def test_swapped_events_show(scene: Scene, connection: Connection) -> None:
    await connection.execute("UPDATE events SET number = -number WHERE request_id > 0 AND number IN (1, 2)")
    await connection.execute("UPDATE events SET number = 3 + number WHERE number < 0")
    assert await broken(connection, scene.database.event_key) == 1


async def test_another_key_opens_nothing(scene: Scene, connection: Connection) -> None:
    assert await broken(connection, parse_key(new_key())) == 1


async def test_an_event_of_another_request_shows(scene: Scene, connection: Connection) -> None:
    """A link is made for its request, account and place."""
    device = await scene.request("gw-2")
    await connection.execute(
        "UPDATE events SET chain = (SELECT chain FROM events WHERE client_id = 'gw-1' AND number = 1)"
        " WHERE client_id = $1",
        device.client_id,
    )
    query = "SELECT broken_event_number($1, id) FROM provision_requests WHERE client_id = 'gw-2'"
    assert await connection.fetchval(query, scene.database.event_key) == 1


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 33, None])
@pytest.mark.parametrize("request_id", [None, 1])
async def test_the_key_has_32_bytes(scene: Scene, key: bytes | None, request_id: int | None) -> None:
    """Also for an event that is in no chain: a service with a wrong key must not get as far as its first request."""
    connection = await asyncpg.connect(scene.database.url("responder").reveal())
    try:
        with pytest.raises(asyncpg.RaiseError, match="32 bytes"):
            await connection.execute(
                "SELECT append_event($1, 'test_event', NULL, $2, NULL, 'x', 'cli')", key, request_id
            )
    finally:
        await connection.close()


@pytest.mark.parametrize(("source", "chained"), [("cli", True), ("api", True), ("hooks", False), ("mqtt", False)])
async def test_what_an_administrator_did_without_a_request_is_chained(scene: Scene, source: str, chained: bool) -> None:
    """In the account's chain, here the platform's; what devices cause never waits for another's event."""
    author = Author(actor="tester", source=source, event_key=scene.database.event_key)
    head = "SELECT count FROM event_heads WHERE account_id = 0 AND request_id = 0"
    before = await scene.database.value(head)
    async with scene.admin.platform_transaction() as connection:
        await events.append(connection, author, "test_event", client_id="gw-9", why="none")
    [row] = await scene.database.fetch("SELECT number, chain, detail::text FROM events WHERE client_id = 'gw-9'")
    assert row["detail"] == '{"why": "none"}'
    assert row["number"] == (before + 1 if chained else None)
    assert (row["chain"] is not None) == chained
    assert await scene.database.value(head) == before + chained


async def test_an_event_names_the_requests_account(scene: Scene) -> None:
    """With another account's id nothing is written."""
    await scene.request()
    author = Author(actor="tester", source="cli", event_key=scene.database.event_key)
    request_id = await scene.database.value("SELECT id FROM provision_requests")
    with pytest.raises(asyncpg.NoDataFoundError):
        async with scene.admin.platform_transaction() as connection:
            await events.append(connection, author, "test_event", account_id=0, request_id=request_id)


async def test_32_at_once_make_one_chain(scene: Scene) -> None:
    """Each waits for the request's row, so numbers have no gap and no two have one link before."""
    await scene.request()
    row = (await scene.database.fetch("SELECT id, account_id FROM provision_requests"))[0]
    author = Author(actor="tester", source="cli", event_key=scene.database.event_key)

    async def append(number: int) -> None:
        async with scene.admin.platform_transaction() as connection:
            await events.append(
                connection, author, "test_event", account_id=row["account_id"], request_id=row["id"], number_of=number
            )
            if number % 4 == 0:
                raise ZeroDivisionError  # some change their mind

    done = await asyncio.gather(*(append(number) for number in range(32)), return_exceptions=True)
    assert sum(error is None for error in done) == 24
    numbers = await scene.database.fetch("SELECT number FROM events WHERE request_id = $1 ORDER BY number", row["id"])
    assert [found["number"] for found in numbers] == list(range(1, 26))
    assert await scene.database.value("SELECT broken_event_number($1, $2)", author.event_key, row["id"]) is None


async def test_events_outlive_their_request(scene: Scene) -> None:
    await scene.request()
    await moves.delete_request(scene.admin, "acme", "gw-1")
    assert await scene.kinds() == ["request_created", "request_deleted"]
    await scene.request()
    assert await scene.kinds() == ["request_created", "request_deleted", "request_created"]
    numbers = [event["number"] for event in await scene.events()]
    assert numbers == [1, 2, 1], "a new request begins a chain of its own"


async def test_a_time_zone_changes_no_link(scene: Scene, connection: Connection) -> None:
    await connection.execute("SET LOCAL TIME ZONE 'Asia/Kathmandu'")
    await connection.execute("SET LOCAL datestyle = 'German'")
    await connection.execute("SET LOCAL extra_float_digits = -15")
    assert await broken(connection, scene.database.event_key) is None


async def test_deleting_and_creating_with_one_credential_at_once(scene: Scene) -> None:
    """Both want the factory user and the account's chain: in one order, or one of them would be ended as a deadlock."""
    for number in range(8):
        await scene.request(f"old-{number}", provision_username="shared")
    await asyncio.gather(
        *(moves.delete_request(scene.admin, "acme", f"old-{number}") for number in range(8)),
        *(scene.request(f"new-{number}", provision_username="shared") for number in range(8)),
    )
    names = await scene.database.fetch("SELECT client_id FROM provision_requests ORDER BY 1")
    assert [row[0] for row in names] == [f"new-{number}" for number in range(8)]


async def test_what_is_so_already_is_no_event(scene: Scene) -> None:
    """A broker that is told twice to serve an account: a command that was killed is given again."""
    await accounts.create_account(scene.admin, "other", brokers=[ACCOUNT])
    await accounts.create_broker(scene.admin, "second", role="account")
    told = "SELECT count(*) FROM events WHERE kind = 'broker_serves'"
    before = await scene.database.value(told)
    for _ in range(2):
        await accounts.serve_account(scene.admin, "second", "other")
        assert await scene.database.value(told) == before + 1
