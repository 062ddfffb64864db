"""Users of an account: persons are made here; those of provision requests are seen only."""

from __future__ import annotations

from typing import Any

from service.api.accounts import ACCOUNT
from service.api.documents import ListQuery, NewUser, Permissions
from service.api.listing import list_page
from service.api.routes import Call, Route
from service.core.pages import Page
from service.core.problems import NotFound
from service.operations import lists, users
from service.operations.administration import Administration
from service.operations.lists import Filters

USERS = f"{ACCOUNT}/users"
USER = f"{USERS}/{{username}}"
KINDS = ("provision", "device", "person", "service")


async def _list(admin: Administration, call: Call) -> Any:
    return await list_page(admin, call, "users", dict, kinds=KINDS)


async def _show(admin: Administration, account: str, name: str) -> dict[str, Any]:
    page = Page(sort="name", limit=1)
    rows, _ = await lists.fetch_page(admin, "users", account, Filters(client_ids=[name]), page)
    if not rows:
        raise NotFound("username", "there is no such user in this account")
    return {column: value for column, value in rows[0].items() if column != "id"}


async def _create(admin: Administration, call: Call) -> Any:
    body: NewUser = call.body
    password = await users.create_person(admin, call.path["account"], body.name, body.permissions)
    return {**await _show(admin, call.path["account"], body.name), "password": password}


async def _grant(admin: Administration, call: Call) -> Any:
    await users.set_permissions(admin, call.path["account"], call.path["username"], call.body.permissions)
    return await _show(admin, call.path["account"], call.path["username"])


async def _enable(admin: Administration, call: Call) -> Any:
    await users.set_user_enabled(admin, call.path["account"], call.path["username"], enabled=True)
    return await _show(admin, call.path["account"], call.path["username"])


async def _disable(admin: Administration, call: Call) -> Any:
    await users.set_user_enabled(admin, call.path["account"], call.path["username"], enabled=False)
    return await _show(admin, call.path["account"], call.path["username"])


async def _delete(admin: Administration, call: Call) -> Any:
    await users.delete_user(admin, call.path["account"], call.path["username"])


ROUTES = (
    Route(
        name="list_users",
        method="GET",
        path=USERS,
        summary="Users, by kind and text, a page at a time (client_id: names)",
        run=_list,
        query=ListQuery,
    ),
    Route(
        name="list_all_users",
        method="GET",
        path="/users",
        summary="Users of all accounts and our own, as list_users",
        run=_list,
        query=ListQuery,
    ),
    Route(
        name="create_user",
        method="POST",
        path=USERS,
        summary="Create a person; the password is shown this once",
        run=_create,
        body=NewUser,
        status=201,
        made=USERS,
        shown_once="password",
    ),
    Route(
        name="grant_user",
        method="PUT",
        path=f"{USER}/permissions",
        summary="A person has these permissions and no others",
        run=_grant,
        body=Permissions,
        versioned=True,
    ),
    Route(name="enable_user", method="POST", path=f"{USER}/enable", summary="Let it in", run=_enable, versioned=True),
    Route(
        name="disable_user",
        method="POST",
        path=f"{USER}/disable",
        summary="Keep it out, at once",
        run=_disable,
        versioned=True,
    ),
    Route(
        name="delete_user",
        method="DELETE",
        path=USER,
        summary="Delete a person's user",
        run=_delete,
        status=204,
        versioned=True,
    ),
)
