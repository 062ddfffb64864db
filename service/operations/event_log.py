"""
The events as a whole: verified, checkpointed, and dropped by the month behind a checkpoint.

Verification asks chain by chain in ranges of request ids, so that memory does not grow with the events.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from service.core.event_chain import Broken, Chain, Fault, judge
from service.core.problems import NotPossible
from service.db import queries
from service.db.pool import Connection
from service.operations import events
from service.operations.administration import Administration

_SQL = queries.load("event_chains")

# Requests in one question.
RANGE = 1000
# Lines of a checkpoint in one answer.
PAGE = 1000

Found = Callable[[Broken], None]
# Requests done, requests there are, events so far.
Progress = Callable[[int, int, int], None]


@dataclass(kw_only=True)
class Report:
    """How a verification went: `broken` chains of `chains`, over `events` events."""

    chains: int = 0
    events: int = 0
    broken: int = 0


@dataclass(frozen=True, kw_only=True)
class Which:
    """Whose chains: everybody's, an account's, or a client id's."""

    account_id: int | None = None
    client_id: str | None = None

    @property
    def everything(self) -> bool:
        """Also what is no single chain's: deleted requests, events in no chain, digests."""
        return self.client_id is None


def _nothing(*_arguments: Any) -> None:
    """Nobody listens."""


async def verify(
    admin: Administration,
    account_name: str | None = None,
    client_id: str | None = None,
    *,
    found: Found = _nothing,
    progress: Progress = _nothing,
) -> Report:
    """
    Verify every chain, an account's, or a client id's; each broken one is told to `found`, once for each fault.

    Raises NotFound.
    """
    account_id = None if account_name is None else (await admin.account(account_name)).id
    report = Report()

    def tell(broken: Broken) -> None:
        report.broken += 1
        found(broken)

    which = Which(account_id=account_id, client_id=client_id)
    async with admin.platform_pool.acquire(timeout=30) as connection:
        await _verify_requests(connection, admin.author.event_key, which, report, tell, progress)
        if which.everything:
            await _verify_accounts(connection, admin.author.event_key, which, report, tell)
            for query in ("chains_without_head", "unchained"):
                for row in await connection.fetch(_SQL[query], account_id):
                    tell(_broken(row))
            if account_id is None:
                await _verify_digests(connection, tell)
    return report


def _broken(row: Any) -> Broken:
    return Broken(
        account_id=row["account_id"],
        request_id=row["request_id"],
        client_id=row["client_id"],
        number=row["number"],
        fault=Fault(row["fault"]),
    )


async def _verify_requests(
    connection: Connection, key: bytes, which: Which, report: Report, tell: Found, progress: Progress
) -> None:
    if which.account_id is None and which.client_id is None:
        last = await connection.fetchval(_SQL["last_request"])
        ranges = [(start, start + RANGE) for start in range(1, last + 1, RANGE)]
    else:
        rows = await connection.fetch(_SQL["requests_of"], which.account_id, which.client_id)
        ranges = list(_ranges([row["id"] for row in rows]))
    for done, (start, end) in enumerate(ranges, 1):
        await _judge(await connection.fetch(_SQL["chains"], key, start, end, 1, 0), report, tell, which.account_id)
        progress(done, len(ranges), report.events)


