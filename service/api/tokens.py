"""Tokens: an account's, and the platform's own."""

from __future__ import annotations

from typing import Any

from service.api.accounts import ACCOUNT
from service.api.documents import NewPlatformToken, NewToken
from service.api.routes import Call, Route
from service.core.access import Role
from service.operations import tokens
from service.operations.administration import Administration

TOKENS = f"{ACCOUNT}/tokens"


async def _list(admin: Administration, call: Call) -> Any:
    return {"items": await tokens.list_tokens(admin, call.path.get("account"))}


async def _create(admin: Administration, call: Call) -> Any:
    body: NewToken = call.body
    created = await tokens.create_token(admin, call.path["account"], body.name, role=body.role, days=body.days)
    return {"name": body.name, "role": body.role, "expires_on": created.expires_on, "token": created.token}


async def _create_platform(admin: Administration, call: Call) -> Any:
    body: NewPlatformToken = call.body
    role = Role.PLATFORM_ADMINISTRATOR
    created = await tokens.create_token(admin, None, body.name, role=role, days=body.days)
    return {"name": body.name, "role": role, "expires_on": created.expires_on, "token": created.token}


async def _revoke(admin: Administration, call: Call) -> Any:
    await tokens.revoke_token(admin, call.path.get("account"), call.path["token"])


ROUTES = (
    Route(name="list_tokens", method="GET", path=TOKENS, summary="An account's tokens, never their text", run=_list),
    Route(
        name="create_token",
        method="POST",
        path=TOKENS,
        summary="Create a token of a role; shown this once",
        run=_create,
        body=NewToken,
        status=201,
        made=TOKENS,
        shown_once="token",
    ),
    Route(
        name="revoke_token",
        method="DELETE",
        path=f"{TOKENS}/{{token}}",
        summary="It is good no more",
        run=_revoke,
        status=204,
    ),
    Route(
        name="list_platform_tokens",
        method="GET",
        path="/tokens",
        summary="The platform administrators' tokens",
        run=_list,
    ),
    Route(
        name="create_platform_token",
        method="POST",
        path="/tokens",
        summary="Create a platform administrator's token; shown this once",
        run=_create_platform,
        body=NewPlatformToken,
        status=201,
        made="/tokens",
        shown_once="token",
    ),
    Route(
        name="revoke_platform_token",
        method="DELETE",
        path="/tokens/{token}",
        summary="It is good no more",
        run=_revoke,
        status=204,
    ),
)
