"""
Runs: how one begins, what it answers, how it ends. Each function is a step of a transaction that holds the request.

The generated password is derived (D7), so a repeated ask, at any responder, after any crash, gets the same answer, and
nothing readable is stored: a run keeps the merged configuration with its Password values sealed, and a salt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from service import keys
from service.core import answers, asks, certificates, derivation, device_config
from service.core.answers import Answer
from service.core.states import RequestState, RunState
from service.db import queries
from service.db.pool import Connection
from service.db.records import ProvisionRequest, Run, run_name
from service.keys import SealingKeys
from service.operations import events
from service.operations.events import Author

_REQUESTS = queries.load("provision_requests")
_RUNS = queries.load("provision_runs")
_USERS = queries.load("users")
_DEVICES = queries.load("devices")
_BROKERS = queries.load("brokers")


@dataclass(frozen=True, kw_only=True)
class RunKeys:
    """The responder's keys."""

    derivation_key: bytes
    sealing_keys: SealingKeys

    def __repr__(self) -> str:
        return "RunKeys(***)"


@dataclass(frozen=True, kw_only=True)
class _Derived:
    """What is computed anew for each answer."""

    password: str
    token: str

    def __repr__(self) -> str:
        return "_Derived(***)"


def value_context(account_id: int, client_id: str, component: str, parameter: str) -> str:
    """Where a sealed value belongs: elsewhere it does not open."""
    return f"{account_id}\0{client_id}\0{component}\0{parameter}"


async def lock_live(connection: Connection, request: ProvisionRequest) -> Run | None:
    """The request's run under way."""
    row = await connection.fetchrow(_RUNS["lock_live"], request.id)
    return Run.from_row(row) if row else None


async def begin(
    connection: Connection,
    keys_: RunKeys,
    request: ProvisionRequest,
    *,
    wire: str,
    activation_key: str | None,
    author: Author,
    device: dict[str, str],
    now: Any,
) -> Answer:
    """
    A good ask begins a run: the generated user with `broker:connect`, the device, its connection, the request RUNNING.

    The event holds what the decision was made from, which is what I5 and I6 are checked by.
    """
    username, salt = keys.new_device_username(), keys.new_salt()
    number = await connection.fetchval(_RUNS["next_number"], request.id)
    derived = _derive(keys_, activation_key, salt, run_name(request.id, number), username)
    user_id = await connection.fetchval(
        _USERS["insert_generated"], request.account_id, username, keys.secret_hash(keys.USER, derived.password)
    )
    await connection.execute(_USERS["grant"], request.account_id, user_id, "broker:connect")
    made = await _put_device(connection, request, user_id)
    stored = await _stored_answer(connection, request)
    run_id = await connection.fetchval(
        _RUNS["insert"],
        request.account_id,
        request.id,
        number,
        wire,
        keys.secret_hash(keys.RUN, derived.token),
        salt,
        user_id,
        username,
        made["id"],
        made["made"],
        json.dumps(stored),
        asks.CONFIRM_WITHIN,
    )
    for state in (RunState.STARTED, RunState.RUNNING):
        await connection.execute(_RUNS["set_state"], run_id, state)
    await connection.execute(
        _REQUESTS["set_state"], request.id, RequestState.RUNNING, request.attempts, request.enabled, author.actor
    )
    answer = _answer(keys_, request, stored, username, derived)
    await events.append(
        connection,
        author,
        "run_started",
        account_id=request.account_id,
        request_id=request.id,
        client_id=request.client_id,
        run=number,
        wire=wire,
        username=username,
        activates_on=request.activates_on.isoformat(),
        expires_on=request.expires_on.isoformat() if request.expires_on else None,
        decided_at=now.isoformat(),
        key_required=request.activation_key_sha256 is not None,
        key_proved=activation_key is not None,
        digest=answer.digest,
        device=device,
    )
    return answer


async def _put_device(connection: Connection, request: ProvisionRequest, user_id: int) -> Any:
    made = await connection.fetchrow(_DEVICES["put"], request.account_id, request.client_id)
    assert made is not None
    await connection.execute(
        _DEVICES["put_connection"],
        request.account_id,
        request.client_id,
        made["id"],
        request.device_connection_coupling,
        user_id,
        user_id if request.reserve_user else None,
    )
    return made


async def _stored_answer(connection: Connection, request: ProvisionRequest) -> dict[str, Any]:
    """What the run will answer from, however the request or its brokers change later."""
    configuration = device_config.without_overridden(
        device_config.from_document(request.additional_device_configuration)
    )
    applications = await connection.fetch(_REQUESTS["applications"], request.id)
    ca = await connection.fetchval(_BROKERS["ca"], request.broker_id)
    return {
        "endpoint": request.provision_endpoint,
        "account": request.account,
        "ca": certificates.ca_for(request.provision_endpoint, ca),
        "configuration": device_config.to_document(configuration),
        "applications": [dict(row) for row in applications],
    }


