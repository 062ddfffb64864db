"""Real Mosquittos with a real plugin (PLUGIN): what really gets in, through and out is what the oracle says (G10)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from tests.e2e.mqtt_raw import Client
from tests.oracle.oracle import Answer, Oracle
from tests.oracle.platform import empty, fill, looking, new_seed
from tests.oracle.questions import LONGEST, RESPONDER, Asker, Question
from tests.oracle.world import OTHER, PROVISION, SERVED, World
from tests.support import postgres, world
from tests.support.figures import record
from tests.support.scene import open_administration

READ, WRITE, SUBSCRIBE = 1, 2, 4
# Of so many, there are some of each kind.
ENOUGH = 2_000
# What a login changed is heard of within this (seconds, in steps): a difference that stays is one.
PATIENCE, STEP = 5.0, 0.1
# Mosquitto's own limits: levels of a topic, and a packet with a topic, its lengths and a short payload.
MOST_LEVELS, LONGEST_TOPIC = 200, 65_536 - 64
READ_BY_RESPONDER = ("prov/v1/+/request", "prov/v1/+/status", "$EDC/provision/+/MQTT/#", "$EDC/provision/+/+/REPLY/#",
                     "$EDC/provision/+/+/NOTIFY/+/#")  # fmt: skip


@dataclass(kw_only=True)
class Field:
    """The brokers' ports by name, and witnesses by broker and account, who read and write all of its topics."""

    ports: dict[str, int]
    world: World
    tells_clean: bool
    _witnesses: dict[tuple[str, str], Client] = field(default_factory=dict)

    async def witness(self, question: Question) -> Client | None:
        """Who sees what is published to the topic; None: nobody may."""
        if question.broker == PROVISION:
            return await self._witness(PROVISION, RESPONDER, RESPONDER, "", READ_BY_RESPONDER)
        levels = question.topic.split("/")
        name = levels[1] if levels[0] == "$EDC" and len(levels) > 1 else levels[0]
        account = self.world.accounts.get(name)
        if account is None:
            return None
        filters = (f"{name}/#", f"$EDC/{name}/#")
        return await self._witness(question.broker, account.persons[0], f"witness-{account.id}", name, filters)

    async def _witness(
        self, broker: str, username: str, client_id: str, account: str, filters: tuple[str, ...]
    ) -> Client | None:
        key = broker, account
        if key in self._witnesses and not await self._witnesses[key].ping():
            self._witnesses.pop(key).close()
        if key not in self._witnesses:
            client = await Client.open(self.ports[broker], version=5)
            password = self.world.passwords[username].current
            if await client.connect(client_id, username=username, password=password, keepalive=0) != 0:
                client.close()
                return None
            for one in filters:
                assert await client.subscribe(one) == 0
            self._witnesses[key] = client
        return self._witnesses[key]

    def close(self) -> None:
        """All witnesses go."""
        for client in self._witnesses.values():
            client.close()


def takes(text: str) -> bool:
    """Whether Mosquitto takes a text at all: UTF-8 without control characters and noncharacters."""
    return all(
        ord(c) > 0x1F
        and not 0x7F <= ord(c) <= 0x9F
        and not 0xD800 <= ord(c) <= 0xDFFF
        and not 0xFDD0 <= ord(c) <= 0xFDEF
        and ord(c) & 0xFFFE != 0xFFFE
        for c in text
    )


def takes_topic(topic: str) -> bool:
    """Whether it takes this topic."""
    raw = topic.encode("utf-8", "surrogatepass")
    return takes(topic) and topic.count("/") <= MOST_LEVELS and 0 < len(raw) <= LONGEST_TOPIC


def as_sent(question: Question, asker: Asker, *, tells_clean: bool) -> Question:
    """What the plugin sees of it: a password up to its first NUL, and whether the session is clean, if it tells."""
    password = question.password.partition("\0")[0]
    says = question.says
    if password != question.password:
        says = asker.says(question.username, password) if password else "none"
    return replace(question, password=password, says=says, clean=question.clean is not False if tells_clean else None)


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


async def observe(area: Field, question: Question, answer: Answer) -> tuple[bool, bool]:
    """Whether it got in, and whether its topic was used."""
    witness = await area.witness(question)
    client = await Client.open(area.ports[question.broker], version=5 if question.acc == WRITE else 4)
    try:
        code = await client.connect(
            raw(question.client_id),
            username=raw(question.username),
            password=raw(question.password),
            clean=question.clean is not False,
        )
        if code != 0:
            return False, answer.access and takes_topic(question.topic)
        used = await {READ: _read, WRITE: _write, SUBSCRIBE: _subscribe}[question.acc](client, question, witness)
        await client.disconnect()
        return True, used
    finally:
        client.close()


async def _subscribe(client: Client, question: Question, witness: Client | None) -> bool:
    return await client.subscribe(raw(question.topic)) in (0, 1, 2)


