"""Account move: what each account, and what nobody else, sees of it."""

from __future__ import annotations

import json

import asyncpg
import pytest

from service.core.problems import InvalidInput
from service.operations import devices, explain, releases, requests, users
from tests.integration.test_account_move import GLOBEX, release, request, rules, status, two
from tests.support.scene import Scene

__all__ = ["two"]


async def test_third_accounts_see_nothing(two: Scene) -> None:
    """Not in lists, not in the timeline; and a refusal says as little as of any other client id that is taken."""
    await two.provision()
    await two.provision("gw-2")
    await release(two)
    texts = set()
    for client_id in ("gw-1", "gw-2"):
        with pytest.raises(InvalidInput) as refused:
            await request(two, client_id, "umbrella")
        texts.add(str(refused.value).replace(client_id, "..."))
    assert len(texts) == 1
    [text] = texts
    assert not any(word in text for word in ("acme", "globex", "release"))
    await request(two)
    assert await releases.list_releases(two.admin, "umbrella") == []
    assert await explain.explain(two.admin, "gw-1", "umbrella") == []
    cancelled = releases.cancel_release(two.admin, "umbrella", "gw-1")
    assert await rules(cancelled) == ["client_id: not_released"]
    assert await rules(releases.cancel_release(two.admin, "globex", "gw-1")) == ["client_id: not_released"]
    assert await status(two) == ["REQUESTED"]


async def test_each_account_sees_its_own_side(two: Scene) -> None:
    await two.provision()
    await release(two)
    [seen] = await releases.list_releases(two.admin, "globex")
    assert (seen["account"], seen["to_account"], seen["status"], seen["created_by"]) == ("acme", "globex", "OPEN", None)
    [own] = await releases.list_releases(two.admin, "acme")
    assert own == {**seen, "created_by": "tester"}
    assert await releases.list_releases(two.admin, None) == [own]
    new = await request(two)
    await two.ask(new)
    await two.login(new, broker=GLOBEX)
    old_side = await explain.explain(two.admin, "gw-1", "acme")
    new_side = await explain.explain(two.admin, "gw-1", "globex")
    assert [row["what"] for row in old_side].count("release") == [row["what"] for row in new_side].count("release") == 1
    assert {row["account"] for row in new_side if row["what"] != "release"} == {"globex"}
    assert {row["account"] for row in old_side} == {"acme"}
    assert "run_started" in {row["what"] for row in new_side}
    text = json.dumps(new_side, default=str)
    assert "factory-gw-1" not in text
    assert "tester" not in json.dumps([row for row in new_side if row["what"] == "release"], default=str)
    shown = await devices.show_device(two.admin, "acme", "gw-1")
    assert (shown["enabled"], [row["status"] for row in shown["releases"]]) == (False, ["USED"])
    assert (await devices.show_device(two.admin, "globex", "gw-1"))["enabled"] is True
    assert await rules(devices.show_device(two.admin, None, "gw-1")) == ["account: ambiguous"]
    assert await rules(requests.find_account_of(two.admin, "gw-1")) == ["account: ambiguous"]


async def test_the_database_keeps_the_accounts_apart(two: Scene) -> None:
    """The table is for who released; both see their releases through one function, which nobody else sees."""
    await two.provision()
    await release(two)
    seen = {}
    for name in ("acme", "globex", "umbrella"):
        account = await two.admin.account(name)
        async with two.admin.account_transaction(account.id) as connection:
            seen[name] = (
                await connection.fetchval("SELECT count(*) FROM releases"),
                await connection.fetchval("SELECT count(*) FROM own_releases(NULL)"),
                await connection.fetchval("SELECT count(*) FROM own_releases('gw-2')"),
                (await connection.execute("UPDATE releases SET expires_on = 'infinity'")).split()[-1],
            )
    assert seen == {"acme": (1, 1, 0, "1"), "globex": (0, 1, 0, "0"), "umbrella": (0, 0, 0, "0")}
    async with two.admin.admin_pool.acquire() as connection:
        assert await connection.fetch("SELECT FROM own_releases(NULL)") == []


async def test_the_functions_delete_generated_users_only(two: Scene) -> None:
    """What lets a move end a run of the old account lets it delete nobody else."""
    await two.run()
    await users.create_person(two.admin, "acme", "ann", [])
    connection = await asyncpg.connect(two.database.url().reveal())
    try:
        await connection.execute("SET ROLE provisioning_functions")
        assert await connection.execute("DELETE FROM users WHERE kind <> 'device'") == "DELETE 0"
    finally:
        await connection.close()
