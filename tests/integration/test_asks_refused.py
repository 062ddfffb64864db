"""Asks that are refused: a generic code to the device, the reason to the event log (D10)."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.core.messages import MAX_BYTES
from service.operations import accounts, moves
from tests.support.desk import ask
from tests.support.scene import Device, Scene, new_desk, now

DAY = datetime.timedelta(days=1)
Step = Callable[[Scene, Device], Awaitable[object]]


def sql(statement: str) -> Step:
    """As a step."""
    return lambda scene, _: scene.database.execute(statement)


async def _provision(scene: Scene, device: Device) -> None:
    await scene.ask(device)
    assert await scene.login(device)


async def _abandon(scene: Scene, device: Device) -> None:
    await scene.database.execute("UPDATE provision_requests SET maximum_attempts = 1")
    await scene.ask(device)
    await scene.fail(device)


async def _ask_on_kura(scene: Scene, device: Device) -> None:
    await scene.ask(device)
    await scene.database.execute("UPDATE provision_runs SET wire = 'kura'")


# What a device that proved its key reads, and what the log says.
REFUSALS: dict[str, tuple[Step, str, str]] = {
    "account disabled": (
        lambda scene, _: accounts.set_account_enabled(scene.admin, "acme", enabled=False), "refused",
        "account_disabled",
    ),
    "request disabled": (
        lambda scene, _: moves.set_enabled(scene.admin, "acme", "gw-1", enabled=False), "refused", "request_disabled",
    ),
    "device disabled": (
        sql("INSERT INTO devices (account_id, client_id, enabled) SELECT account_id, client_id, false"
            " FROM provision_requests"), "refused", "device_disabled",
    ),
    "provisioned": (_provision, "already_provisioned", "already_provisioned"),
    "abandoned": (_abandon, "refused", "abandoned"),
    "endpoint not served": (sql("UPDATE brokers SET endpoints = '{}'"), "refused", "endpoint_not_served"),
    "another wire": (_ask_on_kura, "refused", "run_on_another_wire"),
    "not yet active": (
        sql("UPDATE provision_requests SET activates_on = clock_timestamp() + interval '2 days'"), "not_yet_active",
        "not_yet_active",
    ),
    "expired": (
        sql("UPDATE provision_requests SET activates_on = activates_on - interval '1 day',"
            " expires_on = clock_timestamp()"), "expired", "expired",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
async def test_who_proved_its_key_is_told_what_d10_says(scene: Scene, case: str) -> None:
    step, code, reason = REFUSALS[case]
    device = await scene.request(generate_activation_key=True)
    await step(scene, device)
    runs = await scene.database.value("SELECT count(*) FROM provision_runs")
    reply = await scene.ask(device, id="ask-2")
    assert (reply["id"], reply["result"], reply["code"]) == ("ask-2", "refused", code)
    allowed = {"id", "result", "code", "retry_after", "not_before", "server_time", "correlation_id"}
    assert reply.keys() <= allowed
    assert ("not_before" in reply) == (code == "not_yet_active")
    event = (await scene.events())[-1]
    assert (event["reason"], event["correlation_id"]) == (reason, reply["correlation_id"])
    assert event["kind"] == ("credential_contested" if case == "provisioned" else "ask_refused")
    assert await scene.database.value("SELECT count(*) FROM provision_runs") == runs
    wrong = await ask(scene.desk, "gw-1", activation_key="x" * 32)
    missing = await ask(scene.desk, "gw-1")
    for other in (wrong, missing):
        assert (other["code"], other["retry_after"]) == ("refused", 600), "without the key it learns nothing"
        assert "not_before" not in other


async def test_refusals_of_any_cause_look_alike(scene: Scene) -> None:
    """Unknown client id, wrong key, missing key, disabled: equal but for time and correlation id (R2)."""
    with_key = await scene.request("gw-1", generate_activation_key=True)
    await scene.request("gw-2")
    await moves.set_enabled(scene.admin, "acme", "gw-2", enabled=False)
    replies = [
        await ask(scene.desk, "unknown"),
        await ask(scene.desk, "unknown", activation_key="x" * 32),
        await ask(scene.desk, "gw-1"),
        await ask(scene.desk, "gw-1", activation_key=""),
        await ask(scene.desk, "gw-1", activation_key=(with_key.activation_key or "")[::-1]),
        await ask(scene.desk, "gw-1", activation_key=(with_key.activation_key or "").upper()),
        await ask(scene.desk, "gw-2"),
        await ask(scene.desk, "GW-1", activation_key=with_key.activation_key),
    ]
    alike = [
        {name: text for name, text in reply.items() if name not in ("server_time", "correlation_id")}
        for reply in replies
    ]
    assert all(reply == {"id": "ask-1", "result": "refused", "code": "refused", "retry_after": 600} for reply in alike)
    assert len({reply["correlation_id"] for reply in replies}) == len(replies)


async def test_not_before_and_retry_after(scene: Scene) -> None:
    moment = now().replace(microsecond=0) + DAY / 2
    await scene.request("gw-1", activates_on=moment)
    reply = await ask(scene.desk, "gw-1")
    assert datetime.datetime.fromisoformat(reply["not_before"]) == moment
    assert 0 < reply["retry_after"] <= DAY.total_seconds() / 2 + 1
    await scene.request("gw-2", activates_on=moment + 30 * DAY)
    assert (await ask(scene.desk, "gw-2"))["retry_after"] == DAY.total_seconds()


async def test_a_key_where_none_is_set_is_no_matter(scene: Scene) -> None:
    await scene.request()
    assert (await ask(scene.desk, "gw-1", activation_key="anything"))["result"] == "accepted"


async def test_a_seal_without_a_key_cannot_be(scene: Scene) -> None:
    await scene.request()
    reply = await ask(scene.desk, "gw-1", seal=True)
    assert (reply["code"], (await scene.events())[-1]["reason"]) == ("bad_message", "seal_without_key")
    assert await scene.state() == "OPEN"


async def test_busy_after_ten_wrong_keys(scene: Scene) -> None:
    """In fifteen minutes a request, at any responder; the right key is answered all the same."""
    device = await scene.request(generate_activation_key=True)
    desks = [scene.desk, new_desk(scene.database, scene.desk.pool)]
    codes = [(await ask(desks[n % 2], "gw-1", activation_key="x" * 32))["code"] for n in range(12)]
    assert codes == ["refused"] * 10 + ["busy"] * 2
    busy = await ask(scene.desk, "gw-1")
    assert (busy["code"], busy["retry_after"]) == ("busy", 900)
    counted = await scene.database.fetch(
        "SELECT broker, reason, sum(count)::int FROM refusals GROUP BY 1, 2 ORDER BY 2"
    )
    assert [tuple(row) for row in counted] == [
        ("~responder", "missing_activation_key", 1), ("~responder", "wrong_activation_key", 2),
    ]  # fmt: skip
    assert (await scene.kinds()).count("ask_refused") == 10, "beyond that they are counted"
    assert (await scene.ask(device))["result"] == "accepted"
    await scene.request("gw-2", generate_activation_key=True)
    assert (await ask(scene.desk, "gw-2"))["code"] == "refused", "each request has its own count"
    await scene.database.execute(
        "UPDATE provision_requests SET key_failures_since = key_failures_since - interval '15 minutes'"
    )
    assert (await ask(scene.desk, "gw-1"))["code"] == "refused"


UNREADABLE: tuple[tuple[bytes, str, bool], ...] = (
    (b"", "not_json", False),
    (b"\xff\xfe", "not_json", False),
    (b"{", "not_json", False),
    (b"[]", "not_an_object", False),
    (b'{"id":"1","id":"2"}', "duplicate_field", False),
    (b'{"id":NaN}', "not_json", False),
    (b'{"id":""}', "bad_id", False),
    (b'{"id":"' + b"x" * 65 + b'"}', "bad_id", False),
    (b'{"id":"a","secret":"CANARY"}', "unknown_field", True),
    (b'{"id":"a","activation_key":"CANARY\\u0000"}', "bad_activation_key", True),
    (b'{"id":"a","activation_key":"\\ud800CANARY"}', "bad_activation_key", True),
    (b'{"id":"a","seal":"yes"}', "bad_seal", True),
    (b'{"id":"a","device":{"serial":1}}', "bad_device", True),
    (b"[" * 10_000, "not_json", False),
    (b'{"id":' + b"9" * 6000 + b"}", "not_json", False),
    (b"x" * (MAX_BYTES + 1), "too_large", False),
)


async def test_unreadable_messages_are_recorded_by_length_and_hash(scene: Scene) -> None:
    """Never by content; a good ask afterwards is answered at once (T27)."""
    await scene.request()
    clock = 1e6
    for payload, reason, names_id in UNREADABLE:
        clock += 10
        reply: dict[str, Any] = json.loads(await scene.desk.ask("gw-1", payload, clock) or b"{}")
        assert (reply["code"], "id" in reply) == ("bad_message", names_id), payload[:40]
        event = (await scene.events())[-1]
        assert (event["kind"], event["reason"]) == ("message_unreadable", reason)
        assert event["correlation_id"] == reply["correlation_id"]
        assert json.loads(event["detail"]) == {"length": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    assert "CANARY" not in str(await scene.events())
    assert json.loads(await scene.desk.ask("gw-1", b'{"id":"good"}', clock) or b"{}")["result"] == "accepted"


async def test_bad_messages_are_answered_once_a_second(scene: Scene) -> None:
    """A client at most; another client's, and a good ask, are not its matter."""
    await scene.request()
    answers = [await scene.desk.ask("gw-1", b"{", 1e6 + tenth / 10) for tenth in range(31)]
    assert [index for index, answer in enumerate(answers) if answer] == [0, 10, 20, 30]
    assert await scene.desk.ask("gw-2", b"{", 1e6 + 3)
    assert json.loads(await scene.desk.ask("gw-1", b'{"id":"a"}', 1e6 + 3) or b"{}")["result"] == "accepted"


