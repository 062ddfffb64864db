"""
How a command has something done: as a call of the administrators' API, in this process or over HTTP.

Without `--server` the route's operation runs here, on the database, as a platform administrator; with it the same call
goes to the server. Both give the same document and the same problems, so a command is written once.
"""

from __future__ import annotations

import asyncio
import datetime
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import click
import msgspec

from service.api import reading
from service.api.routes import Call, Route, Watch
from service.api.routes import Caller as Identity
from service.api.table import ROUTES
from service.cli import context, output
from service.cli.server import Server, ServerTrouble, choice, chosen_server
from service.core.access import Role
from service.core.problems import InvalidInput, NotFound
from service.operations.administration import Administration

BY_NAME: Mapping[str, Route] = {route.name: route for route in ROUTES}
# What an account's route is called where it is asked of all accounts, by the platform's administrators.
EVERYWHERE = {
    "list_requests": "list_all_requests",
    "list_users": "list_all_users",
    "list_devices": "list_all_devices",
    "list_releases": "list_all_releases",
    "list_events": "list_all_events",
    "verify_events": "verify_all_events",
    "explain": "explain_anywhere",
    "explain_correlation_id": "explain_correlation_id_anywhere",
}

Values = Mapping[str, Any]


class Caller(ABC):
    """Somebody who may call the API's routes by their names."""

    @abstractmethod
    async def send(
        self, route: Route, path: Mapping[str, str], query: Values, body: Values | None, watch: Any
    ) -> bytes:
        """The answer's document as JSON; empty where there is none. Raises InvalidInput."""

    async def __call__(
        self,
        name: str,
        path: Mapping[str, str] | None = None,
        *,
        query: Values | None = None,
        body: Values | None = None,
        watch: Watch | None = None,
    ) -> Any:
        """
        The document that the route answers, its times as times. Raises InvalidInput with every problem.

        What is None in `query` is left out; `body` is sent as it is.
        """
        given = path or {}
        for field, value in given.items():
            if not value:
                raise NotFound(field, "must not be empty")
        wanted = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            raw = await self.send(BY_NAME[name], given, wanted, body, watch)
        except UnicodeEncodeError as error:
            raise click.UsageError("a value is not UTF-8 text, or out of range") from error
        return _with_times(msgspec.json.decode(raw)) if raw else None

    async def account(self, given: str | None) -> str | None:
        """The account to look in: the one that was named, else the caller's own; None: all of them."""
        return given or (await self("whoami"))["account"]

    async def needed(self, given: str | None) -> str:
        """The same, where one account it must be. Raises UsageError."""
        return context.needed(await self.account(given))

    async def account_of(self, client_id: str, given: str | None, *, of: str = "request") -> str:
        """The account that was named, the caller's own, or the one that has this client id. Raises InvalidInput."""
        account = await self.account(given)
        if account is not None:
            return account
        found: str = (await self("find_account", {"client_id": client_id}, query={"of": of}))["account"]
        return found

    async def within(
        self,
        name: str,
        account: str | None,
        path: Mapping[str, str] | None = None,
        *,
        query: Values | None = None,
        watch: Watch | None = None,
    ) -> Any:
        """A route of an account; where neither is one named nor is the caller one's, of all accounts."""
        whose = await self.account(account)
        if whose is None:
            return await self(EVERYWHERE[name], path, query=query, watch=watch)
        return await self(name, {"account": whose, **(path or {})}, query=query, watch=watch)

    async def items(self, name: str, account: str | None, *, query: Values | None = None) -> list[dict[str, Any]]:
        """Every row of a long list, page by page."""
        rows: list[dict[str, Any]] = []
        after = None
        while True:
            page = await self.within(name, account, query={**(query or {}), "limit": MOST_ROWS, "after": after})
            rows += page["items"]
            after = page.get("next")
            if after is None:
                return rows


MOST_ROWS = 500


def has_server() -> bool:
    """Whether this command asks a server."""
    return bool(choice().server)


def check_account(given: str | None) -> None:
    """Where one account it must be: without a server nobody else can name it. Raises UsageError."""
    if not has_server():
        context.needed(given)


Work = Callable[[Caller], Awaitable[Any]]


def run(work: Work, *, as_json: bool) -> Any:
    """Do a command's work and return what it returns; on any trouble say it and exit."""
    try:
        server = chosen_server()
    except InvalidInput as error:
        output.print_problems(error, as_json=as_json)
        sys.exit(output.INVALID)
    if server is None:
        return context.run(lambda admin: work(LocalCaller(admin)), as_json=as_json)
    try:
        return asyncio.run(_over_http(server, work))
    except InvalidInput as error:
        output.print_problems(error, as_json=as_json)
        sys.exit(output.INVALID)
    except ServerTrouble as trouble:
        output.print_error(str(trouble))
        sys.exit(trouble.status)


async def _over_http(server: Server, work: Work) -> Any:
    async with server.opened() as connected:
        return await work(ServerCaller(connected))


class ServerCaller(Caller):
    """Over HTTP, as whoever the token is."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._own: Any = None

    async def account(self, given: str | None) -> str | None:
        """As Caller; the server is asked once whose token it is."""
        if given:
            return given
        if self._own is None:
            self._own = await self("whoami")
        own: str | None = self._own["account"]
        return own

    async def send(
        self, route: Route, path: Mapping[str, str], query: Values, body: Values | None, watch: Any
    ) -> bytes:
        """Nobody can look on from here."""
        del watch
        raw = msgspec.json.encode(body) if route.body is not None else None
        return await self._server.ask(route, path, _as_parameters(query), raw)


class LocalCaller(Caller):
    """In this process, on the database, as the operating system's user: a platform administrator."""

    def __init__(self, admin: Administration) -> None:
        self._admin = admin
        self._identity = Identity(token_id=0, name=context.who(), role=Role.PLATFORM_ADMINISTRATOR, account=None)

    async def send(
        self, route: Route, path: Mapping[str, str], query: Values, body: Values | None, watch: Any
    ) -> bytes:
        """The route's operation, run."""
        for value in path.values():
            value.encode("utf-8")
        raw = msgspec.json.encode(body) if route.body is not None else b""
        call = Call(
            caller=self._identity,
            path=path,
            query=reading.read_query(route, _as_parameters(query)),
            body=reading.read_body(route, raw),
            watch=watch,
        )
        document = await route.run(self._admin, call)
        return reading.encode(document) if document is not None else b""


def _as_parameters(query: Values) -> dict[str, Sequence[str]]:
    """As a URL has them."""
    return {
        name: [_as_text(each) for each in value] if isinstance(value, (list, tuple)) else [_as_text(value)]
        for name, value in query.items()
    }


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.isoformat() if isinstance(value, datetime.datetime) else str(value)
    text.encode("utf-8")
    return text


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_NAMES = re.compile(r"at|until|confirm_by|held_since|.*_at|.*_on", re.ASCII)
# What in a document was written by others, and is no field of ours.
_FOREIGN = frozenset({"additional_device_configuration", "answer", "birth", "device", "this", "other"})


def _with_times(value: Any) -> Any:
    """A document with its times as times, told by the fields' names."""
    if isinstance(value, list):
        return [_with_times(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _as_time(item) if _NAMES.fullmatch(name) else item if name in _FOREIGN else _with_times(item)
        for name, item in value.items()
    }


def _as_time(value: Any) -> Any:
    return datetime.datetime.fromisoformat(value) if isinstance(value, str) and _TIME.fullmatch(value) else value
