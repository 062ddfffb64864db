"""
The responder: devices' messages in, replies out (design 4.1, D7); on account brokers, what devices say of their lives.

One is active on each broker. It reads, commits, publishes, and only then acknowledges; whatever dies in between, the
broker gives the message again. The session is kept, so nothing is lost while nobody is connected. A standby waits for
the same advisory lock.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service import keys, log
from service.core import kura_messages, lifecycle, messages, names
from service.core.steps import Rules
from service.db.feed import Feed
from service.db.pool import Pool, open_pool, wait_for_schema
from service.mqtt.client import Login
from service.mqtt.leadership import Leadership
from service.mqtt.listener import Incoming, Listener, Outgoing
from service.mqtt.takeover import Takeovers
from service.operations import leak_watch, sweep
from service.operations.access_journal import AccessJournal
from service.operations.asks import Desk
from service.operations.kura import KuraDesk
from service.operations.lifecycle import LifecycleDesk
from service.operations.runs import RunKeys
from service.settings import ResponderSettings
from service.web.process import build_observability, every, running, serve

SUBSCRIPTIONS = ("prov/v1/+/request", "prov/v1/+/status")
# The broker keeps what we have not acknowledged for this long while nobody is connected, in seconds.
SESSION_EXPIRY = 7 * 86_400
# Messages handled at once at each broker, which keeps the others back; and transactions at once, of all of them.
RECEIVE_MAXIMUM = 32
POOL = 8

_log = log.get("responder")


@dataclass(frozen=True, kw_only=True)
class ProvisionDesk:
    """Both wires of the provision broker."""

    desk: Desk
    kura: KuraDesk

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """What is listened to."""
        return (*SUBSCRIPTIONS, *kura_messages.subscriptions(self.kura.provision_account))

    def read(self, topic: str) -> Incoming | None:
        """Whose message it is, and of which kind."""
        kura = kura_messages.parse_topic(topic, self.kura.provision_account)
        if kura is not None:
            return Incoming(kind=kura.kind.value, client_id=kura.client_id, topic=topic)
        if not topic.startswith("prov/v1/"):
            return None
        _, _, client_id, kind = topic.split("/")
        return Incoming(kind=kind, client_id=client_id, topic=topic)

    async def answer(self, incoming: Incoming, payload: bytes) -> Sequence[Outgoing]:
        """What is published once it is committed."""
        kura = kura_messages.parse_topic(incoming.topic, self.kura.provision_account)
        if kura is not None:
            return await self.kura.handle(kura, payload, time.monotonic())
        if incoming.kind == "request":
            reply = await self.desk.ask(incoming.client_id, payload, time.monotonic())
            return [(f"prov/v1/{incoming.client_id}/reply", reply)] if reply is not None else []
        await self.desk.status(incoming.client_id, payload, time.monotonic())
        return []

    async def record_failure(self, incoming: Incoming, payload: bytes) -> Sequence[Outgoing]:
        """For people; a JSON device that asked is told that it happened."""
        correlation_id = keys.new_correlation_id()
        _log_failure(incoming, payload, correlation_id)
        now = await self.desk.record_failure(incoming.client_id, payload, correlation_id)
        parsed = messages.parse_ask(payload) if incoming.kind == "request" else None
        if parsed is None or parsed.id is None:
            return []
        refused = messages.encode_refused(ask_id=parsed.id, code="server_error", now=now, correlation_id=correlation_id)
        return [(f"prov/v1/{incoming.client_id}/reply", refused)]


@dataclass(frozen=True, kw_only=True)
class AccountDesk:
    """What devices say of their lives on one account broker."""

    desk: LifecycleDesk

    def read(self, topic: str) -> Incoming | None:
        """Shares are an account's client's: the same client id may be in two accounts during a move."""
        said = lifecycle.parse_topic(topic)
        if said is None:
            return None
        return Incoming(kind=said.said.value.lower(), client_id=f"{said.account}/{said.client_id}", topic=topic)

    async def answer(self, incoming: Incoming, payload: bytes) -> Sequence[Outgoing]:
        """Nothing is answered."""
        said = lifecycle.parse_topic(incoming.topic)
        assert said is not None
        if not await self.desk.handle(said, payload, time.monotonic()):
            _log.info("life_of_nobody", account=said.account, client_id=said.client_id, said=said.said.value)
        return []

    async def record_failure(self, incoming: Incoming, payload: bytes) -> Sequence[Outgoing]:
        """For people."""
        _log_failure(incoming, payload, keys.new_correlation_id())
        return []


def _log_failure(incoming: Incoming, payload: bytes, correlation_id: str) -> None:
    _log.error(
        "message_failed",
        kind=incoming.kind,
        client_id=incoming.client_id,
        correlation_id=correlation_id,
        length=len(payload),
        sha256=hashlib.sha256(payload).hexdigest(),
        exc_info=True,
    )


@dataclass(frozen=True, kw_only=True)
class Station:
    """One broker: who leads there, and who listens."""

    broker: str
    leadership: Leadership
    listener: Listener
    # What whoever leads at this broker does beside.
    chores: Callable[[], Sequence[Awaitable[None]]] = tuple

    def missing(self) -> str | None:
        """What keeps it from working, if anything."""
        if not self.leadership.reached:
            return "Postgres"
        return None if self.listener.connected or not self.leadership.held else f"the broker {self.broker}"

    async def run(self) -> None:
        """Stand by, lead, stand by again, for ever."""
        while True:
            await self.leadership.acquire()
            _log.info("leading", broker=self.broker)
            chores = [asyncio.ensure_future(task) for task in self.chores()]
            try:
                await self.listener.serve(self.leadership)
            finally:
                for task in chores:
                    task.cancel()
                await asyncio.gather(*chores, return_exceptions=True)
            _log.warning("standing_by", broker=self.broker)


class ResponderProcess:
    """`python -m service responder`."""

    PRUNE_EVERY = 60.0
    WATCH_EVERY = 10.0
    JOURNAL_EVERY = 1.0

    def __init__(self, settings: ResponderSettings) -> None:
        self._settings = settings

    async def run(self) -> None:
        """Until SIGTERM. Raises WrongSchema and PortBusy."""
        settings = self._settings
        # Nothing is left behind on a connection: transactions end, and listening has connections of its own.
        pool = await open_pool(
            settings.responder_database_url, name="provisioning-responder", size=POOL, timeout=5.0, reset=False
        )
        stations = [self._provision_station(pool), *self._account_stations(pool)]
        try:
            await wait_for_schema(pool)
            runner = await serve(
                # An account broker that is away keeps nobody from being provisioned.
                build_observability(stations[0].missing),
                settings.responder_metrics_host,
                settings.responder_metrics_port,
                "PROVISION_RESPONDER_METRICS_PORT",
            )
            try:
                async with running(*(station.run() for station in stations)) as stop:
                    await stop.wait()
            finally:
                await runner.cleanup()
        finally:
            for station in stations:
                await station.leadership.release()
            pool.terminate()

    def _provision_station(self, pool: Pool) -> Station:
        settings = self._settings
        login = self._login(settings.provision_broker, settings.provision_broker_ca_file)
        desk = self._provision_desk(pool)
        takeovers = self._takeovers(pool, login, settings.provision_broker_name)
        feed = Feed(settings.responder_database_url, takeovers.note_changes, name="provisioning-responder-feed")
        return Station(
            broker=settings.provision_broker_name,
            leadership=Leadership(settings.responder_database_url, settings.provision_broker_name),
            listener=self._listener(desk, login, desk.subscriptions, settings.provision_broker_name),
            chores=lambda: (
                every(settings.sweep_interval, "sweep", lambda: sweep.close_overdue(pool, settings.event_key)),
                every(settings.sweep_interval, "overlaps", lambda: leak_watch.end_overlaps(pool, settings.event_key)),
                every(self.WATCH_EVERY, "leak_watch", lambda: leak_watch.watch(pool, settings.event_key)),
                every(self.PRUNE_EVERY, "prune", lambda: sweep.prune(pool)),
                feed.run(),
                takeovers.run(),
                *self._journal(pool),
            ),
        )

    def _journal(self, pool: Pool) -> Sequence[Awaitable[None]]:
        if not self._settings.access_journal:
            return ()
        journal = AccessJournal(pool, Path(self._settings.access_journal))
        return (every(self.JOURNAL_EVERY, "access_journal", journal.write),)

    def _account_stations(self, pool: Pool) -> list[Station]:
        settings = self._settings
        desk = AccountDesk(desk=LifecycleDesk(pool=pool, event_key=settings.event_key))
        return [
            self._account_station(pool, desk, name, self._login(url, settings.account_brokers_ca_file))
            for name, url in settings.account_brokers
        ]

    def _account_station(self, pool: Pool, desk: AccountDesk, name: str, login: Login) -> Station:
        url = self._settings.responder_database_url
        takeovers = self._takeovers(pool, login, name)
        feed = Feed(url, takeovers.note_changes, name="provisioning-responder-feed")
        return Station(
            broker=name,
            leadership=Leadership(url, f"account {name}"),
            listener=self._listener(desk, login, lifecycle.subscriptions(), name),
            chores=lambda: (feed.run(), takeovers.run()),
        )

    def _takeovers(self, pool: Pool, login: Login, broker: str) -> Takeovers:
        settings = self._settings
        return Takeovers(
            pool,
            login,
            broker=broker,
            provision=broker == settings.provision_broker_name,
            provision_account=settings.provision_account,
        )

    def _provision_desk(self, pool: Pool) -> ProvisionDesk:
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
        return ProvisionDesk(desk=Desk(**shared), kura=kura)

    def _listener(
        self, desk: ProvisionDesk | AccountDesk, login: Login, subscriptions: Sequence[str], broker: str
    ) -> Listener:
        return Listener(desk, login, subscriptions, broker=broker, message_timeout=self._settings.message_timeout)

    def _login(self, url: str, ca_file: str) -> Login:
        return Login(
            url=url,
            client_id=names.RESPONDER,
            username=names.RESPONDER,
            password=self._settings.responder_password.reveal(),
            clean=False,
            session_expiry=SESSION_EXPIRY,
            receive_maximum=RECEIVE_MAXIMUM,
            ca_file=ca_file,
        )
