"""
The hooks' side of the database: functions to EXECUTE, no table at all (D13). Trouble that passes raises `Unavailable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec

from service.core.connect import Facts
from service.db import queries
from service.db.pool import TRANSIENT, Pool, PooledConnection, Unavailable

_SQL = queries.load("hooks")


@dataclass(frozen=True, kw_only=True)
class BrokerSecrets:
    """A broker and the hashes that its secret may have: two while a rotation is open."""

    name: str
    role: str
    hashes: tuple[bytes, ...] = field(repr=False)


class FeedPart(msgspec.Struct):
    """A part of the feed: (kind, key) of what changed until `position`; `lost`: there may have been more."""

    position: str
    as_of: str
    lost: bool
    changes: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """Whose session it is to end (None: nobody's in particular), and whether somebody else came since, or just then."""

    username: str | None
    replaced: bool
    # Of that user, at that broker, under that client id.
    facts: Facts | None


class HookStore:
    """
    Every call is one statement on a connection of the pool that is held from then on: taking it from the pool and
    giving it back would cost as much as the statement. The last one used is the next one taken, so that few are open.
    """

    def __init__(self, pool: Pool, *, patience: float = 1.0) -> None:
        self._pool = pool
        self._patience = patience
        self._held: list[PooledConnection] = []
        # Calls beyond these wait for their turn.
        self._turns = asyncio.Semaphore(pool.get_max_size())

    async def _call(self, name: str, *arguments: Any) -> Any:
        return (await self._fetch(name, *arguments))[0][0]

    async def _fetch(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        try:
            if self._turns.locked():
                async with asyncio.timeout(self._patience):
                    await self._turns.acquire()
            else:
                await self._turns.acquire()  # at once
            try:
                return await self._fetch_in_turn(name, arguments)
            finally:
                self._turns.release()
        except TRANSIENT as error:
            raise Unavailable(type(error).__name__) from error

    async def _fetch_in_turn(self, name: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
        connection = await self._take()
        try:
            found: list[asyncpg.Record] = await connection.fetch(_SQL[name], *arguments)
        except asyncpg.InternalClientError as error:  # the server ended it while it was idle
            connection.terminate()
            await self._pool.release(connection)
            raise Unavailable(type(error).__name__) from error
        except BaseException:
            # The pool ends what may still be under way on it, or opens another one.
            await self._pool.release(connection)
            raise
        self._held.append(connection)
        return found

    async def _take(self) -> PooledConnection:
        while self._held:
            connection = self._held.pop()
            with contextlib.suppress(asyncpg.InterfaceError):  # it broke, and the pool has it back
                if not connection.is_closed():
                    return connection
                await self._pool.release(connection)
        return await self._pool.acquire(timeout=self._patience)

    async def brokers(self) -> list[BrokerSecrets]:
        """Every broker."""
        return [
            BrokerSecrets(
                name=row["name"],
                role=row["role"],
                hashes=tuple(h for h in (row["secret_sha256"], row["previous_secret_sha256"]) if h is not None),
            )
            for row in await self._fetch("brokers")
        ]

    async def facts(self, broker: str, username: str, client_id: str) -> Facts:
        """What a decision about this client of this broker is made from, at one moment."""
        return Facts.from_document(msgspec.json.decode(await self._call("facts", broker, username, client_id)))

    async def feed(self, position: str | None) -> FeedPart:
        """
        What became visible since a position that this returned before; None: where to begin.

        Raises Unavailable, and ValueError where that is no position.
        """
        try:
            return msgspec.json.decode(await self._call("feed", position), type=FeedPart)
        except asyncpg.DataError as error:
            raise ValueError("no position of the feed") from error

    async def login(self, event_key: bytes, broker: str, client_id: str, facts: Facts) -> bool:
        """
        Write what an allowed login changes, in one transaction that holds the rows.

        False: something that the decision was made from has changed since, and nothing was written.
        """
        assert facts.account is not None
        assert facts.user is not None
        run, device, connection = facts.run, facts.device, facts.connection
        outcome: str = await self._call(
            "login",
            event_key,
            broker,
            client_id,
            facts.account.id,
            facts.account.version,
            facts.user.id,
            facts.user.version,
            run.id if run else None,
            run.version if run else None,
            run.request_version if run else None,
            device.id if device else None,
            device.version if device else None,
            connection.id if connection else None,
            connection.version if connection else None,
        )
        return outcome == "moved"

    async def redeem_takeover(self, secret_sha256: bytes, client_id: str, broker: str) -> Takeover | None:
        """Use a takeover's password up; None: it was not good for this client id at this broker."""
        document = await self._call("redeem_takeover", secret_sha256, client_id, broker)
        if document is None:
            return None
        found = msgspec.json.decode(document)
        facts = Facts.from_document(found["facts"]) if found["facts"] is not None else None
        return Takeover(username=found["username"], replaced=found["replaced"], facts=facts)

    async def prove_key(self, username: str, client_id: str, key_sha256: bytes) -> bool:
        """Whether the activation key is that of the client's request; its client id is then kept for a while."""
        return bool(await self._call("prove_key", username, client_id, key_sha256))

    async def count_guesses(
        self, guesses: Sequence[dict[str, Any]], *, interval: float, longest: float, most: int
    ) -> dict[str, float]:
        """
        Add counted guesses at passwords: {"username", "count"}. Returns what all processes counted together, of `most`
        names: seconds until all of a name's guesses are forgotten, at one guess each `interval`, `longest` at most.
        """
        told: dict[str, float] = msgspec.json.decode(
            await self._call("count_guesses", json.dumps(list(guesses)), interval, longest, most)
        )
        return told

    async def heartbeat(self) -> None:
        """Time counts while somebody beats."""
        await self._call("heartbeat")

    async def count_refusals(self, refusals: Sequence[dict[str, Any]]) -> None:
        """Add counted refusals: {"broker", "username", "client_id", "reason", "count", "topic"?, "access"?}."""
        await self._call("count_refusals", json.dumps(list(refusals)))

    async def count_logins(self, logins: Sequence[dict[str, Any]]) -> None:
        """Add counted allowed CONNECTs: {"broker", "username", "client_id", "count"}."""
        await self._call("count_logins", json.dumps(list(logins)))

    async def note_credential_uses(self, uses: Sequence[dict[str, Any]]) -> None:
        """Add counted uses of factory credentials: {"username", "kind", "what", "count"}."""
        await self._call("note_credential_uses", json.dumps(list(uses)))

    async def note_seen(self, seen: Sequence[tuple[int, str, str | None, float]]) -> None:
        """Clients that were seen: (account id, client id, broker that it logged in at or None, seconds since then)."""
        await self._call("note_seen", json.dumps(list(seen)))

    async def note_broker_began(self, broker: str, age: float) -> int:
        """A broker began so many seconds ago: some of whom it knew before are gone. Returns how many; 0: all are."""
        gone: int = await self._call("note_broker_began", broker, age)
        return gone

    async def note_connections(
        self, event_key: bytes, broker: str, clients: Sequence[tuple[str, bool, float, bool]]
    ) -> None:
        """What a broker tells: (client id, whether it is connected, seconds since then, whether an event is due)."""
        await self._call("note_connections", event_key, broker, json.dumps(list(clients)))
