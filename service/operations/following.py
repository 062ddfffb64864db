"""
What our plugin asks beyond CONNECTs and topics: changes as they come, a client's grants anew, and what it reports.

It decides about topics by itself then, as `core` does (design section 5); `admission` stays the complete path.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from service import log
from service.core import names
from service.core.connect import Present, refuse_names
from service.core.verdicts import Denied
from service.db.hooks import BrokerSecrets, FeedPart
from service.db.pool import Unavailable
from service.grants_memory import Client
from service.operations.admission import Admission

# So many of a broker's clients are loaded at a time.
AT_ONCE = 4

_log = log.get("following")


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


async def note_connections(
    admission: Admission, broker: BrokerSecrets, began: float | None, told: Sequence[tuple[str, bool, float]]
) -> bool:
    """
    What a broker tells of its connections: (client id, whether it is connected, since when); `began`: it did, and who
    was there before is gone. Times are of `time.monotonic`. False: the database did not answer, tell it again.

    In the patience that the plugin has with a question, so that nothing is written after what it told next.
    """
    if broker.role != "account":
        return True
    try:
        async with asyncio.timeout(admission.patience):
            while began is not None and await admission.store.note_broker_began(broker.name, time.monotonic() - began):
                pass
            if told:
                await _note_clients(admission, broker, told)
    except (Unavailable, TimeoutError) as error:
        _log.warning("presence_unavailable", broker=broker.name, error=str(error) or type(error).__name__)
        return False
    return True


async def _note_clients(admission: Admission, broker: BrokerSecrets, told: Sequence[tuple[str, bool, float]]) -> None:
    now = time.monotonic()
    clients = [
        (client_id, connected, now - since, not connected and admission.share_of_ends.allows(client_id, now))
        for client_id, connected, since in told
        if names.is_client_id(client_id, names.LONGEST_CLIENT_ID)
    ]
    await admission.store.note_connections(admission.event_key, broker.name, clients)
