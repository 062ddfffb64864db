"""Brokers: the platform's alone. Secrets are in the answer that made them, and nowhere else."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from service.api.documents import BrokerChanges, NewBroker, Served
from service.api.routes import Call, Route
from service.core.names import RESPONDER
from service.core.problems import InvalidInput, NotFound, Problem
from service.operations import accounts, broker_ca, brokers, users
from service.operations.administration import Administration

BROKER = "/brokers/{broker}"


async def _show(admin: Administration, name: str) -> dict[str, Any]:
    found = [row for row in await accounts.list_brokers(admin) if row["name"].lower() == name.lower()]
    if not found:
        raise NotFound("broker", f"there is no broker {name!r}")
    return found[0]


async def _list(admin: Administration, _call: Call) -> Any:
    return {"items": await accounts.list_brokers(admin)}


async def _create(admin: Administration, call: Call) -> Any:
    body: NewBroker = call.body
    secret = await accounts.create_broker(
        admin, body.name, role=body.role, urls=body.endpoints, serves=body.accounts, ca=body.ca
    )
    return {**await _show(admin, body.name), "secret": secret}


async def _change(admin: Administration, call: Call) -> Any:
    body: BrokerChanges = call.body
    if (body.endpoints is UNSET) == (body.ca is UNSET):
        raise InvalidInput([Problem(field="endpoints", rule="one_at_a_time", text="give either endpoints or ca")])
    name = call.path["broker"]
    removed: list[str] = []
    if body.endpoints is not UNSET:
        removed = await brokers.change_endpoints(admin, name, body.endpoints)
    elif body.ca is not UNSET:
        await broker_ca.change(admin, name, body.ca)
    return {**await _show(admin, name), "removed": removed}


async def _serve(admin: Administration, call: Call) -> Any:
    await accounts.serve_account(admin, call.path["broker"], call.body.account)
    return await _show(admin, call.path["broker"])


async def _unserve(admin: Administration, call: Call) -> Any:
    await brokers.unserve_account(admin, call.path["broker"], call.path["served"])
    return await _show(admin, call.path["broker"])


async def _begin(admin: Administration, call: Call) -> Any:
    secret = await accounts.begin_rotation(admin, call.path["broker"])
    return {**await _show(admin, call.path["broker"]), "secret": secret}


async def _finish(admin: Administration, call: Call) -> Any:
    await accounts.finish_rotation(admin, call.path["broker"])
    return await _show(admin, call.path["broker"])


async def _responder_password(admin: Administration, _call: Call) -> Any:
    return {"name": RESPONDER, "password": await users.put_responder_password(admin)}


ROUTES = (
    Route(
        name="set_responder_password",
        method="POST",
        path="/services/responder/password",
        summary="A new password for ~responder, shown this once; the one before is good no more",
        run=_responder_password,
    ),
    Route(name="list_brokers", method="GET", path="/brokers", summary="Every broker", run=_list),
    Route(
        name="create_broker",
        method="POST",
        path="/brokers",
        summary="Register a broker; its secret is shown this once",
        run=_create,
        body=NewBroker,
        status=201,
        made="/brokers",
        shown_once="secret",
    ),
    Route(
        name="change_broker",
        method="PATCH",
        path=BROKER,
        summary="Other endpoints, or another CA for devices to trust",
        run=_change,
        body=BrokerChanges,
        versioned=True,
    ),
    Route(
        name="serve_account",
        method="POST",
        path=f"{BROKER}/accounts",
        summary="Serve one more account",
        run=_serve,
        body=Served,
    ),
    Route(
        name="unserve_account",
        method="DELETE",
        path=f"{BROKER}/accounts/{{served}}",
        summary="Serve an account no more; its clients lose every right there at once",
        run=_unserve,
    ),
    Route(
        name="begin_broker_rotation",
        method="POST",
        path=f"{BROKER}/rotation",
        summary="A new secret, shown this once; the old one stays good until the rotation is finished",
        run=_begin,
        versioned=True,
    ),
    Route(
        name="finish_broker_rotation",
        method="DELETE",
        path=f"{BROKER}/rotation",
        summary="The old secret is good no more",
        run=_finish,
        versioned=True,
    ),
)
