"""
Many provision requests at once: check rows, and write a batch of them in one transaction.

Both judge a row as one request is judged (core), look things up for all rows together, and may be called with any part
of an import: written again, a row whose request stands as it says is unchanged.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from service import keys
from service.core import device_config, imports, names, requests
from service.core.imports import CHANGED, CREATED, REFUSED, Existing, Outcome, Row
from service.core.names import check_provision_password
from service.core.problems import InvalidInput, Problem
from service.core.requests import Accepted, NamesakeUser, Surroundings
from service.db import queries
from service.db.pool import Connection
from service.db.records import Account, ProvisionRequest
from service.hashes import Hashes
from service.operations.administration import Administration
from service.operations.requests import CREATE_TRIES, apply_change, as_judged, look_around, seal_configuration

_SQL = queries.load("imports")

# {name in lower case: row of the query `users`}
Users = Mapping[str, asyncpg.Record]


@dataclass(frozen=True, kw_only=True)
class _Around:
    """What all rows of a batch are judged by."""

    surroundings: Surroundings
    stored: Mapping[str, ProvisionRequest]
    applications: Mapping[int, Sequence[Mapping[str, Any]]]
    client_ids_taken: frozenset[str]
    usernames_taken: frozenset[str]
    users: Users
    # {(username, password): whether it is the stored one}
    verified: Mapping[tuple[str, str], bool] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """A row's outcome, and what it is written from: one of `accepted` and `stored`, or none."""

    row: Row
    outcome: Outcome
    accepted: Accepted | None = None
    stored: ProvisionRequest | None = None


class _TryAgain(Exception):
    """What was looked at changed before it was locked."""


async def check_rows(
    admin: Administration, account_name: str, rows: Sequence[Row], *, update: bool = False, hashes: Hashes | None = None
) -> list[Outcome]:
    """
    What would become of each row, in their order, with every problem; nothing is changed.

    That rows of one import do not contradict each other is for its caller to see (`bulk_import.Seen`).
    """
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        users = await _find_users(connection, account, rows)
        around = await _look(connection, account, rows, users)
    around = dataclasses.replace(around, verified=await _verify(rows, users, hashes or Hashes()))
    return [_judge(row, around, admin, update=update).outcome for row in rows]