def _ranges(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ids in ascending order as half-open ranges without a gap, of at most RANGE."""
    start = end = 0
    for each in ids:
        if each == end and end - start < RANGE:
            end += 1
            continue
        if end > start:
            yield start, end
        start, end = each, each + 1
    if end > start:
        yield start, end


async def _judge(rows: Sequence[Any], report: Report, tell: Found, account_id: int | None = None) -> None:
    for row in rows:
        chain = Chain(**row)
        if account_id is not None and chain.account_id != account_id:
            continue
        report.chains += 1
        report.events += chain.events
        broken = judge(chain)
        if broken is not None:
            tell(broken)


async def _verify_accounts(connection: Connection, key: bytes, which: Which, report: Report, tell: Found) -> None:
    """The accounts' own chains; the platform's is that of account 0."""
    ids = [row["id"] for row in await connection.fetch(_SQL["accounts"], which.account_id)]
    for each in ids if which.account_id is not None else [0, *ids]:
        await _judge(await connection.fetch(_SQL["chains"], key, 1, 1, each, each), report, tell)


async def _verify_digests(connection: Connection, tell: Found) -> None:
    """All checkpoints, and all cuts, are those that the last event of their kind told of."""
    for row in await connection.fetch(_SQL["digests_told"]):
        if not row["fits"]:
            tell(
                Broken(
                    account_id=row["account_id"],
                    request_id=0,
                    client_id=None,
                    number=row["number"],
                    fault=Fault.CHECKPOINT_CHANGED,
                )
            )


async def fit_lines(
    admin: Administration,
    lines: Sequence[Sequence[Any]],
    account_name: str | None = None,
    client_id: str | None = None,
) -> list[Broken]:
    """
    Which lines of a checkpoint's file (account, request, count, head) no longer hold: their chains do not go on from
    where they were then. Of an account, or of a client id, only. Raises NotFound.
    """
    account_id = None if account_name is None else (await admin.account(account_name)).id
    columns = [list(column) for column in zip(*lines, strict=True)] or [[], [], [], []]
    async with admin.platform_transaction() as connection:
        found = [_broken(row) for row in await connection.fetch(_SQL["fit_lines"], *columns)]
    return [b for b in found if client_id in (None, b.client_id) and account_id in (None, b.account_id)]


async def require_whole(admin: Administration, *, found: Found, progress: Progress = _nothing) -> Report:
    """Verify everything. Raises NotPossible where a chain is broken, after telling each."""
    report = await verify(admin, found=found, progress=progress)
    if report.broken:
        raise NotPossible(
            "events", "broken", f"{report.broken} chains of events are broken; `events verify` names them"
        )
    return report


async def checkpoint_chains(
    admin: Administration, *, found: Found = _nothing, progress: Progress = _nothing
) -> dict[str, Any]:
    """Verify everything, then note every chain's end. Returns {"chains", "digest"}. Raises NotPossible."""
    await require_whole(admin, found=found, progress=progress)
    async with admin.platform_transaction() as connection:
        chains = await connection.fetchval(_SQL["write_checkpoint"], admin.author.event_key)
        digest = await connection.fetchval(_SQL["digest"], "checkpoint")
        await events.append(connection, admin.author, "events_checkpointed", chains=chains, digest=digest)
    return {"chains": chains, "digest": digest}


async def checkpoint_page(admin: Administration, place: tuple[int, int]) -> tuple[list[dict[str, Any]], str]:
    """
    The checkpoint's lines after a place (account, request), and the digest of all of them as they are now.

    Lines can be kept elsewhere: they hold no secret, links are HMACs.
    """
    async with admin.platform_transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows = await connection.fetch(_SQL["checkpoint_page"], *place, PAGE)
        return [dict(row) for row in rows], await connection.fetchval(_SQL["digest"], "checkpoint")


async def drop(
    admin: Administration, before: datetime.datetime, *, found: Found = _nothing, progress: Progress = _nothing
) -> list[str]:
    """
    Drop the events of the months before this one (its first moment, UTC); returns the partitions' names.

    Raises NotPossible where a chain is broken or has no checkpoint behind its events of those months.
    """
    await require_whole(admin, found=found, progress=progress)
    async with admin.platform_transaction() as connection:
        await connection.fetchval(_SQL["make_partitions"])
    try:
        async with admin.platform_transaction() as connection:
            dropped: list[str] = await connection.fetchval(_SQL["drop_partitions"], admin.author.event_key, before)
            digest = await connection.fetchval(_SQL["digest"], "cut")
            if dropped:
                detail = {"before": before.strftime("%Y-%m"), "partitions": dropped, "digest": digest}
                await events.append(connection, admin.author, "events_dropped", **detail)
    except (asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.InvalidParameterValueError) as error:
        raise NotPossible("before", "not_checkpointed", str(error.args[0])) from error
    return dropped
