"""What a route is: a name in the table of roles, a path, what comes in and what goes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from service.core.access import Role
from service.operations.administration import Administration

# What is done, of how much, and how many things that were.
Watch = Callable[[int, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whose token it is; `account` is None for the platform's."""

    token_id: int
    name: str
    role: Role
    account: str | None


@dataclass(frozen=True, kw_only=True)
class Call:
    """
    One request, read and allowed. `reduced`: the caller may see progress only.

    `watch`: who in this process is told how far it is, such as a person at a terminal; nobody over HTTP.
    """

    caller: Caller
    path: Mapping[str, str]
    query: Any = None
    body: Any = field(default=None, repr=False)
    reduced: bool = False
    watch: Watch | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A document to send. None: nothing but the status."""

    document: Any = field(default=None, repr=False)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


Run = Callable[[Administration, Call], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """
    One operation of the API. `run` returns the document.

    `path` is below /api/v1; `query` and `body` are what it takes. `made`: where what it creates is found, from the
    path's and the body's fields: then the operation takes an Idempotency-Key. `versioned`: it honours If-Match.
    """

    name: str
    method: str
    path: str
    summary: str
    run: Run
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    status: int = 200
    made: str | None = None
    versioned: bool = False
    # The field of the answer that is there this once: a secret that was made.
    shown_once: str | None = None
    # Whether doing it twice comes to the same as once, beyond what its method says: then it may be tried again.
    repeatable: bool = False
    answer: Any = dict[str, Any]
