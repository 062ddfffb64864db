"""
The events as a whole: listed, verified, checkpointed, and dropped by the month behind a checkpoint.

Verification asks chain by chain in ranges of request ids, so that memory does not grow with the events.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import asyncpg

from service.core.event_chain import Broken, Chain, Fault, judge
from service.core.problems import InvalidInput, NotPossible, Problem
from service.db import queries
from service.db.pool import Connection
from service.operations import events
from service.operations.administration import Administration

_SQL = queries.load("event_chains")

# Requests in one question.
RANGE = 1000
# Lines of a checkpoint's file in one question, or rows of one page.
PAGE = 1000
MOST_LISTED = 1000

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
    checkpoint: TextIO | None = None,
    found: Found = _nothing,
    progress: Progress = _nothing,
) -> Report:
    """
    Verify every chain, an account's, or a client id's; each broken one is told to `found`, once for each fault.

    `checkpoint` is a file that `write_checkpoint` wrote: its chains must go on from where they were then. Raises
    NotFound, and InvalidInput where the file is not such a file.
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
        if checkpoint is not None:
            await _verify_file(connection, checkpoint, which, tell)
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


async def _verify_file(connection: Connection, file: TextIO, which: Which, tell: Found) -> None:
    """A file's lines, in pages; its digest is compared where the whole of it was read."""
    header = _header(file.readline())
    digest, lines = hashlib.sha256(), 0
    page: list[tuple[int, int, int, bytes]] = []

    async def ask() -> None:
        columns = [list(column) for column in zip(*page, strict=True)]
        for row in await connection.fetch(_SQL["fit_lines"], *columns):
            broken = _broken(row)
            if which.client_id in (None, broken.client_id) and which.account_id in (None, broken.account_id):
                tell(broken)
        page.clear()

    for text in file:
        digest.update(text.encode())
        page.append(_line(text))
        lines += 1
        if len(page) == PAGE:
            await ask()
    if page:
        await ask()
    if (lines, digest.hexdigest()) != (header.get("chains"), header.get("digest")):
        raise _not_a_checkpoint("is not as it was written: its digest does not fit")


def _not_a_checkpoint(text: str) -> InvalidInput:
    return InvalidInput([Problem(field="checkpoint", rule="checkpoint", text=text)])


def _header(text: str) -> Mapping[str, Any]:
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or "events_checkpoint" not in header:
        raise _not_a_checkpoint("is no file of `provision events checkpoint`")
    return header


def _line(text: str) -> tuple[int, int, int, bytes]:
    try:
        line = json.loads(text)
        numbers = [line["account_id"], line["request_id"], line["count"]]
        head = bytes.fromhex(line["head"])
    except (ValueError, KeyError, TypeError) as error:
        raise _not_a_checkpoint("has a line that is no chain") from error
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers) or len(head) != 32:
        raise _not_a_checkpoint("has a line that is no chain")
    return numbers[0], numbers[1], numbers[2], head


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


async def _checkpoint_lines(connection: Connection) -> AsyncIterator[str]:
    place = (-1, -1)
    while rows := await connection.fetch(_SQL["checkpoint_page"], *place, PAGE):
        for row in rows:
            yield json.dumps(dict(row)) + "\n"
        place = (rows[-1]["account_id"], rows[-1]["request_id"])


async def write_checkpoint(admin: Administration, file: TextIO) -> str:
    """
    Write the checkpoint to a file that can be kept elsewhere: a line with the digest, then one a chain.

    Returns the SHA-256 in hex of the lines after the first. It holds no secret: links are HMACs.
    """
    async with admin.platform_transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        digest, chains = hashlib.sha256(), 0
        async for line in _checkpoint_lines(connection):
            digest.update(line.encode())
            chains += 1
        header = {"events_checkpoint": 1, "chains": chains, "digest": digest.hexdigest()}
        file.write(json.dumps(header) + "\n")
        async for line in _checkpoint_lines(connection):
            file.write(line)
    return digest.hexdigest()


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


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which events; every condition that is given holds. `since` is included, `until` is not."""

    client_id: str | None = None
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    kinds: tuple[str, ...] = ()
    text: str | None = None
    limit: int = 100
    # Where the page before ended: `next` of it.
    after: str | None = None


async def list_events(
    admin: Administration, account_name: str | None, wanted: Filter
) -> tuple[list[dict[str, Any]], str | None]:
    """
    A page of events, newest first, and where the next one begins (None: there is none).

    With an account only its own. Raises NotFound, and InvalidInput where `after` is no such place.
    """
    after = _place(wanted.after)
    limit = min(max(wanted.limit, 1), MOST_LISTED)
    conditions = (
        wanted.client_id,
        wanted.since,
        wanted.until,
        list(wanted.kinds) or None,
        wanted.text,
        *after,
        limit + 1,
    )
    if account_name is None:
        async with admin.platform_transaction() as connection:
            rows = await connection.fetch(_SQL["list"], None, *conditions)
    else:
        account = await admin.account(account_name)
        async with admin.account_transaction(account.id) as connection:
            rows = await connection.fetch(_SQL["list"], account.id, *conditions)
    page = [{**row, "detail": json.loads(row["detail"])} for row in rows[:limit]]
    following = f"{page[-1]['at'].isoformat()}_{page[-1]['id']}" if len(rows) > limit else None
    return page, following


def _place(after: str | None) -> tuple[datetime.datetime | None, int | None]:
    if after is None:
        return None, None
    at, _, number = after.rpartition("_")
    try:
        moment = datetime.datetime.fromisoformat(at)
        if moment.tzinfo is None or not 0 <= int(number) < 2**63:
            raise ValueError
    except ValueError:
        raise InvalidInput([Problem(field="after", rule="after", text="is no place in the list of events")]) from None
    return moment, int(number)