LIMITED = {
    "ask_refused": b'{"id":"a","activation_key":"wrong"}',
    "message_unreadable": b"{",
    "ask_repeated": b'{"id":"a","activation_key":"KEY"}',
    "status_ignored": b'{"run":"x","state":"installing"}',
}


@pytest.mark.parametrize("kind", LIMITED)
async def test_events_of_one_client_are_limited(scene: Scene, kind: str) -> None:
    """However often it sends, the log has a hundred and then ten a minute; refusals beyond that are counted."""
    device = await scene.run(generate_activation_key=True)
    payload = LIMITED[kind].replace(b"KEY", (device.activation_key or "").encode())
    client_id = "unknown" if kind == "ask_refused" else "gw-1"
    send = scene.desk.status if kind == "status_ignored" else scene.desk.ask
    for _ in range(130):
        await send(client_id, payload, 1e6)
    written = (await scene.kinds(client_id)).count(kind)
    assert 99 <= written <= 100
    counted = await scene.database.value("SELECT coalesce(sum(count), 0)::int FROM refusals")
    assert counted == (0 if kind == "ask_repeated" else 130 - written)


async def test_events_of_an_answer_that_is_too_large_are_limited(scene: Scene) -> None:
    """A device asks again and again; `server_error` each time, a hundred events at most."""

    device = await scene.request()
    small = dataclasses.replace(new_desk(scene.database, scene.desk.pool), answer_limit=200)
    for _ in range(130):
        reply = json.loads(await small.ask("gw-1", b'{"id":"a"}', 1e6) or b"{}")
        assert (reply["code"], reply["id"]) == ("server_error", "a")
    assert await scene.state() == "OPEN", "nothing is left of what could not be answered"
    assert await scene.database.value("SELECT count(*) FROM provision_runs") == 0
    assert (await scene.events())[-1]["reason"] == "answer_too_large"
    assert (await scene.kinds()).count("ask_refused") <= 100
    assert (await scene.ask(device))["result"] == "accepted"


async def test_odd_client_ids_reach_nothing(scene: Scene) -> None:
    """A topic's level is any text: what no request can be called is unknown, and written down."""
    for client_id in ("é", "x" * 300, "a b", "' OR ''='", "~responder", "%"):
        assert (await ask(scene.desk, client_id))["code"] == "refused"
        assert (await scene.kinds(client_id)) == ["ask_refused"]
