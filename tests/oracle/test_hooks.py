"""The hooks as a process, asked over HTTP as brokers ask: 0 differences from the oracle (G10)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from embedded.processes import Managed, answers, free_port
from tests.oracle.oracle import Answer, Oracle
from tests.oracle.platform import ROLES, Platform, looking, made, new_seed, secret_of
from tests.oracle.questions import Asker, Question
from tests.oracle.world import UNKNOWN
from tests.support import postgres
from tests.support.figures import record

ROOT = Path(__file__).resolve().parents[2]
CONNECTS = {"allow": 200, "deny": 403, "held": 503}
# What a login changed is heard of within this (seconds, in steps): a difference that stays is one.
PATIENCE, STEP = 5.0, 0.1


@asynccontextmanager
async def hooks_of(platform: Platform, folder: Path) -> AsyncIterator[int]:
    """`python -m service hooks`; the port."""
    port, metrics = free_port(), free_port()
    process = Managed(
        name="hooks",
        command=[sys.executable, "-m", "service", "hooks"],
        folder=folder,
        environment={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PROVISION_HOOKS_DATABASE_URL": platform.database.url("hooks").reveal(),
            "PROVISION_EVENT_KEY": base64.b64encode(platform.database.event_key).decode(),
            "PROVISION_HOOKS_PORT": str(port),
            "PROVISION_HOOKS_METRICS_PORT": str(metrics),
            "PROVISION_SLOW_HASH_RATE": "1000000",
            "PROVISION_SLOW_HASH_BURST": "1000000",
        },
        is_ready=lambda: answers(f"http://127.0.0.1:{metrics}/readyz"),
    )
    process.start()
    try:
        yield port
    finally:
        process.stop()


class Http:
    """Asks the hooks in the name of each broker."""

    def __init__(self, port: int, sessions: dict[str, aiohttp.ClientSession]) -> None:
        self._url = f"http://127.0.0.1:{port}/hooks"
        self._sessions = sessions

    @classmethod
    @asynccontextmanager
    async def opened(cls, port: int) -> AsyncIterator[Http]:
        """With a session for each broker; the unknown one has a good one's secret."""
        async with AsyncExitStack() as stack:
            sessions = {}
            for broker in (*ROLES, UNKNOWN):
                basic = aiohttp.encode_basic_auth(broker, secret_of(broker))
                session = aiohttp.ClientSession(headers={"Authorization": basic})
                sessions[broker] = await stack.enter_async_context(session)
            yield cls(port, sessions)

    async def _post(self, broker: str, route: str, **body: object) -> int:
        data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
        headers = {"Content-Type": "application/json"}
        async with self._sessions[broker].post(f"{self._url}/{route}", data=data, headers=headers) as response:
            return response.status

    async def connect(self, question: Question) -> int:
        """The status of its CONNECT."""
        return await self._post(
            question.broker,
            "user",
            username=question.username,
            password=question.password,
            clientid=question.client_id,
            clean=question.clean,
        )

    async def use(self, question: Question) -> int:
        """The status of its topic."""
        return await self._post(
            question.broker,
            "acl",
            username=question.username,
            clientid=question.client_id,
            topic=question.topic,
            acc=question.acc,
        )


def expected(question: Question, answer: Answer) -> tuple[int, int]:
    """Statuses; a broker that nobody knows is told nothing (401)."""
    if question.broker == UNKNOWN:
        return 401, 401
    return CONNECTS[answer.connect], 200 if answer.access else 403


async def compare(http: Http, oracle: Oracle, questions: list[Question]) -> Counter[str]:
    """One after the other: logins are written here, and the oracle is asked before each."""
    counted: Counter[str] = Counter()
    for question in questions:
        for _ in range(int(PATIENCE / STEP)):
            wanted = expected(question, (await oracle.answers([question]))[0])
            connected = await http.connect(question)
            # The topic's check is of what the login left.
            again = expected(question, (await oracle.answers([question]))[0])
            got = connected, await http.use(question)
            if got == (wanted[0], again[1]):
                break
            await asyncio.sleep(STEP)
        else:
            counted["differences"] += 1
            print(question.brief(), wanted, again, got, sep="\n  ")
        counted.update(["questions", f"connect {got[0]}", f"access {got[1]}"])
    return counted


async def run(server: postgres.Server, template: str, folder: Path, *, units: int, number: int) -> Counter[str]:
    """A world and so many questions about it, by a seed."""
    seed = new_seed()
    async with (
        made(server, template, seed, units) as platform,
        hooks_of(platform, folder) as port,
        Http.opened(port) as http,
    ):
        questions = list(Asker(platform.world, random.Random(seed), one_time=False).questions(number))
        async with looking(platform.database) as connection:
            return await compare(http, Oracle(connection=connection), questions)


def judge(counted: Counter[str], command: str) -> None:
    """No difference, and enough of each kind."""
    number, differences = counted["questions"], counted["differences"]
    record(
        "G10",
        "decisions of the hooks over HTTP against an independent oracle, logins written",
        "0 differences",
        f"{number:,} tuples, {differences} differences",
        command,
        differences == 0,
    )
    assert differences == 0
    assert min(counted["connect 200"], counted["connect 403"]) > number / 20
    assert counted["access 200"] > number / 200


async def test_sample(server: postgres.Server, template: str, tmp_path: Path) -> None:
    judge(await run(server, template, tmp_path, units=60, number=160), "make test ARGS=tests/oracle")


@pytest.mark.long
async def test_all(server: postgres.Server, template: str, tmp_path: Path) -> None:
    judge(await run(server, template, tmp_path, units=600, number=8_000), "make test-long ARGS=tests/oracle")
