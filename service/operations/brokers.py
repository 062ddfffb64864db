"""What becomes of a broker later: other endpoints, an account less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.core import endpoints
from service.core.problems import NotPossible, Problem, raise_problems
from service.db import queries
from service.db.pool import Connection
from service.operations import events
from service.operations.accounts import find_broker
from service.operations.administration import Administration, find_account

_BROKERS = queries.load("brokers")

# As many client ids are named in a problem.
MOST_NAMED = 5


async def change_endpoints(admin: Administration, name: str, urls: Sequence[str]) -> list[str]:
    """
    These are the URLs under which devices reach the broker, and no others. Raises InvalidInput with every problem.

    One that an OPEN or RUNNING request sends its device to stays. (A request that is made with it just now is not seen
    here: its ask is refused, `endpoint_not_served`, until it is changed.) Returns the URLs that went.
    """
    problems = [problem for url in urls for problem in endpoints.check_endpoint(url, "endpoint")]
    new = list(dict.fromkeys(urls))
    async with admin.platform_transaction() as connection:
        broker = await find_broker(connection, name)
        await connection.execute(_BROKERS["lock"], broker.id)
        await admin.check_version(connection, "broker", broker.id)
        before = await connection.fetchval(_BROKERS["endpoints"], broker.id)
        removed = [url for url in before if url not in new]
        for row in await connection.fetch(_BROKERS["requests_using"], broker.id, removed):
            problems.append(
                Problem(
                    field="endpoint",
                    rule="in_use",
                    text=f"{row['provision_endpoint']} is still used by {_some(row['client_ids'])}: "
                    "change or delete these provision requests first",
                )
            )
        raise_problems(problems)
        if new == before:
            return []
        await connection.execute(_BROKERS["set_endpoints"], broker.id, new)
        await events.append(
            connection, admin.author, "broker_changed", broker=broker.name, endpoints=new, removed=removed
        )
    return removed


def _some(client_ids: Sequence[str]) -> str:
    named, left = client_ids[:MOST_NAMED], len(client_ids) - MOST_NAMED
    return ", ".join(named) + (f" and {left} more" if left > 0 else "")


async def unserve_account(admin: Administration, name: str, account_name: str) -> None:
    """
    A broker serves an account no more: its clients lose every right there at once.

    Refused while a provision request of the account, in any state, has one of the broker's endpoints.
    """
    async with admin.platform_transaction() as connection:
        broker = await find_broker(connection, name)
        account = await find_account(connection, account_name)
        using: Any = await connection.fetchval(_BROKERS["requests_of_account"], broker.id, account.id)
        if using:
            raise NotPossible(
                "account",
                "in_use",
                f"has provision requests with endpoints of this broker: {_some(using)}; change or delete them first",
            )
        if await _unserve(connection, broker.id, account.id) is None:
            raise NotPossible("account", "not_served", f"is not served by {broker.name}")
        await events.append(connection, admin.author, "broker_unserves", account_id=account.id, broker=broker.name)


async def _unserve(connection: Connection, broker_id: int, account_id: int) -> int | None:
    gone: int | None = await connection.fetchval(_BROKERS["unserve"], broker_id, account_id)
    return gone
