"""
The responder: devices' messages in, replies out (design 4.1, D7). One is active on each provision broker.

It reads, commits, publishes, and only then acknowledges; whatever dies in between, the broker gives the message again.
The session is kept, so nothing is lost while nobody is connected. A standby waits for the same advisory lock.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from service import keys, log
from service.core import kura_messages, messages, names
from service.core.kura_messages import Topic
from service.core.steps import Rules
from service.db.feed import Feed
from service.db.pool import TRANSIENT, Pool, open_pool, wait_for_schema
from service.mqtt.client import Connection, Login, Refused, SubscribeRefused, Unreachable, first_of
from service.mqtt.leadership import Leadership
from service.mqtt.takeover import Takeovers
from service.operations import sweep
from service.operations.asks import Desk
from service.operations.cases import Rate
from service.operations.kura import KuraDesk, Outgoing
from service.operations.runs import RunKeys
from service.settings import ResponderSettings
from service.web.process import build_observability, every, running, serve

SUBSCRIPTIONS = ("prov/v1/+/request", "prov/v1/+/status")
# The broker keeps what we have not acknowledged for this long while nobody is connected, in seconds.
SESSION_EXPIRY = 7 * 86_400
# A reply that no device fetched for this long is worth nothing: the device asks again (seconds).
REPLY_EXPIRY = 30
# Messages handled at once; the broker keeps the others back.
RECEIVE_MAXIMUM = 32
# What one client may send; a device that keeps to the protocol sends a few messages a minute.
MESSAGES_A_SECOND = 5
MESSAGES_AT_ONCE = 100
RETRY_PAUSES = (0.1, 0.25, 0.5, 1.0)
RECONNECT_PAUSES = (0.2, 0.5, 1.0, 2.0)

_log = log.get("responder")

MESSAGES = Counter("responder_messages", "Messages of devices", ["kind", "outcome"])
SECONDS = Histogram("responder_seconds", "Seconds to the end of a message", ["kind"])
ACTIVE = Gauge("responder_active", "1 where this responder is the active one and connected")


class ConnectionLost(Exception):
    """The broker's connection went while a message was handled: the next connection gets it again."""


class Responder:
    """Handles the messages of one connection after another."""

    def __init__(self, desk: Desk, kura: KuraDesk, login: Login, *, message_timeout: float) -> None:
        self._desk = desk
        self._kura = kura
        self._login = login
        self._timeout = message_timeout
        self._connection: Connection | None = None
        self._share = Rate(MESSAGES_A_SECOND, MESSAGES_AT_ONCE)

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
                _log.warning("broker_unreachable", error=str(error))
            ACTIVE.set(0)
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
            await connection.subscribe(*SUBSCRIPTIONS, *kura_messages.subscriptions(self._kura.provision_account))
            self._connection = connection
            ACTIVE.set(1)
            _log.info("responder_active", session_present=connection.session_present)
            await first_of(connection.closed.wait(), leadership.lost.wait())
        finally:
            await connection.close()

    async def _handle(self, connection: Connection, topic: str, payload: bytes) -> None:
        """Until the message is done with. Raises ConnectionLost, and then it is not acknowledged."""
        began = time.monotonic()
        kura = kura_messages.parse_topic(topic, self._kura.provision_account)
        if kura is None and not topic.startswith("prov/v1/"):
            MESSAGES.labels("other", "ignored").inc()  # such as a REPLY in another's name, which no grant allows
            return
        kind, client_id = (kura.kind.value, kura.client_id) if kura else (topic.split("/")[3], topic.split("/")[2])
        if not self._share.allows(client_id, began):
            # Acknowledged and forgotten, before it costs a query: nobody's flood may keep the others waiting.
            MESSAGES.labels(kind, "dropped").inc()
            return
        attempt = 0
        while True:
            if connection.closed.is_set():
                raise ConnectionLost
            try:
                async with asyncio.timeout(self._timeout):
                    outgoing = await self._answer(kura, kind, client_id, payload)
                MESSAGES.labels(kind, "done").inc()
                break
            except TRANSIENT as error:  # Postgres is away, or a lock is taken: no answer yet, tried again
                _log.warning("message_postponed", client_id=client_id, error=type(error).__name__)
                await asyncio.sleep(RETRY_PAUSES[min(attempt, len(RETRY_PAUSES) - 1)])
                attempt += 1
            except Exception:
                # Trouble that would come again: it must not stop the next message.
                MESSAGES.labels(kind, "failed").inc()
                outgoing = await self._record_failure(kind, client_id, payload)
                break
        for to, data in outgoing:
            await connection.publish(to, data, expiry=REPLY_EXPIRY)
        SECONDS.labels(kind).observe(time.monotonic() - began)

    async def _answer(self, kura: Topic | None, kind: str, client_id: str, payload: bytes) -> list[Outgoing]:
        """What is published once it is committed."""
        if kura is not None:
            return await self._kura.handle(kura, payload, time.monotonic())
        if kind == "request":
            reply = await self._desk.ask(client_id, payload, time.monotonic())
            return [(f"prov/v1/{client_id}/reply", reply)] if reply is not None else []
        await self._desk.status(client_id, payload, time.monotonic())
        return []

    async def _record_failure(self, kind: str, client_id: str, payload: bytes) -> list[Outgoing]:
        correlation_id = keys.new_correlation_id()
        _log.error(
            "message_failed",
            kind=kind,
            client_id=client_id,
            correlation_id=correlation_id,
            length=len(payload),
            exc_info=True,
        )
        now = await self._desk.record_failure(client_id, payload, correlation_id)
        parsed = messages.parse_ask(payload) if kind == "request" else None
        if parsed is None or parsed.id is None:
            return []
        refused = messages.encode_refused(ask_id=parsed.id, code="server_error", now=now, correlation_id=correlation_id)
        return [(f"prov/v1/{client_id}/reply", refused)]


