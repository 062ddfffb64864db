"""What time does: runs past their deadline are closed, and tables that only grow are pruned."""

from __future__ import annotations

import datetime

from service import log
from service.db import queries
from service.db.pool import Pool, transaction
from service.db.records import ProvisionRequest
from service.operations import runs
from service.operations.asks import close_past_deadline

_REQUESTS = queries.load("provision_requests")
_RUNS = queries.load("provision_runs")
_EVENTS = queries.load("events")
_FEED = queries.load("feed")
_CREDENTIALS = queries.load("credentials")
_CHAINS = queries.load("event_chains")
_RECOVERY = queries.load("recovery")

KEEP_CHANGES = datetime.timedelta(minutes=10)
KEEP_REFUSALS = datetime.timedelta(days=30)
MOST_REFUSALS = 1_000_000
KEEP_JOURNAL = datetime.timedelta(days=30)
KEEP_LOGINS = datetime.timedelta(days=7)
MOST_LOGINS = 1_000_000
MOST_GUESSED = 10_000

_log = log.get("sweep")


async def close_overdue(pool: Pool, event_key: bytes) -> list[str]:
    """
    Close the runs whose deadline passed; returns their client ids.

    One transaction a run, and rows that somebody works on are left for the next time: nobody waits for the sweep.
    """
    closed = []
    async with pool.acquire(timeout=5) as connection:
        overdue = [(row["client_id"], row["account_id"]) for row in await connection.fetch(_RUNS["past_deadline"])]
    for of in overdue:
        async with transaction(pool) as connection:
            if await connection.fetchval(_REQUESTS["lock_unless_locked"], *of) is None:
                continue
            row = await connection.fetchrow(_REQUESTS["lock_own"], *of)
            request = ProvisionRequest.from_row(row) if row else None
            run = await runs.lock_live(connection, request) if request else None
            if request and run and run.past_deadline:
                await close_past_deadline(connection, request, run, event_key)
                closed.append(of[0])
    if closed:
        _log.info("runs_closed", count=len(closed))
    return closed


async def prune(pool: Pool) -> None:
    """
    Forget changes that every reader saw, old refusals, the journal that was written long ago, and one-time passwords
    that nobody used; make the coming months'
    partitions of events. (Without them events go to the default one: none is lost.)
    """
    async with pool.acquire(timeout=5) as connection:
        await connection.execute(_FEED["prune_changes"], KEEP_CHANGES)
        await connection.execute(_FEED["prune_one_time_passwords"])
        await connection.execute(_EVENTS["prune_refusals"], KEEP_REFUSALS, MOST_REFUSALS)
        await connection.execute(_EVENTS["prune_logins"], KEEP_LOGINS, MOST_LOGINS)
        await connection.execute(_CREDENTIALS["prune_uses"])
        await connection.execute(_RECOVERY["prune_journal"], KEEP_JOURNAL)
        await connection.execute(_CREDENTIALS["prune_guesses"], MOST_GUESSED)
        made = await connection.fetchval(_CHAINS["make_partitions"])
    if made:
        _log.info("event_partitions_made", count=len(made))
