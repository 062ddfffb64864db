"""Accounts."""

from __future__ import annotations

from typing import Any

from service.api.documents import AccountChanges, NewAccount
from service.api.routes import Call, Route
from service.operations import accounts
from service.operations.administration import Administration

ACCOUNT = "/accounts/{account}"


async def _show(admin: Administration, call: Call) -> Any:
    return await accounts.show_account(admin, call.path["account"])


async def _list(admin: Administration, _call: Call) -> Any:
    return {"items": await accounts.list_accounts(admin)}


async def _create(admin: Administration, call: Call) -> Any:
    body: NewAccount = call.body
    await accounts.create_account(admin, body.name, brokers=body.brokers, coupling=body.device_connection_coupling)
    return await accounts.show_account(admin, body.name)


async def _change(admin: Administration, call: Call) -> Any:
    body: AccountChanges = call.body
    notices = await accounts.change_account(
        admin,
        call.path["account"],
        coupling=body.device_connection_coupling,
        mandatory_provisioning=body.mandatory_provisioning,
    )
    return {**await _show(admin, call), "notices": notices}


async def _enable(admin: Administration, call: Call) -> Any:
    await accounts.set_account_enabled(admin, call.path["account"], enabled=True)
    return await _show(admin, call)


async def _disable(admin: Administration, call: Call) -> Any:
    await accounts.set_account_enabled(admin, call.path["account"], enabled=False)
    return await _show(admin, call)


ROUTES = (
    Route(name="list_accounts", method="GET", path="/accounts", summary="Every account", run=_list),
    Route(
        name="create_account",
        method="POST",
        path="/accounts",
        summary="Create an account",
        run=_create,
        body=NewAccount,
        status=201,
        made="/accounts/{name}",
    ),
    Route(name="show_account", method="GET", path=ACCOUNT, summary="One account, with what it has", run=_show),
    Route(
        name="change_account",
        method="PATCH",
        path=ACCOUNT,
        summary="Change what INHERITED means, or whether provisioning is mandatory",
        run=_change,
        body=AccountChanges,
        versioned=True,
    ),
    Route(
        name="enable_account",
        method="POST",
        path=f"{ACCOUNT}/enable",
        summary="Let its devices and persons in",
        run=_enable,
        versioned=True,
    ),
    Route(
        name="disable_account",
        method="POST",
        path=f"{ACCOUNT}/disable",
        summary="Keep its devices and persons out, at once",
        run=_disable,
        versioned=True,
    ),
)