def _derive(keys_: RunKeys, activation_key: str | None, salt: bytes, run: str, username: str) -> _Derived:
    material: dict[str, Any] = {
        "derivation_key": keys_.derivation_key,
        "activation_key": activation_key,
        "salt": salt,
        "run": run,
        "username": username,
    }
    return _Derived(password=derivation.derive_password(**material), token=derivation.derive_run_token(**material))


def open_configuration(
    sealing_keys: SealingKeys, request: ProvisionRequest, stored: dict[str, Any]
) -> device_config.Configuration:
    """The configuration that a run answers with, Password values readable."""

    def open_password(component: str, name: str, value: device_config.Value) -> device_config.Value:
        assert value.sealed is not None
        context = value_context(request.account_id, request.client_id, component, name)
        clear = json.loads(sealing_keys.open(context, value.sealed))
        return device_config.Value(type=value.type, clear=tuple(clear) if isinstance(clear, list) else clear)

    return device_config.map_passwords(device_config.from_document(stored["configuration"]), open_password)


def _answer(
    keys_: RunKeys, request: ProvisionRequest, stored: dict[str, Any], username: str, derived: _Derived
) -> Answer:
    return Answer(
        run=derived.token,
        connection=answers.connection(
            endpoint=stored["endpoint"],
            account=stored["account"],
            client_id=request.client_id,
            username=username,
            password=derived.password,
            ca=stored.get("ca"),  # runs that began before brokers had one
        ),
        configuration=device_config.render_json(open_configuration(keys_.sealing_keys, request, stored)),
        applications=stored["applications"],
    )


def answer_of(keys_: RunKeys, request: ProvisionRequest, run: Run, *, activation_key: str | None) -> Answer:
    """What the run answers, computed anew: always the same."""
    assert run.salt is not None
    derived = _derive(keys_, activation_key, run.salt, run.name, run.username)
    return _answer(keys_, request, run.answer, run.username, derived)


async def repeat(
    connection: Connection, keys_: RunKeys, request: ProvisionRequest, run: Run, *, activation_key: str | None
) -> Answer:
    """The same answer again; its deadline moves to at least an hour from now."""
    await extend(connection, run, asks.CONFIRM_WITHIN)
    return answer_of(keys_, request, run, activation_key=activation_key)


async def extend(connection: Connection, run: Run, at_least: Any) -> None:
    """The run may be confirmed for at least that long from now."""
    await connection.execute(_RUNS["extend"], run.id, at_least)


async def move(
    connection: Connection, request: ProvisionRequest, run: Run, state: RunState, *, author: Author, **detail: Any
) -> None:
    """A live run goes forward."""
    await connection.execute(_RUNS["set_state"], run.id, state)
    await events.append(
        connection,
        author,
        "run_moved",
        account_id=request.account_id,
        request_id=request.id,
        client_id=request.client_id,
        run=run.number,
        state=state,
        **detail,
    )


async def end(
    connection: Connection,
    request: ProvisionRequest,
    run: Run,
    *,
    state: RunState,
    author: Author,
    reason: str,
    attempt: bool = False,
    enabled: bool | None = None,
    detail: Mapping[str, str] = MappingProxyType({}),
) -> RequestState:
    """
    A run ends without a login: its user goes, and its device if the run made it; the request is OPEN again.

    `attempt`: it failed, which uses up one attempt; at the maximum run and request are ABANDONED. Time passing or an
    administrator's stop is not an attempt. Returns the request's state.
    """
    attempts = min(request.attempts + 1, request.maximum_attempts) if attempt else request.attempts
    abandoned = attempt and attempts >= request.maximum_attempts
    run_state = RunState.ABANDONED if abandoned else state
    request_state = RequestState.ABANDONED if abandoned else RequestState.OPEN
    if run_state is RunState.STOPPED and author.source != "sweep" and run.state is not RunState.STOPPING:
        await connection.execute(_RUNS["set_state"], run.id, RunState.STOPPING)
    await connection.execute(_RUNS["end"], run.id, run_state, reason)
    if run.user_id is not None:
        await connection.execute(_USERS["delete"], run.user_id)
    if run.made_device and run.device_id is not None:
        await connection.execute(_DEVICES["delete_made"], run.device_id)
    await connection.execute(
        _REQUESTS["set_state"],
        request.id,
        request_state,
        attempts,
        request.enabled if enabled is None else enabled,
        author.actor,
    )
    await events.append(
        connection,
        author,
        "run_ended",
        account_id=request.account_id,
        request_id=request.id,
        client_id=request.client_id,
        reason=reason,
        run=run.number,
        state=run_state,
        username=run.username,
        attempts=attempts,
        **detail,
    )
    return request_state
