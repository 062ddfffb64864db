"""Factory credentials: rotation with an overlap, hold, and the watch for leaks."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path
from typing import Any

import pytest

from service.core.pages import Page
from service.core.problems import InvalidInput, NotFound
from service.operations import credentials, leak_watch
from service.operations.lists import Filters
from service.operations.questions import ConnectQuestion, Outcome
from tests.support.api import serving
from tests.support.command import INVALID, Program
from tests.support.database import PASSWORD
from tests.support.gate import Gate, open_gate
from tests.support.scene import PROVISION, Device, Scene

NEW = "Another-Password-1"
DAY = datetime.timedelta(days=1)
NONE = datetime.timedelta()


async def flush(gate: Gate) -> None:
    """What the hooks process does once a second."""
    await gate.store.note_credential_uses(gate.admission.uses.take())


async def knock(scene: Scene, client_id: str, password: str = PASSWORD, username: str = "fleet", **more: Any) -> str:
    """A CONNECT at the provision broker; `allowed`, or the true reason."""
    await scene.gate.follow()
    question = ConnectQuestion(username=username, password=password, client_id=client_id, **more)
    verdict = await scene.gate.admission.connect(scene.gate.admission.brokers.known[PROVISION], question)
    await flush(scene.gate)
    return verdict.reason or "allowed"


async def fleet(scene: Scene, *client_ids: str) -> list[Device]:
    return [await scene.request(client_id, provision_username="fleet") for client_id in client_ids]


async def show(scene: Scene) -> dict[str, Any]:
    return await credentials.show_credential(scene.admin, "acme", "fleet")


async def refused(awaitable: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        await awaitable
    return [(problem.field, problem.rule) for problem in caught.value.problems]


async def test_both_passwords_work_until_the_old_one_is_used_no_more(scene: Scene) -> None:
    await fleet(scene, "gw-1", "gw-2")
    assert await credentials.rotate(scene.admin, "acme", "fleet", password=NEW, overlap=DAY) is None
    assert [await knock(scene, "gw-1"), await knock(scene, "gw-2"), await knock(scene, "gw-1")] == ["allowed"] * 3
    old = (await show(scene))["rotation"]["old_password"]
    assert (old["clients"], old["waiting"], old["first_waiting"]) == (2, 2, ["gw-1", "gw-2"])
    assert await knock(scene, "gw-1", NEW) == "allowed"
    assert (await show(scene))["rotation"]["old_password"]["first_waiting"] == ["gw-2"]
    assert await refused(credentials.finish(scene.admin, "acme", "fleet")) == [("username", "old_password_in_use")]
    assert await knock(scene, "gw-2", NEW) == "allowed"
    assert (await show(scene))["rotation"]["old_password"]["clients"] == 0
    await credentials.finish(scene.admin, "acme", "fleet")
    assert [await knock(scene, "gw-1"), await knock(scene, "gw-1", NEW)] == ["wrong_password", "allowed"]
    assert (await show(scene))["rotation"] is None
    assert await refused(credentials.finish(scene.admin, "acme", "fleet")) == [("username", "no_rotation")]
    kinds = [row["kind"] for row in await scene.events(None) if row["kind"].startswith("credential_")]
    assert kinds == ["credential_rotated", "credential_rotation_finished"]


async def test_who_was_provisioned_with_the_old_password_keeps_nobody_waiting(scene: Scene) -> None:
    (device,) = await fleet(scene, "gw-1")
    await credentials.rotate(scene.admin, "acme", "fleet", password=NEW)
    assert await knock(scene, "gw-1") == "allowed"
    await scene.ask(device)
    assert await scene.login(device)
    old = (await show(scene))["rotation"]["old_password"]
    assert (old["clients"], old["waiting"]) == (1, 0)
    await credentials.finish(scene.admin, "acme", "fleet")


async def test_an_overlap_ends_by_itself(scene: Scene) -> None:
    """At once where it is asked for, remembered passwords as well; what is left in the row goes with the sweep."""
    await fleet(scene, "gw-1")
    await credentials.rotate(scene.admin, "acme", "fleet", password=NEW, overlap=DAY)
    assert await knock(scene, "gw-1") == "allowed"
    await scene.database.execute(
        "UPDATE credentials SET rotated_at = rotated_at - interval '2 days', overlap_until = clock_timestamp()"
    )
    assert await knock(scene, "gw-1") == "wrong_password"
    assert (await show(scene))["rotation"] is None
    assert await leak_watch.end_overlaps(scene.desk.pool, scene.database.event_key) == ["fleet"]
    assert await scene.database.value("SELECT previous_password_bcrypt FROM credentials") is None
    assert await leak_watch.end_overlaps(scene.desk.pool, scene.database.event_key) == []
    assert (await scene.events(None))[-1]["reason"] == "overlap_over"


async def test_without_an_overlap_the_old_password_is_refused_at_once(scene: Scene) -> None:
    await fleet(scene, "gw-1")
    assert await knock(scene, "gw-1") == "allowed"
    made = await credentials.rotate(scene.admin, "acme", "fleet", overlap=NONE)
    assert made is not None
    assert [await knock(scene, "gw-1"), await knock(scene, "gw-1", made)] == ["wrong_password", "allowed"]


async def test_a_rotation_that_cannot_be(scene: Scene) -> None:
    """All problems at once, and nothing is changed."""
    await fleet(scene, "gw-1")
    rotate = credentials.rotate
    too_long = datetime.timedelta(days=367)
    wrong = await refused(rotate(scene.admin, "acme", "fleet", password="short", overlap=too_long))
    assert {field for field, _ in wrong} == {"provision_password", "overlap"}
    same = await refused(rotate(scene.admin, "acme", "fleet", password=PASSWORD))
    assert same == [("provision_password", "same_password")]
    await rotate(scene.admin, "acme", "fleet", password=NEW)
    again = await refused(rotate(scene.admin, "acme", "fleet", password=NEW))
    assert again == [("provision_password", "same_password"), ("username", "rotation_open")]
    with pytest.raises(NotFound):
        await rotate(scene.admin, "acme", "nobody", password=NEW)
    assert [await knock(scene, "gw-1"), await knock(scene, "gw-1", NEW)] == ["allowed", "allowed"]


async def test_a_new_request_must_know_the_new_password(scene: Scene) -> None:
    await fleet(scene, "gw-1")
    await credentials.rotate(scene.admin, "acme", "fleet", password=NEW)
    with pytest.raises(InvalidInput):
        await fleet(scene, "gw-2")
    await scene.request("gw-2", provision_username="fleet", provision_password=NEW)


async def test_while_one_has_two_passwords_every_refusal_pays_for_two(scene: Scene) -> None:
    """D5: one hash and token each, or two for everybody; the first password, or a remembered one, costs no more."""
    await fleet(scene, "gw-1")
    other = await scene.request("gw-9")
    tokens = {"rate": 1e-9, "burst": 1000}
    url, key = scene.database.url("hooks"), scene.database.event_key

    async def cost(gate: Gate, username: str, password: str, client_id: str) -> tuple[str, int]:
        before = gate.admission.slow_hashes.hasher.hashes
        verdict = await gate.connect(PROVISION, username, password, client_id)
        return verdict.reason or "allowed", gate.admission.slow_hashes.hasher.hashes - before

    async def costs(gate: Gate) -> list[tuple[str, int]]:
        return [
            await cost(gate, "fleet", PASSWORD + "x", "gw-1"),
            await cost(gate, "nobody", PASSWORD, "gw-1"),
            await cost(gate, other.factory_username, PASSWORD, "gw-1"),
            await cost(gate, other.factory_username, PASSWORD + "x", "gw-9"),
        ]

    reasons = ["wrong_password", "unknown_user", "no_matching_request", "wrong_password"]
    async with open_gate(url, key, hashes=tokens) as gate:
        await gate.follow()
        assert await costs(gate) == [(reason, 1) for reason in reasons]
    await credentials.rotate(scene.admin, "acme", "fleet", password=NEW)
    async with open_gate(url, key, hashes=tokens) as gate:
        await gate.follow()
        assert await costs(gate) == [(reason, 2) for reason in reasons]
        assert await cost(gate, "fleet", PASSWORD, "gw-1") == ("allowed", 2)
        assert await cost(gate, "fleet", PASSWORD, "gw-1") == ("allowed", 0)
        assert await cost(gate, "fleet", NEW, "gw-1") == ("allowed", 1)
    async with open_gate(url, key, hashes={"rate": 1e-9, "burst": 3}) as gate:
        await gate.follow()
        assert await cost(gate, "nobody", PASSWORD, "gw-1") == ("unknown_user", 2)
        assert await cost(gate, "fleet", PASSWORD, "gw-1") == ("over_budget", 1), "a token each"


async def test_a_held_credential_waits_and_no_other(scene: Scene) -> None:
    await fleet(scene, "gw-1")
    other = await scene.request("gw-9")
    assert await knock(scene, "gw-1") == "allowed"
    await credentials.hold(scene.admin, "acme", "fleet")
    await credentials.hold(scene.admin, "acme", "fleet")
    verdict = await scene.gate.connect(PROVISION, "fleet", PASSWORD, "gw-1")
    assert (verdict.outcome, verdict.reason) == (Outcome.UNAVAILABLE, "credential_held")
    assert await knock(scene, "gw-1", PASSWORD + "x") == "wrong_password"
    assert await scene.factory_login(other)
    assert await scene.gate.acl(PROVISION, "fleet", "gw-1", "prov/v1/gw-1/request"), "who is connected stays"
    shown = await show(scene)
    assert shown["held_by"] == scene.admin.author.actor
    await credentials.lift(scene.admin, "acme", "fleet")
    await credentials.lift(scene.admin, "acme", "fleet")
    assert await knock(scene, "gw-1") == "allowed"
    kinds = [row["kind"] for row in await scene.events(None) if row["kind"].startswith("credential_")]
    assert kinds == ["credential_held", "credential_lifted"]


async def judge(scene: Scene) -> dict[str, tuple[tuple[str, ...], bool]]:
    found = await leak_watch.watch(scene.desk.pool, scene.database.event_key)
    return {name: (leak.signs, leak.hold) for name, leak in found.items()}


async def test_unknown_client_ids_speak_for_a_leak(scene: Scene) -> None:
    """Distinct ones, and with the right password only; told once, and again after a lift only when it goes on."""
    await fleet(scene, "gw-1")
    await credentials.watch(scene.admin, "acme", "fleet", unknown_client_ids=3, hold=True)
    for client_id in ("x-1", "x-2", "x-2", "x-2"):
        assert await knock(scene, client_id) == "no_matching_request"
    for client_id in ("x-3", "x-4"):
        assert await knock(scene, client_id, "Wrong-Password-1") == "wrong_password"
    assert await judge(scene) == {}
    assert await knock(scene, "x-5") == "no_matching_request"
    assert await judge(scene) == {"fleet": (("unknown_client_ids",), True)}
    assert await judge(scene) == {}, "told once"
    assert await knock(scene, "gw-1") == "credential_held"
    assert (await show(scene))["held_by"] == "leak watch"
    await credentials.lift(scene.admin, "acme", "fleet")
    assert await judge(scene) == {}
    assert await knock(scene, "gw-1") == "allowed"
    told = [row for row in await scene.events(None) if row["kind"] == "credential_leak_suspected"]
    assert len(told) == 1


async def test_wrong_keys_and_addresses_speak_for_a_leak(scene: Scene) -> None:
    device = await scene.request("gw-1", provision_username="fleet", generate_activation_key=True)
    await credentials.watch(scene.admin, "acme", "fleet", wrong_keys=2, addresses=3)
    for key in ("WRONG-KEY", "OTHER-KEY"):
        await scene.ask(device, activation_key=key)
    assert await judge(scene) == {"fleet": (("wrong_keys",), False)}
    for number in range(3):
        assert await knock(scene, "gw-1", address=f"192.0.2.{number}") == "allowed"
    assert (await show(scene))["last_two_hours"] == {"unknown_client_ids": 0, "wrong_keys": 2, "addresses": 3}
    assert await judge(scene) == {}, "told for the other reason, and nothing is held"
    await credentials.watch(scene.admin, "acme", "fleet", hold=True)
    assert await judge(scene) == {"fleet": (("wrong_keys", "addresses"), True)}


async def test_a_watch_that_cannot_be(scene: Scene) -> None:
    await fleet(scene, "gw-1")
    wrong = await refused(credentials.watch(scene.admin, "acme", "fleet", wrong_keys=-1, addresses=1001))
    assert [field for field, _ in wrong] == ["wrong_keys", "addresses"]
    await credentials.watch(scene.admin, "acme", "fleet", unknown_client_ids=0)
    assert (await show(scene))["watch"] == {"unknown_client_ids": 0, "wrong_keys": 20, "addresses": 0, "hold": False}


async def test_a_flood_of_client_ids_takes_a_bounded_number_of_rows(scene: Scene) -> None:
    await fleet(scene, "gw-1")
    for part in range(3):
        rows = [
            {"username": "fleet", "kind": "unknown_client_id", "what": f"x-{part}-{number}", "count": 1}
            for number in range(800)
        ]
        await scene.gate.store.note_credential_uses(rows)
    assert await scene.database.value("SELECT count(*) FROM credential_uses") == 1001
    assert await scene.database.value("SELECT sum(count) FROM credential_uses") == 2400


async def test_lists_by_pages(scene: Scene) -> None:
    for number in range(3):
        await scene.request(f"gw-{number}")
    await fleet(scene, "gw-8", "gw-9")
    rows, _ = await credentials.list_page(scene.admin, "acme", Filters(), Page(sort="name"))
    assert [row["name"] for row in rows] == ["factory-gw-0", "factory-gw-1", "factory-gw-2", "fleet"]
    assert [row["requests"] for row in rows] == [1, 1, 1, 2]


async def test_over_the_api(scene: Scene) -> None:
    """Each route, with versions; the generated password is in one answer."""
    await fleet(scene, "gw-1")
    path = "/accounts/acme/credentials/fleet"
    async with serving(scene.admin) as api:
        listed = (await api("GET", "/accounts/acme/credentials?text=fle")).document
        assert ([row["name"] for row in listed["items"]], listed["next"]) == (["fleet"], None)
        rotated = await api("POST", f"{path}/rotation", {"overlap_seconds": 3600})
        made = rotated.document["provision_password"]
        assert rotated.document["rotation"]["old_password"]["clients"] == 0
        shown = await api("GET", path)
        assert made not in shown.text
        assert [await knock(scene, "gw-1"), await knock(scene, "gw-1", made)] == ["allowed", "allowed"]
        stale = await api("POST", f"{path}/rotation/finish", {}, If_Match='"7"')
        assert stale.status == 412
        finished = await api("POST", f"{path}/rotation/finish", {}, If_Match=shown.headers["ETag"])
        assert finished.document["rotation"] is None
        assert (await api("POST", f"{path}/hold")).document["held_by"] == "token root"
        assert (await api("POST", f"{path}/lift")).document["held_at"] is None
        watched = await api("PATCH", path, {"wrong_keys": 5, "hold": True})
        assert watched.document["watch"] == {"unknown_client_ids": 20, "wrong_keys": 5, "addresses": 0, "hold": True}
        assert (await api("PATCH", path, {"wrong_keys": 5000})).problems == {("wrong_keys", "wrong_keys")}
        assert (await api("GET", "/accounts/acme/credentials/nobody-1")).status == 404


async def test_by_command(scene: Scene, program: Program, tmp_path: Path) -> None:
    await fleet(scene, "gw-1")
    file = tmp_path / "fleet"
    await program("credential", "rotate", "fleet", "--overlap", "12h", "--new-password-file", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [await knock(scene, "gw-1"), await knock(scene, "gw-1", file.read_text().strip())] == ["allowed", "allowed"]
    assert (await program("credential", "finish", "fleet", "--json")).json()["rotation"] is None
    chosen = tmp_path / "chosen"
    chosen.write_text(NEW + "\n")
    await program("credential", "rotate", "fleet", "--overlap", "0", "--password-file", str(chosen))
    assert [await knock(scene, "gw-1", file.read_text().strip()), await knock(scene, "gw-1", NEW)] == [
        "wrong_password",
        "allowed",
    ]
    await program("credential", "hold", "fleet")
    assert "fleet" in (await program("credential", "list")).out
    held = (await program("credential", "show", "fleet", "--json")).json()
    assert held["held_by"] is not None
    await program("credential", "lift", "fleet")
    watched = await program("credential", "watch", "fleet", "--addresses", "9", "--json")
    assert watched.json()["watch"]["addresses"] == 9
    await program("credential", "watch", "fleet", status=INVALID)
    await program("credential", "rotate", "fleet", "--overlap", "soon", status=INVALID)
    await program("credential", "show", "nobody", status=INVALID)
    both = ("--password-file", str(chosen), "--new-password-file", str(tmp_path / "x"))
    await program("credential", "rotate", "fleet", *both, status=INVALID)
