"""Factory credentials: rotation, hold, watch. A generated password is in the answer that made it only."""

from __future__ import annotations

import datetime
from typing import Any

from service.api.accounts import ACCOUNT
from service.api.documents import ListQuery, Rotation, RotationEnd, WatchChanges
from service.api.listing import read_list
from service.api.routes import Call, Route
from service.operations import credentials
from service.operations.administration import Administration

CREDENTIALS = f"{ACCOUNT}/credentials"
CREDENTIAL = f"{CREDENTIALS}/{{username}}"


def _names(call: Call) -> tuple[str, str]:
    return call.path["account"], call.path["username"]


async def _list(admin: Administration, call: Call) -> Any:
    items, following = await credentials.list_page(admin, call.path["account"], *read_list(call, "credentials"))
    return {"items": items, "next": following}


async def _show(admin: Administration, call: Call) -> Any:
    return await credentials.show_credential(admin, *_names(call))


async def _rotate(admin: Administration, call: Call) -> Any:
    body: Rotation = call.body
    overlap = datetime.timedelta(seconds=body.overlap_seconds)
    made = await credentials.rotate(admin, *_names(call), password=body.provision_password, overlap=overlap)
    shown = await _show(admin, call)
    return shown if made is None else {**shown, "provision_password": made}


async def _finish(admin: Administration, call: Call) -> Any:
    body: RotationEnd = call.body
    await credentials.finish(admin, *_names(call), even_so=body.even_so)
    return await _show(admin, call)


async def _hold(admin: Administration, call: Call) -> Any:
    await credentials.hold(admin, *_names(call))
    return await _show(admin, call)


async def _lift(admin: Administration, call: Call) -> Any:
    await credentials.lift(admin, *_names(call))
    return await _show(admin, call)


async def _watch(admin: Administration, call: Call) -> Any:
    body: WatchChanges = call.body
    most = {name: getattr(body, name) for name in credentials.WATCHED}
    await credentials.watch(admin, *_names(call), hold=body.hold, **most)
    return await _show(admin, call)


ROUTES = (
    Route(
        name="list_credentials",
        method="GET",
        path=CREDENTIALS,
        summary="Factory credentials, a page at a time (client_id: names)",
        run=_list,
        query=ListQuery,
    ),
    Route(
        name="show_credential",
        method="GET",
        path=CREDENTIAL,
        summary="One, with who still comes with the old password",
        run=_show,
    ),
    Route(
        name="rotate_credential",
        method="POST",
        path=f"{CREDENTIAL}/rotation",
        summary="Another password; a generated one is shown this once",
        run=_rotate,
        body=Rotation,
        versioned=True,
    ),
    Route(
        name="finish_credential_rotation",
        method="POST",
        path=f"{CREDENTIAL}/rotation/finish",
        summary="The old password is good no more",
        run=_finish,
        body=RotationEnd,
        versioned=True,
    ),
    Route(
        name="hold_credential",
        method="POST",
        path=f"{CREDENTIAL}/hold",
        summary="Its CONNECTs wait until it is lifted",
        run=_hold,
        versioned=True,
    ),
    Route(
        name="lift_credential",
        method="POST",
        path=f"{CREDENTIAL}/lift",
        summary="Its CONNECTs are answered again",
        run=_lift,
        versioned=True,
    ),
    Route(
        name="watch_credential",
        method="PATCH",
        path=CREDENTIAL,
        summary="From what on a leak is suspected, and whether that holds it",
        run=_watch,
        body=WatchChanges,
        versioned=True,
    ),
)