async def _write(client: Client, question: Question, witness: Client | None) -> bool:
    """A witness sees it, or nobody; the answer says the same."""
    code = await client.publish(raw(question.topic), b"x", qos=1)
    used = code is not None and code < 0x80
    if witness is not None:
        assert (question.topic in await witness.waiting_messages()) is used, question.brief()
    return used


async def _read(client: Client, question: Question, witness: Client | None) -> bool:
    """Whether what a witness may publish is delivered. (One whose witness may not, is not written to.)"""
    subscribed = await client.subscribe(raw(question.topic)) in (0, 1, 2)
    if "+" in question.topic or "#" in question.topic:
        return False  # a filter: nothing is delivered under it
    if witness is None or not takes_topic(question.topic):
        return subscribed
    if (await witness.publish(question.topic, b"x", qos=1) or 0) >= 0x80:
        return subscribed
    await witness.waiting_messages()
    return question.topic in await client.waiting_messages()


async def compare(area: Field, oracle: Oracle, asker: Asker, questions: list[Question]) -> Counter[str]:
    """One after the other: logins are written, and the oracle is asked before each."""
    counted: Counter[str] = Counter()
    for question in questions:
        seen = as_sent(question, asker, tells_clean=area.tells_clean)
        for _ in range(int(PATIENCE / STEP)):
            answer = (await oracle.answers([seen]))[0]
            fits = takes(question.username) and takes(question.client_id)
            wanted = answer.connect == "allow" and fits, answer.access and takes_topic(question.topic)
            got = await observe(area, question, answer)
            if got == wanted:
                break
            await asyncio.sleep(STEP)
        else:
            counted["differences"] += 1
            print(question.brief(), answer, got, sep="\n  ")
        counted["questions"] += 1
        counted["in"] += got[0]
        counted[f"used {question.acc}"] += all(got)
    return counted


def is_possible(area: Field, question: Question) -> bool:
    """Whether a client can put it to a broker; ~responder's own client id is the witness's."""
    if question.broker == PROVISION and question.client_id == RESPONDER:
        return False
    return (
        question.broker in area.ports
        and question.acc in (READ, WRITE, SUBSCRIBE)
        and len(raw(question.topic)) <= LONGEST
    )


@asynccontextmanager
async def opened(server: postgres.Server, template: str, seed: int, units: int) -> AsyncIterator[tuple[Field, Oracle]]:
    """Three brokers and the hooks, and a world."""
    async with empty(server, template) as database, open_administration(database) as admin, looking(database) as eye:
        unlimited = {"PROVISION_SLOW_HASH_RATE": "1000000", "PROVISION_SLOW_HASH_BURST": "1000000"}
        product = world.World(database=database, admin=admin, settings=unlimited)
        try:
            await product.prepare()
            other, port = await product.add_account_broker(OTHER)
            brokers = {row["name"]: row["id"] for row in await eye.fetch("SELECT name, id FROM brokers")}
            made = await fill(eye, seed, units, brokers=brokers, responder=product.responder_password)
            product.start(product.hooks, product.provision_broker, product.account_broker, other)
            ports = {PROVISION: product.provision_port, SERVED: product.account_port, OTHER: port}
            area = Field(ports=ports, world=made, tells_clean=world.is_own_plugin())
            try:
                yield area, Oracle(connection=eye)
            finally:
                area.close()
        finally:
            product.close()


async def run(server: postgres.Server, template: str, *, units: int, number: int) -> Counter[str]:
    """A world and so many questions about it, by a seed; of those that a client can put to a broker."""
    seed = new_seed()
    async with opened(server, template, seed, units) as (area, oracle):
        asker = Asker(area.world, random.Random(seed), one_time=False)
        possible = filter(lambda question: is_possible(area, question), asker.questions(10 * number))
        return await compare(area, oracle, asker, [next(possible) for _ in range(number)])


def judge(counted: Counter[str], command: str) -> None:
    """No difference, and enough of each kind."""
    number, differences = counted["questions"], counted["differences"]
    record(
        "G10",
        "what real Mosquittos with a real plugin did, against an independent oracle",
        "5,000 tuples, 0 differences",
        f"{number:,} tuples, {differences} differences",
        command,
        differences == 0,
    )
    assert differences == 0
    used = [counted[f"used {acc}"] for acc in (READ, WRITE, SUBSCRIBE)]
    assert counted["in"] > number / 20
    assert sum(used) > 0
    assert number < ENOUGH or min(used) > number / 200


async def test_sample(server: postgres.Server, template: str) -> None:
    judge(await run(server, template, units=60, number=160), "make test ARGS=tests/oracle")


@pytest.mark.long
async def test_all(server: postgres.Server, template: str) -> None:
    judge(await run(server, template, units=500, number=5_000), "make test-long ARGS=tests/oracle")
