"""
Listening at one broker, as its one active `~responder`: a message is handled until it is done with, then acknowledged.

What a message means is the desk's; here are the connection, its return, the shares of clients, and trouble that passes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from prometheus_client import Counter, Gauge, Histogram

from service import log
from service.db.pool import TRANSIENT
from service.mqtt.client import Connection, Login, Refused, SubscribeRefused, Unreachable, first_of
from service.mqtt.leadership import Leadership
from service.operations.cases import Rate

# A reply that no device fetched for this long is worth nothing: the device asks again (seconds).
REPLY_EXPIRY = 30
# What one client may send; a device that keeps to the protocol sends a few messages a minute.
MESSAGES_A_SECOND = 5
MESSAGES_AT_ONCE = 100
RETRY_PAUSES = (0.1, 0.25, 0.5, 1.0)
RECONNECT_PAUSES = (0.2, 0.5, 1.0, 2.0)

_log = log.get("responder")

MESSAGES = Counter("responder_messages", "Messages of devices", ["kind", "outcome"])
SECONDS = Histogram("responder_seconds", "Seconds to the end of a message", ["kind"])
ACTIVE = Gauge("responder_active", "1 where this responder is the active one and connected", ["broker"])

Outgoing = tuple[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A message by its topic. `client_id` is whose share of the work it is; a topic that grants bind to a client."""

    kind: str
    client_id: str
    topic: str


class Desk(Protocol):
    """What messages are handed to."""

    def read(self, topic: str) -> Incoming | None:
        """None: nothing that concerns anybody here."""
        ...

    async def answer(self, incoming: Incoming, payload: bytes) -> Sequence[Outgoing]:
        """What is published once it is committed. Raises one of TRANSIENT where asking again later helps."""
        ...

    async def record_failure(self, incoming: Incoming, payload: bytes) -> Sequence[Outgoing]:
        """Called where `answer` raised anything else, which would come again."""
        ...


class ConnectionLost(Exception):
    """The broker's connection went while a message was handled: the next connection gets it again."""


class Listener:
    """Handles the messages of one connection after another."""

    def __init__(
        self, desk: Desk, login: Login, subscriptions: Sequence[str], *, broker: str, message_timeout: float
    ) -> None:
        self._desk = desk
        self._login = login
        self._subscriptions = subscriptions
        self._broker = broker
        self._timeout = message_timeout
        self._connection: Connection | None = None
        self._share = Rate(MESSAGES_A_SECOND, MESSAGES_AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def connected(self) -> bool:
        """Whether the broker is reached and subscribed at."""
        return self._connection is not None

    async def serve(self, leadership: Leadership) -> None:
        """Be connected for as long as this process leads."""
        attempt = 0
        while leadership.held:
            try:
                await self._serve_once(leadership)
                attempt = 0
            except (Unreachable, Refused, SubscribeRefused) as error:
                _log.warning("broker_unreachable", broker=self._broker, error=str(error))
            ACTIVE.labels(self._broker).set(0)
            self._connection = None
            await asyncio.sleep(RECONNECT_PAUSES[min(attempt, len(RECONNECT_PAUSES) - 1)])
            attempt += 1
            # A session that another responder took over must not be taken back: it leads now.
            await leadership.confirm()

    async def _serve_once(self, leadership: Leadership) -> None:
        connection: Connection | None = None
        connected = asyncio.Event()

        async def on_message(topic: str, payload: bytes) -> None:
            await connected.wait()
            assert connection is not None
            await self._handle(connection, topic, payload)

        connection = await Connection.open(self._login, on_message)
        connected.set()
        try:
            await connection.subscribe(*self._subscriptions)
            self._connection = connection
            ACTIVE.labels(self._broker).set(1)
            _log.info("responder_active", broker=self._broker, session_present=connection.session_present)
            await first_of(connection.closed.wait(), leadership.lost.wait())
        finally:
            await connection.close()

    async def _handle(self, connection: Connection, topic: str, payload: bytes) -> None:
        """Until the message is done with. Raises ConnectionLost, and then it is not acknowledged."""
        began = time.monotonic()
        incoming = self._desk.read(topic)
        if incoming is None:
            MESSAGES.labels("other", "ignored").inc()  # such as a REPLY in another's name, which no grant allows
            return
        if not self._share.allows(incoming.client_id, began):
            # Acknowledged and forgotten, before it costs a query: nobody's flood may keep the others waiting.
            MESSAGES.labels(incoming.kind, "dropped").inc()
            return
        # One of a client at a time, in order: they would wait for one another's lock, each on a connection of the pool.
        async with self._turns.setdefault(incoming.client_id, asyncio.Lock()):
            for to, data in await self._settle(connection, incoming, payload):
                await connection.publish(to, data, expiry=REPLY_EXPIRY)
        SECONDS.labels(incoming.kind).observe(time.monotonic() - began)

    async def _settle(self, connection: Connection, incoming: Incoming, payload: bytes) -> Sequence[Outgoing]:
        attempt = 0
        while True:
            if connection.closed.is_set():
                raise ConnectionLost
            try:
                async with asyncio.timeout(self._timeout):
                    outgoing = await self._desk.answer(incoming, payload)
                MESSAGES.labels(incoming.kind, "done").inc()
                return outgoing
            except TRANSIENT as error:  # Postgres is away, or a lock is taken: no answer yet, tried again
                _log.warning("message_postponed", client_id=incoming.client_id, error=type(error).__name__)
                await asyncio.sleep(RETRY_PAUSES[min(attempt, len(RETRY_PAUSES) - 1)])
                attempt += 1
            except Exception:
                # Trouble that would come again: it must not stop the next message.
                MESSAGES.labels(incoming.kind, "failed").inc()
                return await self._desk.record_failure(incoming, payload)
