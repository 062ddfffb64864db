"""Routes for our plugin: `GET /hooks/changes`, `POST /hooks/clients`, `POST /hooks/reports` (design section 5)."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from service.core.connect import Present
from service.core.grants import Access
from service.core.verdicts import Denied
from service.db.hooks import BrokerSecrets
from service.db.pool import Unavailable
from service.operations import following
from service.operations.admission import Admission

# The longest that a question for changes is kept (seconds): the plugin takes two seconds of silence for trouble.
LONGEST_WAIT = 1.0
MOST_CLIENTS = 64
MOST_REPORTED = 1000

Name = Annotated[str, Meta(max_length=65535)]
# A hundred years at most: as long as no time it leads to is out of range.
Milliseconds = Annotated[int, Meta(ge=0, le=100 * 365 * 86_400_000)]


class Client(Struct, forbid_unknown_fields=True):
    """One of the broker's clients."""

    username: Name
    clientid: Name


class Clients(Struct, forbid_unknown_fields=True):
    """Whose grants are wanted anew."""

    clients: Annotated[list[Client], Meta(max_length=MOST_CLIENTS)]


class Refused(Struct, forbid_unknown_fields=True):
    """A topic that the plugin refused, with the last topic of its kind, and how often."""

    username: Name
    clientid: Name
    topic: Name
    acc: int
    reason: Literal["no_grant", "unknown_access", "malformed_topic", "shared_subscription"]
    count: Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Connection(Struct, forbid_unknown_fields=True):
    """What a client id has come to at the broker, and how many milliseconds ago."""

    clientid: Name
    connected: bool
    age: Milliseconds


class Reports(Struct, forbid_unknown_fields=True):
    """
    What happened since the last report; `seen`: who published; `began`: the broker did, so many milliseconds ago, and
    all that is told of connections is told of those since then.
    """

    began: Milliseconds | None = None
    connections: Annotated[list[Connection], Meta(max_length=MOST_REPORTED)] = []
    refused: Annotated[list[Refused], Meta(max_length=MOST_REPORTED)] = []
    seen: Annotated[list[Client], Meta(max_length=MOST_REPORTED)] = []


def describe(decision: Present | Denied | None, as_of: int) -> dict[str, Any]:
    """A client's rights as the plugin reads them; `ok` null: nobody knows just now."""
    if decision is None:
        return {"ok": None}
    if isinstance(decision, Denied):
        return {"ok": False}
    grants = [(grant.filter, sum(grant.accesses)) for grant in decision.grants]
    return {"ok": True, "as_of": str(as_of), "grants": grants}


def answer(document: Any, status: int = 200) -> web.Response:
    """A JSON document."""
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json")


_UNAVAILABLE = {"ok": False, "error": "unavailable"}
_MALFORMED = {"ok": False, "error": "malformed"}


async def give_changes(admission: Admission, _broker: BrokerSecrets, request: web.BaseRequest) -> web.Response:
    """`GET /hooks/changes?since=<position>`: without one, where to begin."""
    since = request.query.get("since") or None
    try:
        part = await following.follow(admission, since, LONGEST_WAIT)
    except Unavailable:
        return answer(_UNAVAILABLE, 503)
    except ValueError:
        return answer(_MALFORMED, 403)
    return answer(
        {"ok": True, "position": part.position, "as_of": part.as_of, "lost": part.lost, "changes": part.changes}
    )


async def give_clients(admission: Admission, broker: BrokerSecrets, request: web.BaseRequest) -> web.Response:
    """`POST /hooks/clients`: the rights that these have now, in their order."""
    try:
        body = msgspec.json.decode(await request.read(), type=Clients)
    except (ValueError, RecursionError):
        return answer(_MALFORMED, 403)
    names = [(client.username, client.clientid) for client in body.clients]
    found = await following.load_clients(admission, broker, names)
    return answer({"ok": True, "clients": [describe(*each) for each in found]})


async def take_reports(admission: Admission, broker: BrokerSecrets, request: web.BaseRequest) -> web.Response:
    """`POST /hooks/reports`; 503: tell all of it again."""
    clock = time.monotonic()
    try:
        body = msgspec.json.decode(await request.read(), type=Reports)
    except (ValueError, RecursionError):
        return answer(_MALFORMED, 403)
    for refused in body.refused:
        _count(admission, broker.name, refused)
    await following.note_seen(admission, broker, [(client.username, client.clientid) for client in body.seen])
    began = None if body.began is None else clock - body.began / 1000
    told = [(each.clientid, each.connected, clock - each.age / 1000) for each in body.connections]
    if not await following.note_connections(admission, broker, began, told):
        return answer(_UNAVAILABLE, 503)
    return answer({"ok": True})


def _count(admission: Admission, broker: str, refused: Refused) -> None:
    access = next((access.name for access in Access if access == refused.acc), "unknown")
    client = (broker, refused.username, refused.clientid)
    admission.refusals.count(client, refused.reason, refused.topic, access, times=refused.count)


ROUTES = {
    "/hooks/changes": ("GET", give_changes),
    "/hooks/clients": ("POST", give_clients),
    "/hooks/reports": ("POST", take_reports),
}
