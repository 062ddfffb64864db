"""What our plugin asks beyond go-auth's contract: grants with the login, grants anew, changes, reports."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from service.core.grants import account_grants
from service.operations import users
from tests.support.hooks_server import HooksServer, serving
from tests.support.scene import ACCOUNT, PROVISION, Device, Scene


async def post(server: HooksServer, path: str, body: Any, broker: str = ACCOUNT) -> tuple[int, Any]:
    async with server.client(broker) as client:
        reply = await client.ask(path, json.dumps(body).encode())
        return reply.status, json.loads(reply.body)


async def changes(server: HooksServer, since: str = "") -> dict[str, Any]:
    async with server.client(ACCOUNT) as client:
        reply = await client.ask(f"/hooks/changes?since={since}", b"", method="GET")
        assert reply.status == 200, reply
        document: dict[str, Any] = json.loads(reply.body)
        return document


def login(device: Device, **more: Any) -> dict[str, Any]:
    return {"username": device.username, "password": device.password, "clientid": device.client_id, **more}


async def test_grants_come_with_the_login_where_they_are_asked_for(scene: Scene) -> None:
    device = await scene.provision("gw-1")
    async with serving(scene) as server:
        assert await post(server, "/hooks/user", login(device)) == (200, {"ok": True})
        status, document = await post(server, "/hooks/user", login(device, grants=True))
        assert status == 200
        expected = account_grants("acme", "gw-1", ["broker:connect"])
        assert document["grants"] == [[grant.filter, sum(grant.accesses)] for grant in expected]
        assert document["ok"] is True
        wrong = {**login(device, grants=True), "password": "wrong"}
        assert (await post(server, "/hooks/user", wrong))[0] == 403
        other = await scene.request("gw-2")
        names = {"username": other.factory_username, "clientid": "gw-2"}
        factory = {**names, "password": other.factory_password, "grants": True}
        status, document = await post(server, "/hooks/user", factory, PROVISION)
        assert (status, ["prov/v1/gw-2/request", 2] in document["grants"]) == (200, True)


async def test_what_was_read_is_as_new_as_the_feed(scene: Scene) -> None:
    """A change that the feed told before a login is in the login's grants."""
    device = await scene.provision("gw-1")
    async with serving(scene) as server:
        part = await changes(server)
        await users.set_user_enabled(scene.admin, "acme", device.username, enabled=False)
        told = await changes(server, part["position"])
        assert ["user", device.username] in told["changes"]
        await users.set_user_enabled(scene.admin, "acme", device.username, enabled=True)
        told = await changes(server, told["position"])
        _, document = await post(server, "/hooks/user", login(device, grants=True))
        assert int(document["as_of"]) >= int(told["as_of"])


async def test_each_change_is_told_once(scene: Scene) -> None:
    """Also while a transaction that began before it holds the oldest snapshot."""
    await scene.provision("gw-1")
    old = await asyncpg.connect(scene.database.url().reveal())
    holding = old.transaction()
    await holding.start()
    await old.execute("INSERT INTO changes (kind, key) VALUES ('user', 'slow')")
    try:
        async with serving(scene) as server:
            begun = await changes(server)
            assert (begun["changes"], begun["lost"]) == ([], False)
            await scene.database.execute("INSERT INTO changes (kind, key) VALUES ('user', 'quick')")
            first = await changes(server, begun["position"])
            assert first["changes"] == [["user", "quick"]]
            second = await changes(server, first["position"])
            assert second["changes"] == []
            await holding.commit()
            third = await changes(server, second["position"])
            assert third["changes"] == [["user", "slow"]], "committed late, and not missed"
    finally:
        await old.close()


async def test_a_question_for_changes_is_answered_when_one_comes(scene: Scene) -> None:
    async with serving(scene) as server:
        begun = await changes(server)
        waiting = asyncio.create_task(changes(server, begun["position"]))
        await asyncio.sleep(0.05)
        await scene.database.execute("INSERT INTO changes (kind, key) VALUES ('client', 'gw-1')")
        await scene.gate.follow()
        assert (await waiting)["changes"] == [["client", "gw-1"]]


async def test_what_nobody_keeps_any_more_is_told_as_lost(scene: Scene) -> None:
    async with serving(scene) as server:
        begun = await changes(server)
        await scene.database.execute("UPDATE changes_pruned SET xid = pg_current_xact_id()")
        assert (await changes(server, begun["position"]))["lost"] is True


