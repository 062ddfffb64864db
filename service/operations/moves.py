"""
The moves of a provision request that an administrator starts (design section 6, the table of events).
"""

from __future__ import annotations

from typing import Any

from service.core.problems import NotPossible
from service.core.states import RequestState, RunState
from service.db import queries
from service.db.pool import Connection
from service.db.records import ProvisionRequest
from service.operations import events, runs
from service.operations.administration import Administration
from service.operations.requests import lock_request

_REQUESTS = queries.load("provision_requests")
_RUNS = queries.load("provision_runs")
_USERS = queries.load("users")


async def set_enabled(admin: Administration, account_name: str, client_id: str, *, enabled: bool) -> None:
    """
    Enable, or disable: the factory login is refused, and a run under way is stopped. A provisioned device works on.
    """
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        request = await lock_request(connection, admin, account, client_id)
        if not enabled and request.state is RequestState.RUNNING:
            await _stop(connection, admin, request, "request_disabled")
        elif request.enabled != enabled:
            await connection.execute(
                _REQUESTS["set_state"], request.id, request.state, request.attempts, enabled, admin.author.actor
            )
        else:
            return
        await _append(connection, admin, request, "request_enabled" if enabled else "request_disabled")


async def stop_request(admin: Administration, account_name: str, client_id: str) -> None:
    """Stop the run under way; the request is OPEN and disabled. Raises NotPossible where none is."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        request = await lock_request(connection, admin, account, client_id)
        if request.state is not RequestState.RUNNING:
            raise NotPossible(
                "state", "not_running", f"the request is {request.state}, only a RUNNING one can be stopped"
            )
        await _stop(connection, admin, request, "stopped")
        await _append(connection, admin, request, "request_stopped")


async def _stop(connection: Connection, admin: Administration, request: ProvisionRequest, reason: str) -> None:
    run = await runs.lock_live(connection, request)
    assert run is not None
    await runs.end(connection, request, run, state=RunState.STOPPED, author=admin.author, reason=reason, enabled=False)


async def _append(
    connection: Connection, admin: Administration, request: ProvisionRequest, kind: str, **detail: Any
) -> None:
    await events.append(
        connection,
        admin.author,
        kind,
        account_id=request.account_id,
        request_id=request.id,
        client_id=request.client_id,
        **detail,
    )


async def reopen_request(admin: Administration, account_name: str, client_id: str) -> list[str]:
    """
    A PROVISIONED or ABANDONED request is OPEN again, with all its attempts; its generated user goes in the same step.

    Returns the names of the users that went.
    """
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        request = await lock_request(connection, admin, account, client_id)
        if request.state not in (RequestState.PROVISIONED, RequestState.ABANDONED):
            raise NotPossible(
                "state",
                "not_ended",
                f"the request is {request.state}, only a PROVISIONED or ABANDONED one can be reopened",
            )
        await connection.execute(
            _REQUESTS["set_state"], request.id, RequestState.OPEN, 0, request.enabled, admin.author.actor
        )
        gone = await connection.fetch(_RUNS["generated_users"], request.id)
        for user in gone:
            await connection.execute(_USERS["delete"], user["id"])
        usernames = [user["name"] for user in gone]
        await _append(connection, admin, request, "request_reopened", was=request.state, deleted_users=usernames)
    return usernames


async def delete_request(admin: Administration, account_name: str, client_id: str) -> None:
    """
    Delete a request that is not RUNNING. A provisioned device and its user stay; a factory user nobody refers to goes.
    """
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        request = await lock_request(connection, admin, account, client_id)
        if request.state is RequestState.RUNNING:
            raise NotPossible("state", "running", "a RUNNING request cannot be deleted; stop it first")
        left = await connection.fetch(_RUNS["generated_users"], request.id)
        # Whoever makes a request with this credential just now holds it: look whether it is unused after waiting. And
        # wait before the event: it takes the account's chain, which the other wants next.
        await connection.execute(_USERS["lock"], request.user_id)
        await _append(
            connection, admin, request, "request_deleted", was=request.state, kept_users=[user["name"] for user in left]
        )
        await connection.execute(_REQUESTS["delete"], request.id)
        await connection.execute(_USERS["delete_unused_provision"], request.user_id)