async def write_batch(
    admin: Administration, account_name: str, rows: Sequence[Row], *, update: bool = False, hashes: Hashes | None = None
) -> list[Outcome]:
    """
    Create or change each row's request, in one transaction; what became of each, in their order.

    A new request gets its row's `activation_key`, and none where the row has none. A row that may not be written any
    more is refused with its problems, and the others are written. Raises InvalidInput, with nothing changed, where
    others change the same things again and again.
    """
    account = await admin.account(account_name)
    hashes = hashes or Hashes()
    problems: tuple[Problem, ...] = (requests.username_taken(),)
    for _ in range(CREATE_TRIES):
        try:
            return await _try_to_write(admin, account, rows, hashes, update=update)
        except (_TryAgain, asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
            continue
        except InvalidInput as error:  # a name was taken between looking and writing: the next look says which
            problems = error.problems
    raise InvalidInput(problems)


async def _try_to_write(
    admin: Administration, account: Account, rows: Sequence[Row], hashes: Hashes, *, update: bool
) -> list[Outcome]:
    async with admin.account_transaction(account.id) as connection:
        users = await _find_users(connection, account, rows)
    verified = await _verify(rows, users, hashes)
    # Hashing takes long, so it is done before anything is locked.
    made = await hashes.make(
        {
            row.new.provision_username: row.new.provision_password
            for row in rows
            if row.new.provision_username.lower() not in users
            and not list(check_provision_password(row.new.provision_password))
        },
        admin.bcrypt_cost,
    )
    async with admin.account_transaction(account.id) as connection:
        looked = await _look(connection, account, rows, users, lock=True)
        around = dataclasses.replace(looked, verified=verified)
        judged = [_with_its_key(_judge(row, around, admin, update=update)) for row in rows]
        for each in judged:
            if each.stored is not None and each.outcome.outcome == CHANGED:
                await _change(connection, admin, each, around)
        new = [each for each in judged if each.accepted is not None]
        if new:
            await _create(
                connection, admin, account, new, await _hold_or_make_users(connection, account, new, users, made)
            )
    return [each.outcome for each in judged]


def _is_id(row: Row) -> bool:
    """Whether the database can be asked for the client id at all."""
    return names.is_client_id(row.new.client_id, names.LONGEST_CLIENT_ID)


def _usernames(rows: Sequence[Row]) -> set[str]:
    found = {row.new.provision_username for row in rows}
    return {name for name in found if names.USERNAME.fullmatch(name)}


async def _find_users(connection: Connection, account: Account, rows: Sequence[Row]) -> Users:
    lower = sorted({name.lower() for name in _usernames(rows)})
    found = await connection.fetch(_SQL["users"], lower, account.id)
    return {row["name"].lower(): row for row in found}


async def _verify(rows: Sequence[Row], users: Users, hashes: Hashes) -> dict[tuple[str, str], bool]:
    wanted = {}
    for row in rows:
        user = users.get(row.new.provision_username.lower())
        if user is not None:
            wanted[(row.new.provision_username, row.new.provision_password)] = user["password_bcrypt"]
    return await hashes.verify(wanted)


async def _look(
    connection: Connection, account: Account, rows: Sequence[Row], users: Users, *, lock: bool = False
) -> _Around:
    """In few queries, however many rows there are."""
    client_ids = sorted({row.new.client_id for row in rows if _is_id(row)})
    taken = {row["client_id"] for row in await connection.fetch(_SQL["client_ids_taken"], account.id, client_ids)}
    # Asked only of those that somebody has, so that a first import does not look for what is not there: its connection
    # plans that while the table is empty, and would go by the account alone, through all that it wrote before.
    known = sorted(taken)
    if known and lock:
        await connection.fetch(_SQL["lock_existing"], known, account.id)
    found = await connection.fetch(_SQL["existing"], known, account.id) if known else []
    stored = {row["client_id"]: ProvisionRequest.from_row(row) for row in found}
    applications: dict[int, list[dict[str, Any]]] = {}
    for row in await connection.fetch(_SQL["applications"], [each.id for each in stored.values()]):
        values = dict(row)
        applications.setdefault(values.pop("request_id"), []).append(values)
    usernames = await connection.fetch(_SQL["usernames_taken"], account.id, sorted(_usernames(rows)))
    return _Around(
        surroundings=await look_around(connection, account, "", ""),
        stored=stored,
        applications=applications,
        client_ids_taken=frozenset(taken - stored.keys()),
        usernames_taken=frozenset(row["name"] for row in usernames),
        users=users,
    )


def _judge(row: Row, around: _Around, admin: Administration, *, update: bool) -> _Judged:
    user = around.users.get(row.new.provision_username.lower())
    matches = around.verified.get((row.new.provision_username, row.new.provision_password), False)
    stored = around.stored.get(row.new.client_id)
    if stored is None:
        return _judge_new(row, around, admin, user, password_matches=matches)
    existing = Existing(
        stored=as_judged(stored, around.applications.get(stored.id, [])),
        is_credential=user is not None and user["id"] == stored.user_id and user["name"] == row.new.provision_username,
        password_matches=matches,
        reserve_user=stored.reserve_user,
        enabled=stored.enabled,
        key_matches=row.activation_key is not None
        and keys.matches(stored.activation_key_sha256, keys.ACTIVATION_KEY, row.activation_key),
    )
    surroundings = dataclasses.replace(around.surroundings, client_id_taken=False, namesake=None)
    outcome = imports.judge_existing(row, existing, surroundings, admin.limits, update=update)
    return _Judged(row=row, outcome=outcome, stored=stored)


def _judge_new(
    row: Row, around: _Around, admin: Administration, user: asyncpg.Record | None, *, password_matches: bool
) -> _Judged:
    namesake = None
    if user is not None or row.new.provision_username in around.usernames_taken:
        namesake = NamesakeUser(
            of_this_account=user is not None and user["name"] == row.new.provision_username,
            kind=user["kind"] if user is not None else "",
            password_matches=password_matches,
            # How many others there are is for notices, which many rows at once do not get.
            requests=int(user is not None and user["is_used"]),
            requests_without_key=0,
        )
    surroundings = dataclasses.replace(
        around.surroundings, client_id_taken=row.new.client_id in around.client_ids_taken, namesake=namesake
    )
    # Where no key was made for it, it gets none.
    wanted = row.new if row.activation_key is None else dataclasses.replace(row.new, generate_activation_key=True)
    accepted, problems = requests.check_new(wanted, surroundings, admin.limits)
    outcome = Outcome(
        line=row.line,
        client_id=row.new.client_id,
        outcome=REFUSED if problems else CREATED,
        problems=tuple(problems),
        shared=namesake is not None and namesake.requests > 0,
    )
    return _Judged(row=row, outcome=outcome, accepted=accepted)


def _with_its_key(each: _Judged) -> _Judged:
    """Refused where it needs an activation key and none was made, as when its credential came to be shared."""
    needed = each.outcome.needs_key or (each.accepted is not None and each.accepted.activation_key)
    if not needed or each.row.activation_key is not None:
        return each
    problem = Problem(field="activation_key", rule="no_key", text="is needed by now, and was not made: import again")
    outcome = dataclasses.replace(each.outcome, outcome=REFUSED, fields=(), problems=(problem,), needs_key=False)
    return _Judged(row=each.row, outcome=outcome)


async def _hold_or_make_users(
    connection: Connection, account: Account, new: Sequence[_Judged], users: Users, made: Mapping[str, str]
) -> dict[str, int]:
    """{username: id} of every credential that new requests refer to. Raises _TryAgain."""
    wanted = {each.row.new.provision_username for each in new}
    held = [users[name.lower()] for name in wanted if name.lower() in users]
    arguments = [user["id"] for user in held], [user["version"] for user in held]
    if len(await connection.fetch(_SQL["hold_users"], *arguments)) != len(held):
        raise _TryAgain
    absent = sorted(name for name in wanted if name.lower() not in users)
    inserted = await connection.fetch(_SQL["insert_users"], account.id, absent, [made[name] for name in absent])
    return {row["name"]: row["id"] for row in (*held, *inserted)}


async def _create(
    connection: Connection, admin: Administration, account: Account, new: Sequence[_Judged], users: Mapping[str, int]
) -> None:
    author = admin.author
    columns = list(zip(*(_values(admin, account, each, users) for each in new), strict=True))
    inserted = await connection.fetch(_SQL["insert_requests"], account.id, author.actor, *map(list, columns))
    ids = {row["client_id"]: row["id"] for row in inserted}
    applications = [
        (ids[each.row.new.client_id], place, *(item[name] for name in ("name", "version", "url", "sha256", "size")))
        for each in new
        for place, item in enumerate(each.row.new.applications, 1)
    ]
    if applications:
        await connection.execute(_SQL["insert_applications"], account.id, *map(list, zip(*applications, strict=True)))
    details = [
        json.dumps(
            {
                "provision_username": each.row.new.provision_username,
                "activation_key": each.row.activation_key is not None,
            }
        )
        for each in new
    ]
    client_ids = [each.row.new.client_id for each in new]
    await connection.execute(
        _SQL["first_events"],
        author.event_key,
        "request_created",
        account.id,
        author.actor,
        author.source,
        [ids[client_id] for client_id in client_ids],
        client_ids,
        details,
    )


def _values(admin: Administration, account: Account, each: _Judged, users: Mapping[str, int]) -> tuple[Any, ...]:
    """A new request's columns, as the query has them."""
    new, accepted, key = each.row.new, each.accepted, each.row.activation_key
    assert accepted is not None
    configuration = seal_configuration(
        admin.sealing_keys, account.id, new.client_id, new.additional_device_configuration
    )
    return (
        new.client_id,
        users[new.provision_username],
        keys.secret_hash(keys.ACTIVATION_KEY, key) if key is not None else None,
        accepted.provision_endpoint,
        accepted.broker_id,
        accepted.activates_on,
        new.expires_on,
        new.reserve_user,
        new.device_connection_coupling,
        json.dumps(device_config.to_document(configuration)),
        new.maximum_attempts,
        new.enabled,
        new.start_on_birth,
    )


async def _change(connection: Connection, admin: Administration, each: _Judged, around: _Around) -> None:
    assert each.stored is not None
    existing = as_judged(each.stored, around.applications.get(each.stored.id, []))
    changes, _ = imports.find_changes(each.row, existing, reserve_user=each.stored.reserve_user)
    key = each.row.activation_key if changes.new_activation_key else None
    await apply_change(connection, admin, each.stored, changes, around.surroundings, key)
