"""
Bulk import: a row against the request that is there already, and rows of one file against each other.

What one new request must be is `requests.check_new`, and a change `requests.check_change`: here is only what rows add.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from service.core import device_config
from service.core.device_config import Configuration, Value
from service.core.problems import Problem
from service.core.requests import Changes, Limits, NewRequest, StoredRequest, Surroundings, check_change, username_taken

CREATED, UNCHANGED, CHANGED, REFUSED = "created", "unchanged", "changed", "refused"

# What a row may say, in the words of a provision request.
NEEDED = ("client_id", "provision_username", "provision_password")
CHANGEABLE = (
    "provision_endpoint", "activates_on", "expires_on", "reserve_user", "device_connection_coupling",
    "additional_device_configuration", "applications", "maximum_attempts", "start_on_birth",
)  # fmt: skip
COLUMNS = (*NEEDED, "activation_key", *CHANGEABLE, "enabled")


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    One row: the request that it wants, and the columns that it gave a value (`line` counts from 1).

    `activation_key` is the key that the request is to get, made by whoever writes the row; its hash is stored.
    """

    line: int
    new: NewRequest
    given: frozenset[str]
    activation_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """
    What became of a row, or, where it was only checked, what would.

    `fields` changed; `shared`: other requests have its credential; `needs_key`: its change makes an activation key;
    `key_matches`: the row's activation key is the one that the request has.
    """

    line: int
    client_id: str
    outcome: str
    fields: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    shared: bool = False
    needs_key: bool = False
    key_matches: bool = False


@dataclass(frozen=True, kw_only=True)
class Existing:
    """The account's request with a row's client id."""

    stored: StoredRequest
    # Whether the row names the request's own user, and its password.
    is_credential: bool
    password_matches: bool
    reserve_user: bool
    enabled: bool
    key_matches: bool = False


def judge_existing(row: Row, existing: Existing, around: Surroundings, limits: Limits, *, update: bool) -> Outcome:
    """A row whose request is there: it stands as it is, or may be changed, or why not."""
    changes, fields = find_changes(row, existing.stored, reserve_user=existing.reserve_user)
    problems = list(_check_fixed(row, existing))
    if fields and not update:
        problems += [_differs(name, "--update changes it") for name in fields]
    elif fields:
        problems += check_change(existing.stored, changes, around, limits)
    outcome = REFUSED if problems else CHANGED if fields else UNCHANGED
    return Outcome(
        line=row.line,
        client_id=row.new.client_id,
        outcome=outcome,
        fields=() if problems else fields,
        problems=tuple(problems),
        needs_key=changes.new_activation_key and not problems,
        key_matches=existing.key_matches,
    )


def _check_fixed(row: Row, existing: Existing) -> Iterator[Problem]:
    """What an import never changes."""
    if not existing.is_credential:
        yield _differs("provision_username", "it is never changed")
    elif not existing.password_matches:
        yield username_taken()
    if "enabled" in row.given and row.new.enabled != existing.enabled:
        yield _differs("enabled", "`request enable` and `request disable` change it")


def _differs(field_: str, text: str) -> Problem:
    return Problem(field=field_, rule="differs", text=f"is another one in the existing request; {text}")


def find_changes(row: Row, stored: StoredRequest, *, reserve_user: bool) -> tuple[Changes, tuple[str, ...]]:
    """What a row gives and the request has otherwise; what the row does not give stays."""
    changed: dict[str, Any] = {}
    for name in CHANGEABLE:
        before = reserve_user if name == "reserve_user" else getattr(stored, name)
        if name in row.given and not _is_same(name, getattr(row.new, name), before):
            changed[name] = getattr(row.new, name)
    fields = list(changed)
    wanted = row.new.generate_activation_key if "activation_key" in row.given else None
    if wanted is not None and wanted != stored.has_key:
        changed["new_activation_key" if wanted else "remove_activation_key"] = True
        fields.append("activation_key")
    return Changes(**changed), tuple(fields)


def _is_same(name: str, wanted: Any, before: Any) -> bool:
    if name == "additional_device_configuration":
        return bool(comparable(wanted) == before)
    if name == "applications":
        return [dict(item) for item in wanted] == [dict(item) for item in before]
    return bool(wanted == before)


def comparable(configuration: Configuration) -> Configuration:
    """As a stored one is seen from here: Password values are sealed, only their lengths can be told apart."""

    def stand_in(_component: str, _parameter: str, value: Value) -> Value:
        return Value(type=value.type, clear="x" * len(json.dumps(value.clear)))

    kept = device_config.without_overridden(configuration)
    stored = device_config.from_document(json.loads(json.dumps(device_config.to_document(kept))))
    return device_config.map_passwords(stored, stand_in)