class ResponderProcess:
    """`python -m service responder`."""

    PRUNE_EVERY = 60.0

    def __init__(self, settings: ResponderSettings) -> None:
        self._settings = settings

    async def run(self) -> None:
        """Until SIGTERM. Raises WrongSchema and PortBusy."""
        settings = self._settings
        pool = await open_pool(settings.responder_database_url, name="provisioning-responder", size=8, timeout=5.0)
        leadership = Leadership(settings.responder_database_url, settings.provision_broker_name)
        try:
            await wait_for_schema(pool)
            responder = self._build(pool)
            runner = await serve(
                build_observability(lambda: self._missing(leadership, responder)),
                settings.responder_metrics_host,
                settings.responder_metrics_port,
                "PROVISION_RESPONDER_METRICS_PORT",
            )
            try:
                async with running(self._lead(leadership, responder, pool)) as stop:
                    await stop.wait()
            finally:
                await runner.cleanup()
        finally:
            await leadership.release()
            pool.terminate()

    def _missing(self, leadership: Leadership, responder: Responder) -> str | None:
        if not leadership.reached:
            return "Postgres"
        return None if responder.connected or not leadership.held else "the provision broker"

    def _build(self, pool: Pool) -> Responder:
        settings = self._settings
        shared: dict[str, Any] = {
            "pool": pool,
            "run_keys": RunKeys(derivation_key=settings.derivation_key, sealing_keys=settings.sealing_keys),
            "event_key": settings.event_key,
            "answer_limit": settings.answer_limit,
        }
        rules = Rules(timeout=datetime.timedelta(seconds=settings.step_timeout), retries=settings.step_retries)
        kura = KuraDesk(
            provision_account=settings.provision_account, rules=rules, keystore=settings.kura_keystore, **shared
        )
        return Responder(Desk(**shared), kura, self._login(), message_timeout=settings.message_timeout)

    def _login(self) -> Login:
        settings = self._settings
        return Login(
            url=settings.provision_broker,
            client_id=names.RESPONDER,
            username=names.RESPONDER,
            password=settings.responder_password.reveal(),
            clean=False,
            session_expiry=SESSION_EXPIRY,
            receive_maximum=RECEIVE_MAXIMUM,
            ca_file=settings.provision_broker_ca_file,
        )

    async def _lead(self, leadership: Leadership, responder: Responder, pool: Pool) -> None:
        """Stand by, lead, stand by again, for ever."""
        settings = self._settings
        takeovers = Takeovers(pool, self._login())
        feed = Feed(settings.responder_database_url, takeovers.note_changes, name="provisioning-responder-feed")
        while True:
            await leadership.acquire()
            _log.info("leading", broker=settings.provision_broker_name)
            chores = [
                asyncio.ensure_future(task)
                for task in (
                    every(settings.sweep_interval, "sweep", lambda: sweep.close_overdue(pool, settings.event_key)),
                    every(self.PRUNE_EVERY, "prune", lambda: sweep.prune(pool)),
                    feed.run(),
                    takeovers.run(),
                )
            ]
            try:
                await responder.serve(leadership)
            finally:
                for task in chores:
                    task.cancel()
                await asyncio.gather(*chores, return_exceptions=True)
            _log.warning("standing_by", broker=settings.provision_broker_name)
