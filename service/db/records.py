"""Rows as records. Each class has the columns of its queries, in the same words."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import asyncpg

from service.core.states import RequestState, RunState

JSON_COLUMNS = frozenset({"additional_device_configuration", "answer", "detail"})


@dataclass(frozen=True, kw_only=True)
class Record:
    """A row. Columns that a class does not name are an error, so that queries and classes stay in step."""

    @classmethod
    def from_row(cls, row: asyncpg.Record | Mapping[str, Any]) -> Self:
        """jsonb arrives as text and is read here."""
        values: dict[str, Any] = dict(row)
        for name in JSON_COLUMNS & values.keys():
            if isinstance(values[name], str):
                values[name] = json.loads(values[name])
        for item in dataclasses.fields(cls):
            if item.metadata:
                values[item.name] = item.metadata["enum"](values[item.name])
        return cls(**values)

    @classmethod
    def from_part(cls, row: asyncpg.Record, prefix: str = "") -> Self:
        """From the columns of a wider row whose names are the class's behind a prefix."""
        return cls.from_row({item.name: row[prefix + item.name] for item in dataclasses.fields(cls)})


def _enum(kind: type) -> Any:
    return field(metadata={"enum": kind})


@dataclass(frozen=True, kw_only=True)
class ProvisionRequest(Record):
    """A provision request, locked."""

    id: int
    account_id: int
    account: str
    account_enabled: bool
    client_id: str
    user_id: int
    activation_key_sha256: bytes | None = field(repr=False)
    provision_endpoint: str
    broker_id: int
    activates_on: datetime.datetime
    expires_on: datetime.datetime | None
    reserve_user: bool
    device_connection_coupling: str
    additional_device_configuration: dict[str, dict[str, Any]] = field(repr=False)
    maximum_attempts: int
    attempts: int
    enabled: bool
    state: RequestState = _enum(RequestState)
    start_on_birth: bool
    key_failures: int
    key_failures_since: datetime.datetime | None
    version: int
    created_at: datetime.datetime
    created_by: str
    modified_at: datetime.datetime
    modified_by: str
    endpoint_served: bool


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """The run under way, locked with its request."""

    id: int
    account_id: int
    request_id: int
    number: int
    wire: str
    state: RunState = _enum(RunState)
    token_sha256: bytes = field(repr=False)
    salt: bytes | None = field(repr=False)
    user_id: int | None
    username: str
    device_id: int | None
    made_device: bool
    answer: dict[str, Any] = field(repr=False)
    # On Kura's wire: the activation key that was asked with.
    sealed_key: str | None = field(repr=False)
    deadline: datetime.datetime
    past_deadline: bool

    @property
    def name(self) -> str:
        """What the run is called where its password is derived."""
        return run_name(self.request_id, self.number)


def run_name(request_id: int, number: int) -> str:
    """Request and number: known before the row is written, and never used twice."""
    return f"{request_id}/{number}"


@dataclass(frozen=True, kw_only=True)
class User(Record):
    """A user of one account, as creation and deletion look at it."""

    id: int
    account_id: int
    name: str
    kind: str
    enabled: bool
    password_bcrypt: str | None = field(repr=False)
    version: int
    confirmed_at: datetime.datetime | None
    created_at: datetime.datetime
    requests: int
    requests_without_key: int
    permissions: list[str]


@dataclass(frozen=True, kw_only=True)
class Broker(Record):
    """A broker by name."""

    id: int
    name: str
    role: str
    endpoints: list[str]
    rotating: bool


@dataclass(frozen=True, kw_only=True)
class Account(Record):
    """An account by name."""

    id: int
    name: str
    kind: str
    enabled: bool
    device_connection_coupling: str
    mandatory_provisioning: bool
