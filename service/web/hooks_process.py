"""`python -m service hooks`: one process that answers brokers, or each of several."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from service import log
from service.core.guessing import Limit
from service.db.feed import Feed
from service.db.hooks import HookStore
from service.db.pool import Unavailable, open_pool, translating, wait_for_schema
from service.grants_memory import Grants
from service.guesses import Guesses
from service.operations.admission import Admission
from service.operations.asking_brokers import AskingBrokers
from service.operations.key_proofs import KeyProofs
from service.operations.slow_hashes import SlowHashes
from service.passwords import Hasher, VerifiedPasswords
from service.settings import HooksSettings
from service.web.hooks import HASHES, REMEMBERED, REMEMBERED_BYTES, build_server
from service.web.process import build_observability, every, running, serve, serve_handed

RETRY_EVERY = 0.25
# Clients whose last sign of life is written at once: the statement's row locks must not keep a login waiting.
MOST_SEEN = 1000

_log = log.get("hooks")


class Link(Protocol):
    """To the parent of several processes."""

    async def follow(self, server: web.Server, is_ready: Callable[[], str | None]) -> None:
        """Serve what is handed over, until the parent is gone."""


class HooksProcess:
    """`python -m service hooks`."""

    FLUSH_EVERY = 1.0
    HEARTBEAT_EVERY = 2.0
    # What one process counts of guesses is known to the others within a second.
    SHARE_EVERY = 0.5

    def __init__(self, settings: HooksSettings) -> None:
        self._settings = settings
        self._brokers_changed = asyncio.Event()
        self._brokers_changed.set()

    async def run(self, link: Link | None = None) -> None:
        """Until SIGTERM. `link`: to the parent, where this is one of several. Raises WrongSchema and PortBusy."""
        settings = self._settings
        pool = await open_pool(settings.hooks_database_url, name="provisioning-hooks", size=8, timeout=1.0, reset=False)
        hasher = Hasher(settings.hashing_threads)
        try:
            await wait_for_schema(pool)
            admission = self._build_admission(HookStore(pool), hasher)
            await self._read_guesses(admission)
            feed = Feed(
                settings.hooks_database_url,
                lambda *heard: self._note_changes(admission, *heard),
                name="provisioning-hooks-feed",
            )
            await self._serve(admission, feed, link)
        finally:
            hasher.close()
            pool.terminate()

    def _build_admission(self, store: HookStore, hasher: Hasher) -> Admission:
        settings = self._settings
        return Admission(
            store=store,
            grants=Grants(settings.grants_memory, settings.grants_memory_bytes),
            slow_hashes=SlowHashes(
                hasher=hasher,
                passwords=VerifiedPasswords(settings.passwords_memory, settings.passwords_memory_bytes),
                proofs=KeyProofs(store),
                guesses=Guesses(Limit(rate=settings.guess_rate, burst=settings.guess_burst)),
                rate=settings.slow_hash_rate,
                burst=settings.slow_hash_burst,
            ),
            brokers=AskingBrokers(store),
            event_key=settings.event_key,
            client_id_length=settings.client_id_length,
            provision_account=settings.provision_account,
            narrow_reply=settings.narrow_reply,
        )

    async def _read_guesses(self, admission: Admission) -> None:
        """Nobody gets new tries from a restart: no question is answered before."""
        while True:
            try:
                await admission.slow_hashes.guesses.share(admission.store)
                return
            except Unavailable:
                await asyncio.sleep(RETRY_EVERY)

    async def _follow_brokers(self, admission: Admission) -> None:
        """Load brokers and secrets anew whenever the feed says that one of them changed."""
        while True:
            await self._brokers_changed.wait()
            self._brokers_changed.clear()
            try:
                await admission.brokers.load()
            except Exception as error:  # also what the driver makes of a server that talks nonsense
                if not isinstance(error, Unavailable):
                    _log.error("brokers_not_loaded", error=type(error).__name__)
                self._brokers_changed.set()
                await asyncio.sleep(RETRY_EVERY)

    async def _serve(self, admission: Admission, feed: Feed, link: Link | None) -> None:
        def what_is_missing() -> str | None:
            if not admission.brokers.known:
                return "brokers"
            return None if admission.grants.follows() else "the feed of changes"

        server = build_server(admission)
        runners = [await serve_handed(server)] if link else await self._serve_sites(server, what_is_missing)
        try:
            async with running(
                feed.run(),
                self._follow_brokers(admission),
                every(self.FLUSH_EVERY, "flush", lambda: self._flush(admission)),
                every(self.SHARE_EVERY, "guesses", lambda: admission.slow_hashes.guesses.share(admission.store)),
                every(self.HEARTBEAT_EVERY, "heartbeat", admission.store.heartbeat),
                *([link.follow(server, what_is_missing)] if link else []),
            ) as stop:
                _log.info("hooks_ready", host=self._settings.hooks_host, port=self._settings.hooks_port)
                await stop.wait()
        finally:
            for runner in runners:
                await runner.cleanup()
            await self._flush_at_end(admission)

    async def _serve_sites(self, server: web.Server, is_ready: Callable[[], str | None]) -> list[web.BaseRunner]:
        settings = self._settings
        observability = build_observability(is_ready)
        return [
            await serve(
                observability, settings.hooks_metrics_host, settings.hooks_metrics_port, "PROVISION_HOOKS_METRICS_PORT"
            ),
            await serve(server, settings.hooks_host, settings.hooks_port, "PROVISION_HOOKS_PORT"),
        ]

    def _note_changes(self, admission: Admission, changes: list[tuple[str, str]], lost: bool, as_of: int) -> None:
        if admission.note_changes(changes, lost, as_of):
            self._brokers_changed.set()

    async def _flush(self, admission: Admission) -> None:
        REMEMBERED.set(len(admission.grants))
        REMEMBERED_BYTES.set(admission.grants.held)
        HASHES.set(admission.slow_hashes.hasher.hashes)
        refusals = admission.refusals.take()
        if refusals:
            try:
                await admission.store.count_refusals(refusals)
            except Exception:
                admission.refusals.give_back(refusals)
                raise
        await admission.write_logins()
        uses = admission.uses.take()
        if uses:
            try:
                await admission.store.note_credential_uses(uses)
            except Exception:
                admission.uses.give_back(uses)
                raise
        seen = list(admission.seen.items())[:MOST_SEEN]
        if seen:
            now = time.monotonic()
            await admission.store.note_seen(
                [(*client, *((login[0], now - login[1]) if login else (None, 0.0))) for client, login in seen]
            )
            admission.forget_seen(seen)

    async def _flush_at_end(self, admission: Admission) -> None:
        try:
            async with translating():
                await admission.slow_hashes.guesses.share(admission.store)
                await self._flush(admission)
        except Unavailable:
            _log.warning("refusals_lost")
