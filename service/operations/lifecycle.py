"""What devices say of their lives on an account broker, as an operation: one transaction a message."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import asyncpg

from service import log
from service.core.lifecycle import Link, Said, Topic, decide_life, read_birth
from service.db import queries
from service.db.pool import Connection, Pool, transaction
from service.mqtt import kura_payload
from service.mqtt.kura_payload import Unreadable
from service.operations import events
from service.operations.cases import Rate
from service.operations.events import Author

_SQL = queries.load("lifecycle")
_log = log.get("lifecycle")

EVENTS = {"CONNECTED": "device_connected", "DISCONNECTED": "device_disconnected", "MISSING": "device_missing"}


@dataclass(frozen=True, kw_only=True)
class LifecycleDesk:
    """What keeping the registry needs."""

    pool: Pool
    event_key: bytes = field(repr=False)
    # Events of one client: a device that comes and goes all day is told of ten times an hour.
    _share: Rate = field(default_factory=lambda: Rate(10 / 3600, 20))
    # A client's words are heard in their order: a will comes before the BIRTH of who took the client id over.
    _turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def handle(self, topic: Topic, data: bytes, clock: float) -> bool:
        """
        One message. Returns whether anybody with this client id ever logged in at that account.

        The topic's account and client id are the device's own: its grants see to that.
        """
        turn = self._turns.setdefault((topic.account, topic.client_id), asyncio.Lock())
        birth = _read_birth(topic, data) if topic.said in (Said.BIRTH, Said.APPS) else None
        async with turn, transaction(self.pool) as connection:
            row = await connection.fetchrow(_SQL["lock"], topic.account, topic.client_id)
            if row is None:
                return False
            before = Link(**{name: row[name] for name in Link.__dataclass_fields__})
            after = decide_life(before, topic.said, row["now"])
            await connection.execute(
                _SQL["update"], row["id"], after.status, after.status_at, after.born_at, after.ends_owed, after.ended_at
            )
            if birth is not None:
                await _put_device(connection, row, topic, birth)
            if after.status != before.status and after.status is not None:
                await self._tell(connection, row["account_id"], topic, after.status, clock)
        return True

    async def _tell(self, connection: Connection, account_id: int, topic: Topic, status: str, clock: float) -> None:
        if not self._share.allows(f"{account_id} {topic.client_id}", clock):
            return
        author = Author(actor="device", source="mqtt", event_key=self.event_key)
        await events.append(
            connection, author, EVENTS[status], account_id=account_id, client_id=topic.client_id, said=topic.said.value
        )


async def _put_device(connection: Connection, row: asyncpg.Record, topic: Topic, birth: dict[str, object]) -> None:
    name = birth.get("display_name")
    display_name = name[:255] if isinstance(name, str) and name else None
    # Another account may have got the client id since that login.
    with contextlib.suppress(asyncpg.IntegrityConstraintViolationError):
        async with connection.transaction():
            await connection.execute(
                _SQL["put_device"], row["id"], row["account_id"], topic.client_id, display_name, json.dumps(birth)
            )


def _read_birth(topic: Topic, data: bytes) -> dict[str, object] | None:
    """What it says of itself; None where that cannot be read, though the device is there all the same."""
    try:
        return dict(read_birth(kura_payload.decode(data).metrics))
    except Unreadable as error:
        _log.warning(
            "birth_unreadable",
            client_id=topic.client_id,
            account=topic.account,
            reason=error.reason,
            length=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        return None
