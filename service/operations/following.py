"""
What our plugin asks beyond CONNECTs and topics: changes as they come, a client's grants anew, and what it reports.

It decides about topics by itself then, as `core` does (design section 5); `admission` stays the complete path.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from service.core.connect import Present, refuse_names
from service.core.verdicts import Denied
from service.db.hooks import BrokerSecrets, FeedPart
from service.db.pool import Unavailable
from service.memory import Client
from service.operations.admission import Admission

# So many of a broker's clients are loaded at a time.
AT_ONCE = 4


async def follow(admission: Admission, position: str | None, wait: float) -> FeedPart:
    """
    What changed since a position; where nothing did, after `wait` seconds at the latest. Raises Unavailable and
    ValueError.

    Each answer is the database's own: whoever gets one knows that nothing was missed until then.
    """
    bell = admission.bell
    part = await admission.store.feed(position)
    if position is None or part.changes or part.lost:
        return part
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(bell.wait(), wait)
    return await admission.store.feed(position)


async def load_clients(
    admission: Admission, broker: BrokerSecrets, clients: Sequence[tuple[str, str]]
) -> list[tuple[Present | Denied | None, int]]:
    """
    The rights that (username, client id) have now, and the feed's position they were read at; None: not to be had.

    From the database and not from memory: the change that made the plugin ask may not have come here yet.
    """
    turns = asyncio.Semaphore(AT_ONCE)

    async def load(username: str, client_id: str) -> tuple[Present | Denied | None, int]:
        async with turns:
            return await _load(admission, (broker.name, username, client_id))

    return list(await asyncio.gather(*(load(*client) for client in clients)))


async def _load(admission: Admission, client: Client) -> tuple[Present | Denied | None, int]:
    _, username, client_id = client
    refused = refuse_names(username, client_id, admission.client_id_length)
    if refused is not None:
        return refused, 0
    try:
        async with asyncio.timeout(admission.patience):
            facts = await admission.store.facts(*client)
    except (Unavailable, TimeoutError):
        return None, 0
    return admission.decide(facts, username, client_id), facts.as_of


async def note_seen(admission: Admission, broker: BrokerSecrets, clients: Sequence[tuple[str, str]]) -> None:
    """These (username, client id) published of late."""
    for username, client_id in clients:
        try:
            decision = await admission.presence_in_time((broker.name, username, client_id))
        except (Unavailable, TimeoutError):
            return  # they are reported again
        if isinstance(decision, Present):
            admission.note_seen(decision, client_id)
