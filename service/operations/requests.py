"""
Provision requests: create, change, list. (What an administrator does to one later is in `moves`.)
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from service import keys, passwords
from service.core import derivation, device_config, preview, requests
from service.core.names import check_provision_password
from service.core.problems import InvalidInput, NotFound, NotPossible, raise_problems
from service.core.requests import UNSET, Accepted, Changes, NamesakeUser, NewRequest, StoredRequest, Surroundings
from service.core.states import RequestState, shown_status
from service.db import queries
from service.db.pool import Connection
from service.db.records import Account, ProvisionRequest, User
from service.keys import SealingKeys
from service.operations import events, runs
from service.operations.administration import Administration

_REQUESTS = queries.load("provision_requests")
_USERS = queries.load("users")
_BROKERS = queries.load("brokers")

# Two administrators who share a new username at once: the second finds it there when it looks again.
CREATE_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Created:
    """A new or changed request. The activation key is here, this once, and nowhere else."""

    client_id: str
    activation_key: str | None = field(repr=False)
    notices: tuple[str, ...]


class _TryAgain(Exception):
    """What was looked at changed before it was locked."""


async def create_request(admin: Administration, account_name: str, new: NewRequest) -> Created:
    """Create a request, or change nothing. Raises InvalidInput with every problem, by field."""
    account = await admin.account(account_name)
    for _ in range(CREATE_TRIES):
        namesake = await _find_user(admin, account, new.provision_username)
        stored = namesake.password_bcrypt if namesake else None
        matches = stored is not None and await asyncio.to_thread(passwords.verify, new.provision_password, stored)
        try:
            return await _create(admin, account, new, namesake, password_matches=matches)
        except _TryAgain:
            continue
    raise InvalidInput([requests.username_taken()])


async def _find_user(admin: Administration, account: Account, name: str) -> User | None:
    async with admin.account_transaction(account.id) as connection:
        row = await connection.fetchrow(_USERS["find"], name, account.id)
    return User.from_row(row) if row else None


async def _create(
    admin: Administration, account: Account, new: NewRequest, namesake: User | None, *, password_matches: bool
) -> Created:
    hashed = None
    if namesake is None and not list(check_provision_password(new.provision_password)):
        hashed = await asyncio.to_thread(passwords.hash_password, new.provision_password, admin.bcrypt_cost)
    try:
        async with admin.account_transaction(account.id) as connection:
            await admin.begin_once(connection)
            around = await look_around(connection, account, new.client_id, new.provision_username)
            if namesake is not None:
                around = dataclasses.replace(around, namesake=_as_namesake(namesake, new, password_matches))
            accepted, problems = requests.check_new(new, around, admin.limits)
            raise_problems(problems)
            assert accepted is not None
            user_id = await _hold_or_make_user(connection, account, new, namesake, hashed)
            return await _insert(connection, admin, account, new, accepted, user_id)
    except InvalidInput as error:
        if namesake is None and [problem.rule for problem in error.problems] == ["username_taken"]:
            raise _TryAgain from error  # perhaps it was made by another request of this account just now
        raise
    except asyncpg.ForeignKeyViolationError as error:
        raise _TryAgain from error  # the user's last request went just now, and the user with it


async def look_around(
    connection: Connection, account: Account, client_id: str, username: str, *, own: bool = False
) -> Surroundings:
    """What a new request must fit; with `own` its client id is its own."""
    taken = await connection.fetchrow(_REQUESTS["names_taken"], account.id, client_id, username)
    assert taken is not None
    offered = await connection.fetch(_BROKERS["endpoints_of_account"], account.id)
    return Surroundings(
        account=account.name,
        account_enabled=account.enabled,
        endpoints={row["url"]: row["broker_id"] for row in offered},
        cas={row["url"]: row["ca"] for row in offered if row["ca"] is not None},
        now=await connection.fetchval(_REQUESTS["now"]),
        client_id_taken=taken["client_id_taken"] and not own,
        namesake=NamesakeUser(
            of_this_account=False, kind="", password_matches=False, requests=0, requests_without_key=0
        )
        if taken["username_taken"]
        else None,
    )


def _as_namesake(user: User, new: NewRequest, password_matches: bool) -> NamesakeUser:
    return NamesakeUser(
        # Names are unique whatever their case, but a device must give its own to the letter.
        of_this_account=user.name == new.provision_username,
        kind=user.kind,
        password_matches=password_matches,
        requests=user.requests,
        requests_without_key=user.requests_without_key,
    )


async def _hold_or_make_user(
    connection: Connection, account: Account, new: NewRequest, namesake: User | None, hashed: str | None
) -> int:
    if namesake is not None:
        held: int | None = await connection.fetchval(_USERS["hold"], namesake.id, namesake.version)
        if held is None:
            raise _TryAgain
        return held
    made: int = await connection.fetchval(_USERS["insert_provision"], account.id, new.provision_username, hashed)
    return made


async def _insert(
    connection: Connection,
    admin: Administration,
    account: Account,
    new: NewRequest,
    accepted: Accepted,
    user_id: int,
) -> Created:
    activation_key = keys.new_activation_key() if accepted.activation_key else None
    configuration = seal_configuration(
        admin.sealing_keys, account.id, new.client_id, new.additional_device_configuration
    )
    request_id = await connection.fetchval(
        _REQUESTS["insert"],
        account.id,
        new.client_id,
        user_id,
        keys.secret_hash(keys.ACTIVATION_KEY, activation_key) if activation_key else None,
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
        admin.author.actor,
    )
    await _put_applications(connection, account.id, request_id, new.applications)
    await events.append(
        connection,
        admin.author,
        "request_created",
        account_id=account.id,
        request_id=request_id,
        client_id=new.client_id,
        provision_username=new.provision_username,
        activation_key=activation_key is not None,
    )
    return Created(client_id=new.client_id, activation_key=activation_key, notices=accepted.notices)


async def _put_applications(
    connection: Connection, account_id: int, request_id: int, applications: Sequence[Mapping[str, Any]]
) -> None:
    """The request's applications are these, in this order."""
    await connection.execute(_REQUESTS["delete_applications"], request_id)
    for position, application in enumerate(applications, 1):
        values = [application[name] for name in ("name", "version", "url", "sha256", "size")]
        await connection.execute(_REQUESTS["insert_application"], account_id, request_id, position, *values)