@pytest.mark.parametrize("since", ["x", "1", "1:2", "9:1:", "1:1:" + "1," * 2000, "%00", "-1:1:"], ids=range(7))
async def test_no_position_is_no_trouble_of_ours(scene: Scene, since: str) -> None:
    async with serving(scene) as server, server.client(ACCOUNT) as client:
        assert (await client.ask(f"/hooks/changes?since={since}", b"", method="GET")).status in (400, 403)


async def test_clients_are_loaded_anew_in_their_order(scene: Scene) -> None:
    first, second = await scene.provision("gw-1"), await scene.provision("gw-2")
    await users.set_user_enabled(scene.admin, "acme", second.username, enabled=False)
    wanted = [
        {"username": second.username, "clientid": "gw-2"},
        {"username": first.username, "clientid": "gw-1"},
        {"username": "nobody", "clientid": "gw-1"},
        {"username": "a b", "clientid": "gw-1"},
    ]
    async with serving(scene) as server:
        status, document = await post(server, "/hooks/clients", {"clients": wanted})
    assert status == 200
    assert [each["ok"] for each in document["clients"]] == [False, True, False, False]
    assert ["acme/gw-1/#", 7] in document["clients"][1]["grants"]


async def test_reports_are_counted(scene: Scene) -> None:
    device = await scene.provision("gw-1")
    scene.gate.admission.refusals.take()
    names = {"username": device.username, "clientid": "gw-1"}
    refused = {**names, "topic": "acme/gw-2/x", "acc": 2, "reason": "no_grant", "count": 7}
    seen = [names, {"username": "nobody", "clientid": "x"}]
    scene.gate.admission.seen.clear()
    async with serving(scene) as server:
        assert await post(server, "/hooks/reports", {"refused": [refused], "seen": seen}) == (200, {"ok": True})
        assert (await post(server, "/hooks/reports", {"refused": [{**refused, "reason": "other"}]}))[0] == 403
        assert (await post(server, "/hooks/reports", {"other": 1}))[0] == 403
        async with server.stranger() as client:
            assert (await client.ask("/hooks/reports", b"{}")).status == 401
    (row,) = scene.gate.admission.refusals.take()
    assert (row["count"], row["topic"], row["access"]) == (7, "acme/gw-2/x", "WRITE")
    assert [client_id for _, client_id in scene.gate.admission.seen] == ["gw-1"]


async def test_what_a_broker_tells_of_connections_is_written(scene: Scene) -> None:
    """Bounded in number and age; a provision broker's clients have no status; 503 is told again."""
    await scene.provision("gw-1")
    status = "SELECT status FROM device_connections"
    gone = {"connections": [{"clientid": "gw-1", "connected": False, "age": 0}]}
    async with serving(scene) as server:
        assert await post(server, "/hooks/reports", gone, PROVISION) == (200, {"ok": True})
        assert await scene.database.value(status) == "CONNECTED"
        for bad in (-1, 10**15, "1", 1.5, None):
            wrong = {"connections": [{"clientid": "gw-1", "connected": False, "age": bad}]}
            assert (await post(server, "/hooks/reports", wrong))[0] == 403
            assert bad is None or (await post(server, "/hooks/reports", {"began": bad}))[0] == 403
        assert (await post(server, "/hooks/reports", {"connections": gone["connections"] * 1001}))[0] == 403
        strange = [{"clientid": name, "connected": False, "age": 1} for name in ("a b", "\u0000", "x" * 300)]
        all_of_it = {"connections": [*strange, *gone["connections"]]}
        assert await post(server, "/hooks/reports", all_of_it) == (200, {"ok": True})
        assert await scene.database.value(status) == "DISCONNECTED"
        back = {"connections": [{"clientid": "gw-1", "connected": True, "age": 3}]}
        assert await post(server, "/hooks/reports", back) == (200, {"ok": True})
        assert await scene.database.value(status) == "CONNECTED"
        assert await post(server, "/hooks/reports", {"began": 3_600_000}) == (200, {"ok": True})
        assert await scene.database.value(status) == "CONNECTED", "came after that"
        assert await post(server, "/hooks/reports", {"began": 0, "connections": []}) == (200, {"ok": True})
        assert await scene.database.value(status) == "DISCONNECTED"
        await scene.database.execute("ALTER FUNCTION hook_note_connections(bytea, text, jsonb) RENAME TO away")
        assert (await post(server, "/hooks/reports", gone))[0] == 503
