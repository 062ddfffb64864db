"""The core, its facts and the memory before them, asked in process: 0 differences from the oracle (G10)."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from service.db import queries
from service.db.hooks import BrokerSecrets, HookStore
from service.db.pool import Pool, open_pool, translating
from service.operations.admission import Admission
from service.operations.questions import AclQuestion, ConnectQuestion, Outcome, Verdict
from tests.oracle.oracle import Answer, Oracle
from tests.oracle.platform import Platform, beating, looking, made, new_seed
from tests.oracle.questions import KINDS, Asker, Question
from tests.support import postgres
from tests.support.figures import record
from tests.support.gate import Gate, open_gate

WORKERS = 6
MOST_TRIES = 20
# Of so many, there are some of each kind.
ENOUGH = 20_000
PATIENCE = 60.0
_SQL = queries.load("hooks")


class UnwrittenStore(HookStore):
    """What a login would write is written, and taken back: every question meets the same world."""

    def __init__(self, pool: Pool, undone: Pool, **options: Any) -> None:
        super().__init__(pool, **options)
        self._undone = undone

    async def _fetch(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        if name not in ("login", "redeem_takeover"):
            return await super()._fetch(name, *arguments)
        async with translating(), self._undone.acquire(timeout=PATIENCE) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                found: list[asyncpg.Record] = await connection.fetch(_SQL[name], *arguments)
                return found
            finally:
                await transaction.rollback()


@asynccontextmanager
async def gate_of(platform: Platform, **settings: Any) -> AsyncIterator[Gate]:
    """An Admission that follows the feed and writes no login."""
    url = platform.database.url("hooks")
    async with AsyncExitStack() as stack:
        pools = [await open_pool(url, name="oracle", size=WORKERS, timeout=PATIENCE, reset=False) for _ in range(2)]
        for pool in pools:
            stack.callback(pool.terminate)
        store = UnwrittenStore(*pools, patience=PATIENCE)
        gate = await stack.enter_async_context(
            open_gate(url, platform.database.event_key, **{"store": store, **settings})
        )
        await gate.follow()
        async with beating(gate.store.heartbeat, gate.follow):
            yield gate


async def connect(admission: Admission, question: Question) -> Verdict:
    """Its CONNECT."""
    asked = ConnectQuestion(
        username=question.username, password=question.password, client_id=question.client_id, clean=question.clean
    )
    for _ in range(MOST_TRIES):
        verdict = await admission.connect(broker_of(admission, question), asked)
        # Two logins on the same rows at once: one of them is told to come again.
        if verdict.reason not in ("database_unavailable", "changed_meanwhile"):
            break
    return verdict


async def use(admission: Admission, question: Question) -> Verdict:
    """Its topic."""
    asked = AclQuestion(
        username=question.username, client_id=question.client_id, topic=question.topic, acc=question.acc
    )
    return await admission.acl(broker_of(admission, question), asked)


def broker_of(admission: Admission, question: Question) -> BrokerSecrets:
    """Who asks; nobody, where there is no such broker."""
    unknown = BrokerSecrets(name=question.broker, role=KINDS[question.broker], hashes=())
    return admission.brokers.known.get(question.broker, unknown)


def differs(answer: Answer, connected: Verdict, used: Verdict) -> bool:
    """Whether the product says something else."""
    expected = {"allow": Outcome.ALLOWED, "deny": Outcome.DENIED, "held": Outcome.UNAVAILABLE}[answer.connect]
    return connected.outcome is not expected or used.outcome is not (
        Outcome.ALLOWED if answer.access else Outcome.DENIED
    )


async def compare(gate: Gate, questions: list[Question], oracle: Oracle) -> Counter[str]:
    """Ask both; every difference is shown."""
    asked = zip(questions, await oracle.answers(questions), strict=True)
    waiting = [list(group) for _, group in itertools.groupby(asked, key=lambda pair: pair[0].login)]
    counted: Counter[str] = Counter()

    async def work() -> None:
        while waiting:
            group = waiting.pop()
            connected = await connect(gate.admission, group[0][0])
            counted["connects"] += 1
            for question, answer in group:
                used = await use(gate.admission, question)
                counted.update(["questions", answer.connect, *(["access"] if answer.access else [])])
                if differs(answer, connected, used):
                    counted["differences"] += 1
                    print(question.brief(), answer, connected, used, sep="\n  ")

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())
    return counted


async def run(server: postgres.Server, template: str, *, units: int, number: int, **settings: Any) -> Counter[str]:
    """A world and so many questions about it, by a seed."""
    seed = new_seed()
    async with made(server, template, seed, units) as platform, gate_of(platform, **settings) as gate:
        await gate.admission.brokers.load()
        questions = list(Asker(platform.world, random.Random(seed), broken=False).questions(number))
        async with looking(platform.database) as connection:
            oracle = Oracle(connection=connection, narrow_reply=settings.get("narrow_reply", False))
            return await compare(gate, questions, oracle)


def judge(counted: Counter[str], command: str) -> None:
    """No difference, and enough of each kind that one would have been seen."""
    number, differences = counted["questions"], counted["differences"]
    record(
        "G10",
        "decisions of the core against an independent oracle, in process",
        "200,000 tuples, 0 differences",
        f"{number:,} tuples on {counted['connects']:,} CONNECTs, {differences} differences",
        command,
        differences == 0,
    )
    assert differences == 0
    assert min(counted["allow"], counted["deny"]) > number / 10
    assert number / 50 < counted["access"] < number / 2
    assert number < ENOUGH or counted["held"] > number / 1000


async def test_sample(server: postgres.Server, template: str) -> None:
    judge(await run(server, template, units=150, number=2_000), "make test ARGS=tests/oracle")


async def test_sample_with_narrow_reply(server: postgres.Server, template: str) -> None:
    counted = await run(server, template, units=60, number=400, narrow_reply=True)
    assert counted["differences"] == 0


@pytest.mark.long
async def test_all(server: postgres.Server, template: str) -> None:
    judge(await run(server, template, units=2_000, number=200_000), "make test-long ARGS=tests/oracle")
