"""What the plugin tells of connections, on a real Mosquitto: by pointers, in the order of its events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.mqtt_raw import Client
from tests.e2e.plugin.broker import Broker
from tests.e2e.plugin.conftest import StartBroker
from tests.e2e.plugin.hooks_stub import ALLOW, DENY, TROUBLE, Hooks, Question, Reply, answer

pytestmark = pytest.mark.own_plugin

FOLLOWED = b'{"ok":true,"position":"1:1:","as_of":"1","lost":false,"changes":[]}'
GRANTS = '{"ok":true,"as_of":"5","grants":[["#",7]]}'
GRANTED = answer(200, GRANTS.encode())


class Told:
    """Hooks that let everybody in but `mallory`, and what they were told."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks, self.lost = hooks, 0
        hooks.judge = self.judge

    def judge(self, question: Question) -> Reply:
        """The answer to a question."""
        if question.route.startswith("changes"):
            return Reply(answer(200, FOLLOWED).raw, delay=0.05)
        if question.route == "user":
            return DENY if question.json["username"] == "mallory" else GRANTED
        if question.route == "clients":
            renewed = ",".join(GRANTS for _ in question.json["clients"])
            return answer(200, f'{{"ok":true,"clients":[{renewed}]}}'.encode())
        if question.route == "reports" and self.lost and "connections" in question.json:
            self.lost -= 1
            return TROUBLE
        return DENY if question.route == "superuser" else ALLOW

    def rows(self) -> list[tuple[str, bool]]:
        """(client id, whether it is connected), in their order."""
        reports = self.hooks.asked("reports")
        rows: list[dict[str, Any]] = [row for report in reports for row in report.get("connections", [])]
        return [(row["clientid"], row["connected"]) for row in rows]

    async def becomes(self, *rows: tuple[str, bool]) -> None:
        """All that was told, and nothing more within the time that it takes to be told."""
        async with asyncio.timeout(20):
            while len(self.rows()) < len(rows):  # noqa: ASYNC110  what is asked for is a list that grows
                await asyncio.sleep(0.02)
        await asyncio.sleep(1.3)
        assert sorted(self.rows()) == sorted(rows)
        self.hooks.questions.clear()


@pytest.fixture
async def following(start_broker: StartBroker, hooks: Hooks) -> tuple[Broker, Told]:
    """A broker whose plugin decides by itself; it has told that it began."""
    told = Told(hooks)
    broker = await start_broker(options={"grants": "on"})
    async with asyncio.timeout(20):
        while not hooks.asked("reports"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert "began" in hooks.asked("reports")[0]
    hooks.questions.clear()
    return broker, told


async def test_connections_by_their_order(following: tuple[Broker, Told], hooks: Hooks) -> None:
    """A takeover is no end, nor is a refusal, nor SIGHUP; a session's old pointer means nothing."""
    broker, told = following
    older = await broker.client("c1", clean=False)
    other = await broker.client("c2")
    await told.becomes(("c1", True), ("c2", True))
    newer = await broker.client("c1", clean=False)
    assert not await older.ping()
    assert await newer.subscribe("t", 1) == 1
    async with await Client.open(broker.port) as refused:
        assert await refused.connect("c2", username="mallory", password="p") == 5
    await broker.reload()
    assert await other.ping()
    await told.becomes(("c1", True))
    newer.close()
    await told.becomes(("c1", False))
    assert await other.publish("t", b"queued", 1) == 0, "READ of a session without a connection"
    back = await broker.client("c1", clean=False)
    message = await back.message()
    assert message is not None
    assert message.topic == "t"
    await told.becomes(("c1", True))
    told.lost = 1
    await other.disconnect()
    await told.becomes(("c2", False), ("c2", False))


async def test_nobody_takes_over_who_may_be_here(following: tuple[Broker, Told]) -> None:
    broker, told = following
    client = await broker.client("c1", clean=False)
    await told.becomes(("c1", True))
    for _ in range(2):
        async with await Client.open(broker.port) as service:
            assert await service.connect("c1", username="~takeover", password="once") == 5
    assert await client.ping()
    await client.disconnect()
    async with await Client.open(broker.port) as service:
        assert await service.connect("c1", username="~takeover", password="once") == 0
        await service.disconnect()
    await told.becomes(("c1", False))
