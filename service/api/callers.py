"""Who asks, and where a client id belongs: what a caller needs to know before it can name an account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from service.api.documents import FindQuery
from service.api.routes import Call, Route
from service.core.problems import InvalidInput, Problem
from service.operations import connections, devices, releases, requests
from service.operations.administration import Administration

Find = Callable[[Administration, str], Awaitable[str]]

# What an account may have of a client id, and how its account is found by it.
FINDERS: dict[str, Find] = {
    "request": requests.find_account_of,
    "device": devices.find_account_of_device,
    "client": connections.find_account_of_client,
    "claim": releases.find_holder,
}


async def _whoami(_admin: Administration, call: Call) -> Any:
    return {"name": call.caller.name, "role": call.caller.role, "account": call.caller.account}


async def _find_account(admin: Administration, call: Call) -> Any:
    query: FindQuery = call.query
    if query.of not in FINDERS:
        raise InvalidInput([Problem(field="of", rule="of", text=f"must be one of {', '.join(FINDERS)}")])
    return {"account": await FINDERS[query.of](admin, call.path["client_id"])}


ROUTES = (
    Route(
        name="whoami",
        method="GET",
        path="/whoami",
        summary="Whose token this is: its name, role and account (null: the platform's)",
        run=_whoami,
    ),
    Route(
        name="find_account",
        method="GET",
        path="/client-ids/{client_id}/account",
        summary="The account that has a client id, where one account has it",
        run=_find_account,
        query=FindQuery,
    ),
)
