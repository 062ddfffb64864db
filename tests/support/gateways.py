"""The responder's operations on Kura's wire without MQTT: what a gateway says, and what it is asked."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from service.core import kura_messages
from service.core.kura_messages import Kind, Topic
from service.core.steps import Rules
from service.mqtt import kura_payload
from service.mqtt.kura_payload import Metric, Payload
from service.operations.kura import KuraDesk
from tests.support.scene import Scene

_clock = itertools.count(0, 10)  # ten seconds between two messages: rates never bind by chance


def new_kura_desk(scene: Scene, rules: Rules | None = None, **changes: Any) -> KuraDesk:
    """On the scene's database."""
    desk = scene.desk
    values = {"pool": desk.pool, "run_keys": desk.run_keys, "event_key": desk.event_key, "rules": rules or Rules()}
    return KuraDesk(**{**values, **changes})


@dataclass(kw_only=True)
class Asked:
    """A request of the platform."""

    topic: str
    payload: Payload

    @property
    def what(self) -> str:
        """Such as CONF-V1/PUT/configurations."""
        return self.topic.split("/", 3)[3]

    @property
    def request_id(self) -> str:
        return str(self.payload.metrics["request.id"])

    @property
    def job_id(self) -> int:
        job_id = self.payload.metrics["job.id"]
        assert isinstance(job_id, int)
        return job_id


@dataclass(kw_only=True)
class Gateway:
    """A gateway that says what a test wants."""

    desk: KuraDesk
    client_id: str = "gw-1"
    activation_key: str | None = None
    asked: list[Asked] = field(default_factory=list)

    async def say(self, topic: Topic, data: bytes) -> list[Asked]:
        outgoing = await self.desk.handle(topic, data, next(_clock))
        new = [Asked(topic=to, payload=kura_payload.decode(sent, 2**24)) for to, sent in outgoing]
        for asked in new:
            assert asked.payload.metrics["requester.client.id"] == kura_messages.requester_of(self.client_id)
        self.asked += new
        return new

    async def prov(self, **metrics: Metric) -> list[Asked]:
        told = {"activationKey": self.activation_key, **metrics} if self.activation_key else metrics
        return await self.say(Topic(kind=Kind.PROV, client_id=self.client_id), kura_payload.encode(told))

    async def birth(self) -> list[Asked]:
        return await self.say(Topic(kind=Kind.BIRTH, client_id=self.client_id), kura_payload.encode({"uptime": 1}))

    async def reply(self, asked: Asked | str, code: int = 200, **metrics: Metric) -> list[Asked]:
        request_id = asked if isinstance(asked, str) else asked.request_id
        topic = Topic(kind=Kind.REPLY, client_id=self.client_id, resource=request_id)
        return await self.say(topic, kura_payload.encode({"response.code": code, **metrics}))

    async def notify(
        self, asked: Asked | int, status: str, resource: str = "install", **metrics: Metric
    ) -> list[Asked]:
        job_id = asked if isinstance(asked, int) else asked.job_id
        topic = Topic(kind=Kind.NOTIFY, client_id=self.client_id, resource=resource)
        told = {"job.id": job_id, f"dp.{resource}.status": status, **metrics}
        return await self.say(topic, kura_payload.encode(told))

    async def install(self, asked: Asked) -> list[Asked]:
        """Everything that a gateway says when all goes well; returns what comes next."""
        await self.reply(asked)
        for status in ("IN_PROGRESS", "COMPLETED"):
            await self.notify(asked, status, "download")
        return await self.notify(asked, "COMPLETED")
