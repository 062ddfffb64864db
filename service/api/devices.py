"""The device registry: devices, their connections, releases to other accounts."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from service.api.accounts import ACCOUNT
from service.api.documents import ConnectionChangesBody, ListQuery, NewRelease, ReleasesQuery
from service.api.listing import list_page
from service.api.routes import Call, Route
from service.core.connections import ConnectionChanges
from service.operations import connections, devices, releases
from service.operations.administration import Administration

DEVICES = f"{ACCOUNT}/devices"
DEVICE = f"{DEVICES}/{{client_id}}"
CONNECTION = f"{ACCOUNT}/connections/{{client_id}}"


async def _list(admin: Administration, call: Call) -> Any:
    return await list_page(admin, call, "devices", dict, statuses=devices.STATUSES)


async def _show(admin: Administration, call: Call) -> Any:
    return await devices.show_device(admin, call.path["account"], call.path["client_id"])


async def _enable(admin: Administration, call: Call) -> Any:
    await devices.set_device_enabled(admin, call.path["account"], call.path["client_id"], enabled=True)
    return await _show(admin, call)


async def _disable(admin: Administration, call: Call) -> Any:
    await devices.set_device_enabled(admin, call.path["account"], call.path["client_id"], enabled=False)
    return await _show(admin, call)


async def _delete(admin: Administration, call: Call) -> Any:
    return {"deleted_users": await connections.delete_device(admin, call.path["account"], call.path["client_id"])}


async def _release(admin: Administration, call: Call) -> Any:
    body: NewRelease = call.body
    until = await releases.release_device(
        admin, call.path["account"], call.path["client_id"], to=body.to, until=body.until
    )
    return {"client_id": call.path["client_id"], "to": body.to, "until": until}


async def _cancel(admin: Administration, call: Call) -> Any:
    await releases.cancel_release(admin, call.path["account"], call.path["client_id"])


async def _releases(admin: Administration, call: Call) -> Any:
    query: ReleasesQuery = call.query
    return {"items": await releases.list_releases(admin, call.path.get("account"), query.client_id)}


async def _show_connection(admin: Administration, call: Call) -> Any:
    return await connections.show_connection(admin, call.path["account"], call.path["client_id"])


async def _change_connection(admin: Administration, call: Call) -> Any:
    body: ConnectionChangesBody = call.body
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    changed = await connections.change_connection(
        admin, call.path["account"], call.path["client_id"], ConnectionChanges(**given)
    )
    return {**await _show_connection(admin, call), "notices": changed.notices}


async def _delete_connection(admin: Administration, call: Call) -> Any:
    await connections.delete_connection(admin, call.path["account"], call.path["client_id"])


ROUTES = (
    Route(
        name="list_devices",
        method="GET",
        path=DEVICES,
        summary="Devices, by period, client ids, statuses and text, a page at a time",
        run=_list,
        query=ListQuery,
    ),
    Route(
        name="list_all_devices",
        method="GET",
        path="/devices",
        summary="Devices of all accounts, as list_devices",
        run=_list,
        query=ListQuery,
    ),
    Route(
        name="show_device",
        method="GET",
        path=DEVICE,
        summary="One device with its connection, what it said of itself, and its releases",
        run=_show,
    ),
    Route(
        name="enable_device",
        method="POST",
        path=f"{DEVICE}/enable",
        summary="Let it in",
        run=_enable,
        versioned=True,
    ),
    Route(
        name="disable_device",
        method="POST",
        path=f"{DEVICE}/disable",
        summary="Keep it out, at once",
        run=_disable,
        versioned=True,
    ),
    Route(
        name="delete_device",
        method="DELETE",
        path=DEVICE,
        summary="Delete a device with its connection",
        run=_delete,
        versioned=True,
    ),
    Route(
        name="release_device",
        method="POST",
        path=f"{DEVICE}/release",
        summary="Let the client id go to another account",
        run=_release,
        body=NewRelease,
    ),
    Route(
        name="cancel_release",
        method="DELETE",
        path=f"{DEVICE}/release",
        summary="Call a release off",
        run=_cancel,
        status=204,
    ),
    Route(
        name="list_releases",
        method="GET",
        path=f"{ACCOUNT}/releases",
        summary="Releases from and to the account",
        run=_releases,
        query=ReleasesQuery,
    ),
    Route(
        name="list_all_releases",
        method="GET",
        path="/releases",
        summary="Releases from and to all accounts",
        run=_releases,
        query=ReleasesQuery,
    ),
    Route(
        name="show_connection",
        method="GET",
        path=CONNECTION,
        summary="Who had a client id last, and who may",
        run=_show_connection,
    ),
    Route(
        name="change_connection",
        method="PATCH",
        path=CONNECTION,
        summary="Coupling, reserved user, allow user change",
        run=_change_connection,
        body=ConnectionChangesBody,
        versioned=True,
    ),
    Route(
        name="delete_connection",
        method="DELETE",
        path=CONNECTION,
        summary="Forget a connection; the next login makes a new one",
        run=_delete_connection,
        status=204,
        versioned=True,
    ),
)