def seal_configuration(
    sealing_keys: SealingKeys, account_id: int, client_id: str, configuration: device_config.Configuration
) -> device_config.Configuration:
    """Password values sealed, each to its place; what provisioning overrides is not kept at all."""

    def seal(component: str, parameter: str, value: device_config.Value) -> device_config.Value:
        if value.sealed is not None:
            return value
        clear = json.dumps(value.clear)
        context = runs.value_context(account_id, client_id, component, parameter)
        return device_config.Value(type=value.type, sealed=sealing_keys.seal(context, clear))

    return device_config.map_passwords(device_config.without_overridden(configuration), seal)


def stand_in_for_passwords(configuration: device_config.Configuration) -> device_config.Configuration:
    """The configuration with something at least as long in each sealed value's place: sizes are judged by it."""

    def stand_in(_component: str, _parameter: str, value: device_config.Value) -> device_config.Value:
        sealed = value.sealed or ""
        length = len(sealed.partition(".")[2]) * 3 // 4 - derivation.NONCE_BYTES - 16
        return device_config.Value(type=value.type, clear="x" * max(length, 0))

    return device_config.map_passwords(configuration, stand_in)


async def change_request(admin: Administration, account_name: str, client_id: str, changes: Changes) -> Created:
    """Change what may be changed, or nothing. Raises InvalidInput with every problem, by field."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        stored = await lock_request(connection, admin, account, client_id)
        around = await look_around(connection, account, client_id, "", own=True)
        raise_problems(requests.check_change(await _judged(connection, stored), changes, around, admin.limits))
        activation_key = keys.new_activation_key() if changes.new_activation_key else None
        await apply_change(connection, admin, stored, changes, around, activation_key)
    return Created(client_id=client_id, activation_key=activation_key, notices=())


async def apply_change(
    connection: Connection,
    admin: Administration,
    stored: ProvisionRequest,
    changes: Changes,
    around: Surroundings,
    activation_key: str | None,
) -> None:
    """Write a change that `check_change` has nothing against to a locked request, with its event."""
    changed = {f.name for f in dataclasses.fields(changes) if getattr(changes, f.name) is not f.default}
    await _update(connection, admin, stored, changes, around, activation_key)
    if changes.applications is not UNSET:
        await _put_applications(connection, stored.account_id, stored.id, changes.applications)
    await events.append(
        connection,
        admin.author,
        "request_changed",
        account_id=stored.account_id,
        request_id=stored.id,
        client_id=stored.client_id,
        changed=sorted(changed),
    )


async def _judged(connection: Connection, stored: ProvisionRequest) -> StoredRequest:
    applications = await connection.fetch(_REQUESTS["applications"], stored.id)
    return as_judged(stored, [dict(row) for row in applications])


def as_judged(stored: ProvisionRequest, applications: Sequence[Mapping[str, Any]]) -> StoredRequest:
    """A stored request as changes are judged against it."""
    return StoredRequest(
        client_id=stored.client_id,
        state=stored.state,
        provision_endpoint=stored.provision_endpoint,
        activates_on=stored.activates_on,
        expires_on=stored.expires_on,
        attempts=stored.attempts,
        device_connection_coupling=stored.device_connection_coupling,
        maximum_attempts=stored.maximum_attempts,
        start_on_birth=stored.start_on_birth,
        has_key=stored.activation_key_sha256 is not None,
        additional_device_configuration=stand_in_for_passwords(
            device_config.from_document(stored.additional_device_configuration)
        ),
        applications=applications,
    )


async def _update(
    connection: Connection,
    admin: Administration,
    stored: ProvisionRequest,
    changes: Changes,
    around: Surroundings,
    activation_key: str | None,
) -> None:
    def kept(name: str) -> Any:
        value = getattr(changes, name)
        return getattr(stored, name) if value is UNSET else value

    endpoint = kept("provision_endpoint")
    configuration = changes.additional_device_configuration
    document = stored.additional_device_configuration
    if configuration is not UNSET:
        sealed = seal_configuration(admin.sealing_keys, stored.account_id, stored.client_id, configuration)
        document = device_config.to_document(sealed)
    key_hash = stored.activation_key_sha256
    if activation_key is not None:
        key_hash = keys.secret_hash(keys.ACTIVATION_KEY, activation_key)
    elif changes.remove_activation_key:
        key_hash = None
    await connection.execute(
        _REQUESTS["update"],
        stored.id,
        key_hash,
        endpoint,
        around.endpoints.get(endpoint, stored.broker_id),
        kept("activates_on"),
        kept("expires_on"),
        kept("reserve_user"),
        kept("device_connection_coupling"),
        json.dumps(document),
        kept("maximum_attempts"),
        kept("start_on_birth"),
        admin.author.actor,
    )


async def lock_request(
    connection: Connection, admin: Administration, account: Account, client_id: str
) -> ProvisionRequest:
    """A request of the account, held until the transaction ends. Raises NotFound and VersionDiffers."""
    row = await connection.fetchrow(_REQUESTS["lock_own"], client_id, account.id)
    if row is None:
        raise NotFound("client_id", f"there is no provision request for {client_id!r}")
    await admin.check_version(connection, "request", row["id"])
    return ProvisionRequest.from_row(row)


async def list_requests(
    admin: Administration, account_name: str | None, client_id: str | Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Requests as people see them, Password values hidden: of one account, or of all; of these client ids only."""
    wanted = [client_id] if isinstance(client_id, str) else client_id
    if account_name is None:
        async with admin.platform_transaction() as connection:
            rows = await connection.fetch(_REQUESTS["list"], None, wanted)
    else:
        account = await admin.account(account_name)
        async with admin.account_transaction(account.id) as connection:
            rows = await connection.fetch(_REQUESTS["list"], account.id, wanted)
    return [_as_shown(dict(row)) for row in rows]


def _as_shown(row: dict[str, Any]) -> dict[str, Any]:
    now: datetime.datetime = row.pop("now")
    row["status"] = shown_status(
        state=RequestState(row["state"]),
        enabled=row["enabled"],
        activates_on=row["activates_on"],
        expires_on=row["expires_on"],
        now=now,
    )
    configuration = device_config.from_document(json.loads(row["additional_device_configuration"]))
    row["additional_device_configuration"] = device_config.render_json(preview.hide(configuration))
    row["applications"] = json.loads(row["applications"])
    run = {name.removeprefix("run_"): row.pop(name) for name in list(row) if name.startswith("run_")}
    run["confirm_by"] = row.pop("confirm_by")
    row["run"] = run if run["number"] is not None else None
    del row["id"], row["account_id"]
    return row


async def find_account_of(admin: Administration, client_id: str) -> str:
    """The account that has a request for a client id, for operators who work on all of them. Raises NotFound."""
    found = {row["account"] for row in await list_requests(admin, None, client_id)}
    if not found:
        raise NotFound("client_id", f"there is no provision request for {client_id!r}")
    if len(found) > 1:
        raise NotPossible("account", "ambiguous", f"name one of the accounts {', '.join(sorted(found))}")
    return str(found.pop())
