"""The hooks' side without HTTP: a real Admission on a real database, its feed polled when the test says so."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service.db.hooks import HookStore
from service.db.pool import Unavailable, open_pool
from service.grants_memory import Grants
from service.keys import Secret
from service.operations.admission import Admission
from service.operations.asking_brokers import AskingBrokers
from service.operations.key_proofs import KeyProofs
from service.operations.questions import AclQuestion, ConnectQuestion, Verdict
from service.operations.slow_hashes import SlowHashes
from service.passwords import Hasher, VerifiedPasswords

READ, WRITE, SUBSCRIBE = 1, 2, 4
# Long enough that no slow machine makes a question time out.
PATIENCE = 60.0


class CountingStore(HookStore):
    """Counts the calls by name."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.calls: list[str] = []

    async def _call(self, name: str, *arguments: Any) -> Any:
        self.calls.append(name)
        return await super()._call(name, *arguments)


@dataclass(kw_only=True)
class Gate:
    """One hooks process's insides."""

    admission: Admission
    store: CountingStore
    _last: str = field(default="0")

    async def follow(self) -> list[tuple[str, str]]:
        """Poll the feed once, as the process does all the time; returns what it told."""
        document = json.loads(await HookStore._call(self.store, "changes", self._last))
        changes = [(kind, key) for kind, key in document["changes"]]
        if self.admission.note_changes(changes, document["lost"], int(document["last"])):
            await self.admission.brokers.load()
        self._last = document["last"]
        return changes

    async def connect(
        self, broker: str, username: str, password: str, client_id: str, *, clean: bool | None = None
    ) -> Verdict:
        """A CONNECT at a broker that is known by name; what changed before has been heard of, if anything ever was."""
        if self._last != "0":
            with contextlib.suppress(Unavailable):
                await self.follow()
        question = ConnectQuestion(username=username, password=password, client_id=client_id, clean=clean)
        return await self.admission.connect(self.admission.brokers.known[broker], question)

    async def acl(self, broker: str, username: str, client_id: str, topic: str, acc: int = WRITE) -> Verdict:
        """A topic check."""
        question = AclQuestion(username=username, client_id=client_id, topic=topic, acc=acc)
        return await self.admission.acl(self.admission.brokers.known[broker], question)


@asynccontextmanager
async def open_gate(url: Secret, event_key: bytes, **settings: Any) -> AsyncIterator[Gate]:
    """
    Settings as Admission has them, and `hashes`: as SlowHashes has them. Without any, neither budget nor patience
    binds, and a hash is one token.
    """
    pool = await open_pool(url, name="test-hooks", size=8, timeout=PATIENCE, reset=False)
    hasher = Hasher(2)
    store = settings.pop("store", None) or CountingStore(pool, patience=PATIENCE)
    unbound = {"rate": 1e6, "burst": 1e6, "seconds": math.inf}
    admission = Admission(
        store=store,
        grants=Grants(10_000),
        slow_hashes=SlowHashes(
            hasher=hasher,
            passwords=VerifiedPasswords(1_000),
            proofs=KeyProofs(store),
            **{**unbound, **settings.pop("hashes", {})},
        ),
        brokers=AskingBrokers(store),
        event_key=event_key,
        **{"patience": PATIENCE, **settings},
    )
    try:
        yield Gate(admission=admission, store=store)
    finally:
        hasher.close()
        pool.terminate()
