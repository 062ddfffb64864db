"""After a restore, and the switch that stops issuing: what concerns the platform as a whole."""

from __future__ import annotations

from typing import Any

from service.api.documents import Journal
from service.api.routes import Call, Route
from service.core.recovery import Word
from service.operations import issuing, recovery
from service.operations.administration import Administration


async def _show(admin: Administration, _call: Call) -> Any:
    return await recovery.show(admin)


def _words(call: Call) -> list[Word]:
    body: Journal = call.body
    return [Word(**{name: getattr(each, name) for name in each.__struct_fields__}) for each in body.words]


async def _report(admin: Administration, call: Call) -> Any:
    return await recovery.report(admin, _words(call), call.body.since)


async def _revoke(admin: Administration, call: Call) -> Any:
    return {"items": await recovery.revoke_again(admin, _words(call), call.body.since)}


async def _accept(admin: Administration, _call: Call) -> Any:
    return {"accepted": await recovery.accept(admin)}


async def _show_issuing(admin: Administration, _call: Call) -> Any:
    return await issuing.show(admin)


async def _stop_issuing(admin: Administration, _call: Call) -> Any:
    return {"changed": await issuing.stop(admin), **await issuing.show(admin)}


async def _start_issuing(admin: Administration, _call: Call) -> Any:
    return {"changed": await issuing.start(admin), **await issuing.show(admin)}


ROUTES = (
    Route(
        name="show_recovery",
        method="GET",
        path="/recovery",
        summary="Whether deadlines stand still after a restore",
        run=_show,
    ),
    Route(
        name="report_recovery",
        method="POST",
        path="/recovery/report",
        summary="What the journal says of who was revoked, or provisioned, after the moment that was restored to",
        run=_report,
        body=Journal,
        repeatable=True,
    ),
    Route(
        name="revoke_again",
        method="POST",
        path="/recovery/revoke",
        summary="Keep out again whom the journal says is out",
        run=_revoke,
        body=Journal,
        repeatable=True,
    ),
    Route(
        name="accept_recovery",
        method="POST",
        path="/recovery/accept",
        summary="This is the database to go on with: deadlines count again",
        run=_accept,
    ),
    Route(
        name="show_issuing",
        method="GET",
        path="/issuing",
        summary="Whether issuing is stopped, since when and by whom",
        run=_show_issuing,
    ),
    Route(
        name="stop_issuing",
        method="POST",
        path="/issuing/stop",
        summary="No run begins on the whole platform, at once; runs under way go on",
        run=_stop_issuing,
        repeatable=True,
    ),
    Route(
        name="start_issuing",
        method="POST",
        path="/issuing/start",
        summary="Runs begin again",
        run=_start_issuing,
        repeatable=True,
    ),
)
