"""
After a restore deadlines stand still, until an operator says that this is the database to go on with (D7). What was
revoked after the moment it was restored to is revoked again, by the journal that was kept outside (decision 0013).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from service.core.problems import InvalidInput, NotFound, Problem
from service.core.recovery import Key, Plan, Standing, Word, last_words, plan
from service.core.states import RunState
from service.db import queries
from service.operations import accounts, credentials, devices, events, moves, runs, tokens, users
from service.operations.administration import Administration
from service.operations.requests import lock_request

_FEED = queries.load("feed")
_SQL = queries.load("recovery")


async def show(admin: Administration) -> dict[str, Any]:
    """When hooks were seen last, how much time did not count so far, and since when none does."""
    async with admin.platform_transaction() as connection:
        row = await connection.fetchrow(_FEED["held"])
    assert row is not None
    restored = row["cluster"] not in ("", row["cluster_now"])
    return {
        "hooks_seen_at": row["at"],
        "time_not_counted": str(row["outage"]),
        "restored": restored,
        "held_since": row["held_since"] or (row["at"] if restored else None),
    }


async def accept(admin: Administration) -> bool:
    """Time counts again. False: nothing was held."""
    async with admin.platform_transaction() as connection:
        row = await connection.fetchrow(_FEED["accept_restore"])
        if row is not None:
            await events.append(connection, admin.author, "restore_accepted", not_counted=str(row["outage"]))
    return row is not None


async def report(admin: Administration, words: Sequence[Word], since: datetime.datetime | None) -> dict[str, Any]:
    """
    What the journal's words ask for, see `core.recovery.Plan`, with the state of each device's request; and `refused`:
    who came to an account broker since then with a username that nobody has here.

    `since`: what was said before is in the database; None: since hooks were seen last before the restore. Raises
    InvalidInput where there was none.
    """
    since = since or await _restored_to(admin)
    found = await _plan(admin, last_words(words, since))
    async with admin.platform_transaction() as connection:
        rows = await connection.fetch(_SQL["request_states"], [word.client_id for word in found.reissue])
        refused = await connection.fetch(_SQL["refused_devices"], since)
    states = {(row["account"], row["client_id"]): row["state"] for row in rows}
    return {
        "since": since,
        "revoke": [_describe(word) for word in found.revoke],
        "reissue": [
            {
                "account": word.account,
                "client_id": word.client_id,
                "username": word.name,
                "request": states.get((word.account, word.client_id)),
            }
            for word in found.reissue
        ],
        "changed": [_describe(word) for word in found.changed],
        "missing": [_describe(word) for word in found.missing],
        "refused": [dict(row) for row in refused],
    }


async def revoke_again(
    admin: Administration, words: Sequence[Word], since: datetime.datetime | None
) -> list[dict[str, Any]]:
    """
    Keep everybody out again whom the journal says is out; what was deleted is disabled, so that a person may think
    again. Returns what was done. It may be done again: it does nothing then. Raises as `report` does.
    """
    since = since or await _restored_to(admin)
    done = []
    for word in (await _plan(admin, last_words(words, since))).revoke:
        try:
            await _revoke(admin, word)
        except NotFound:  # it went with something that was revoked before
            continue
        done.append(_describe(word))
    return done


async def _restored_to(admin: Administration) -> datetime.datetime:
    since: datetime.datetime | None = (await show(admin))["held_since"]
    if since is None:
        text = "this database was not restored, or that was accepted already; name the time that it was restored to"
        raise InvalidInput([Problem(field="since", rule="not_restored", text=text)])
    return since


async def _plan(admin: Administration, words: Sequence[Word]) -> Plan:
    async with admin.platform_transaction() as connection:
        rows = await connection.fetch(_SQL["standing"], list({word.name for word in words}))
    standing: dict[Key, Standing] = {
        (row["kind"], row["account"], row["name"]): Standing(
            enabled=row["enabled"], made=row["made"], version=row["version"]
        )
        for row in rows
    }
    return plan(words, standing)


def _describe(word: Word) -> dict[str, Any]:
    return {"kind": word.kind, "account": word.account, "name": word.name, "state": word.state, "at": word.at}


async def _revoke(admin: Administration, word: Word) -> None:
    """One of REVOCABLE, by the operation that an administrator has for it."""
    account, name = word.account or "", word.name
    match word.kind:
        case "account":
            await accounts.set_account_enabled(admin, name, enabled=False)
        case "token":
            await tokens.revoke_token(admin, word.account, name)
        case "user":
            await _revoke_user(admin, account, name)
        case "request":
            await moves.set_enabled(admin, account, name, enabled=False)
        case "credential":
            await credentials.hold(admin, account, name)
        case "device":
            await devices.set_device_enabled(admin, account, name, enabled=False)


async def _revoke_user(admin: Administration, account_name: str, name: str) -> None:
    """The user of a run under way goes with the run, so that its device may ask anew; any other one is disabled."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        client_id = await connection.fetchval(_SQL["live_run_of_user"], name)
        if client_id is not None:
            request = await lock_request(connection, admin, account, client_id)
            run = await runs.lock_live(connection, request)
            if run is not None and run.username == name:
                state, reason = RunState.STOPPED, "revoked_since"
                await runs.end(connection, request, run, state=state, author=admin.author, reason=reason)
                return
    await users.set_user_enabled(admin, account_name, name, enabled=False)
