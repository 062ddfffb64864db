"""`provision request enable | disable | stop | reopen | delete | explain`: what they print and change."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.command import DONE, FAILED, INVALID, TIME, Program, contents
from tests.support.database import Database
from tests.support.scene import PROVISION, Scene


async def row_of(database: Database, client_id: str = "gw-1") -> tuple[str, bool]:
    [row] = await database.fetch("SELECT state, enabled FROM provision_requests WHERE client_id = $1", client_id)
    return row["state"], row["enabled"]


async def test_disable_and_enable(scene: Scene, database: Database, program: Program) -> None:
    await scene.request()
    for word, enabled in (("disable", False), ("disable", False), ("enable", True)):
        done = await program("request", word, "gw-1")
        assert (done.out, done.err) == (f"the provision request of gw-1 is {word}d\n", "")
        assert await row_of(database) == ("OPEN", enabled)
        done = await program("request", word, "gw-1", "--json", PROVISION_ACCOUNT="")
        assert done.json() == {"account": "acme", "client_id": "gw-1", "enabled": enabled}
        done = await program("request", word, "gw-9", "--json", status=INVALID)
        assert done.problems() == {("client_id", "not_found")}
    assert await scene.kinds() == ["request_created", "request_disabled", "request_enabled"]


async def test_disable_stops_a_run(scene: Scene, database: Database, program: Program) -> None:
    await scene.run()
    await program.process("request", "disable", "gw-1")
    assert await row_of(database) == ("OPEN", False)
    assert await scene.run_state() == "STOPPED"


async def test_stop(scene: Scene, database: Database, program: Program) -> None:
    for client_id, options in (("gw-1", ()), ("gw-2", ("--json",))):
        await scene.run(client_id)
        done = await program("request", "stop", client_id, *options)
        assert await row_of(database, client_id) == ("OPEN", False)
        assert await scene.run_state(client_id) == "STOPPED"
    assert done.json() == {"account": "acme", "client_id": "gw-2", "enabled": False}
    again = await program("request", "stop", "gw-1", "--json", status=INVALID)
    assert again.problems() == {("state", "not_running")}
    assert "the request is OPEN" in again.err


@pytest.mark.parametrize("as_json", [False, True])
async def test_reopen_wants_a_yes(scene: Scene, database: Database, as_json: bool, program: Program) -> None:
    device = await scene.provision()
    before = await contents(database)
    options = ("--json",) if as_json else ()
    unsure = await program("request", "reopen", "gw-1", *options, status=INVALID)
    assert "The generated user of gw-1 will be deleted" in unsure.err
    assert "Say --yes." in unsure.err
    assert await contents(database) == before
    done = await program("request", "reopen", "gw-1", "--yes", *options)
    if as_json:
        assert done.json() == {"account": "acme", "client_id": "gw-1", "deleted_users": [device.username]}
    else:
        assert done.out == f"reopened the provision request of gw-1; deleted user {device.username}\n"
    assert await row_of(database) == ("OPEN", True)
    again = await program("request", "reopen", "gw-1", "--yes", "--json", status=INVALID)
    assert again.problems() == {("state", "not_ended")}


async def test_reopen_asks_at_the_terminal(scene: Scene, database: Database, program: Program) -> None:
    await scene.abandon()
    done = await program.at_terminal("request", "reopen", "gw-1", typed=["n"])
    assert (done.status, await row_of(database)) == (FAILED, ("ABANDONED", True))
    done = await program.at_terminal("request", "reopen", "gw-1", typed=["y"])
    assert (done.status, await row_of(database)) == (DONE, ("OPEN", True))
    assert "Traceback" not in done.out


async def test_delete_wants_a_yes(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.provision()
    await scene.request("gw-2")
    await scene.run("gw-3")
    before = await contents(database)
    await program.process("request", "delete", "gw-1", status=INVALID)
    running = await program("request", "delete", "gw-3", "--yes", "--json", status=INVALID)
    assert running.problems() == {("state", "running")}
    assert await contents(database) == before
    assert (await program("request", "delete", "gw-1", "--yes")).out == "deleted the provision request of gw-1\n"
    done = await program("request", "delete", "gw-2", "--yes", "--json")
    assert done.json() == {"account": "acme", "client_id": "gw-2", "deleted": True}
    assert [row["client_id"] for row in (await program("request", "list", "--json")).json()] == ["gw-3"]
    assert bool(await scene.login(device))


TIMELINE_LINE = re.compile(rf"{TIME.pattern}  [a-z_]+  .*by=.*account=.*")


async def test_explain(scene: Scene, database: Database, program: Program) -> None:
    device = await scene.request(generate_activation_key=True)
    refused = await scene.ask(device, activation_key="a" * 32)
    await scene.ask(device)
    assert await scene.login(device)
    rows: list[dict[str, Any]] = (await program("request", "explain", "gw-1", "--json")).json()
    for row in rows:
        assert row.keys() == {
            "at", "until", "times", "what", "text", "by", "reason", "account", "correlation_id", "detail"
        }  # fmt: skip
        assert TIME.fullmatch(row["at"])
    what = [row["what"] for row in rows]
    assert what[0] == "request_created"
    assert set(what) == {"request_created", "ask_refused", "run_started", "confirmed", "last_login"}
    [why] = [row for row in rows if row["reason"]]
    assert (why["reason"], why["correlation_id"]) == ("wrong_activation_key", refused["correlation_id"])
    lines = (await program.process("request", "explain", "gw-1")).out.splitlines()
    assert len(lines) == len(rows)
    assert all(TIMELINE_LINE.fullmatch(line) for line in lines)
    assert [line for line in lines if f"correlation_id={refused['correlation_id']}" in line]
    assert sorted(line[:20] for line in lines) == [line[:20] for line in lines]


async def test_explain_one_that_no_request_knows(scene: Scene, database: Database, program: Program) -> None:
    await scene.gate.connect(PROVISION, "nobody", "Some-Password", "stranger")
    await scene.gate.store.count_refusals(scene.gate.admission.refusals.take())
    program = program.with_(PROVISION_ACCOUNT="")
    [row] = (await program("request", "explain", "stranger", "--json")).json()
    assert (row["what"], row["reason"], row["account"]) == ("connect_refused", "unknown_user", None)
    assert (row["detail"]["username"], row["detail"]["times"]) == ("nobody", 1)
    nothing = await program("request", "explain", "another")
    assert nothing.out == "nothing is known of another\n"
    assert (await program("request", "explain", "another", "--json")).json() == []
    unknown = await program("request", "explain", "stranger", "--account", "nobody", "--json", status=INVALID)
    assert unknown.problems() == {("account", "not_found")}
