"""
Runs: how one begins, what it answers, how it ends. Each function is a step of a transaction that holds the request.

The generated password is derived (D7), so a repeated ask, at any responder, after any crash, gets the same answer, and
nothing readable is stored: a run keeps the merged configuration with its Password values sealed, and a salt.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from service import keys
from service.core import answers, asks, certificates, derivation, device_config
from service.core.answers import Answer
from service.core.states import RequestState, RunState
from service.core.steps import Step
from service.db import queries
from service.db.pool import Connection
from service.db.records import ProvisionRequest, Run, run_name
from service.keys import SealingKeys
from service.operations.events import Author

_RUNS = queries.load("provision_runs")
_CASES = queries.load("cases")

# Of a step that waits for its turn.
STEP_COLUMNS = ("position", "kind", "request_id", "job_id")


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


@dataclass(frozen=True, kw_only=True)
class GoodAsk:
    """A good ask, as a run is begun from. `decided_at` is the database's time after the request was locked."""

    wire: str
    activation_key: str | None = field(repr=False)
    # What the device said of itself.
    device: Mapping[str, str]
    author: Author
    decided_at: datetime.datetime
    number: int
    applications: list[dict[str, Any]]
    ca: str | None


async def begin(
    connection: Connection,
    keys_: RunKeys,
    request: ProvisionRequest,
    ask: GoodAsk,
    *,
    sealed_key: str | None = None,
    steps: Callable[[Mapping[str, Any]], list[Step]] = lambda _stored: [],
) -> tuple[Run, Answer, list[Step]]:
    """
    A good ask begins a run: the generated user with `broker:connect`, the device, its connection, the request RUNNING.

    `steps` makes the run's steps (Kura) from what it will answer with. The event holds what the decision was made from,
    which is what I5 and I6 are checked by.
    """
    username, salt = keys.new_device_username(), keys.new_salt()
    stored = _stored_answer(request, ask)
    planned = steps(stored)
    derived = _derive(keys_, ask.activation_key, salt, run_name(request.id, ask.number), username)
    answer = _answer(keys_, request, stored, username, derived)
    deadline = ask.decided_at + asks.CONFIRM_WITHIN
    token_sha256 = keys.secret_hash(keys.RUN, derived.token)
    made = await connection.fetchrow(
        _CASES["begin_run"],
        ask.author.event_key,
        request.id,
        ask.number,
        ask.wire,
        username,
        keys.secret_hash(keys.USER, derived.password),
        token_sha256,
        salt,
        json.dumps(stored),
        sealed_key,
        deadline,
        json.dumps([{name: getattr(step, name) for name in STEP_COLUMNS} for step in planned]),
        ask.author.actor,
        ask.author.source,
        json.dumps(_started(request, ask, username, answer)),
    )
    assert made is not None
    run = Run(
        id=made["run_id"],
        account_id=request.account_id,
        request_id=request.id,
        number=ask.number,
        wire=ask.wire,
        state=RunState.RUNNING,
        token_sha256=token_sha256,
        salt=salt,
        user_id=made["user_id"],
        username=username,
        device_id=made["device_id"],
        made_device=made["made"],
        answer=stored,
        sealed_key=sealed_key,
        deadline=deadline,
        past_deadline=False,
    )
    return run, answer, planned


def _started(request: ProvisionRequest, ask: GoodAsk, username: str, answer: Answer) -> dict[str, Any]:
    """What the event says."""
    return {
        "run": ask.number,
        "wire": ask.wire,
        "username": username,
        "activates_on": request.activates_on.isoformat(),
        "expires_on": request.expires_on.isoformat() if request.expires_on else None,
        "decided_at": ask.decided_at.isoformat(),
        "key_required": request.activation_key_sha256 is not None,
        "key_proved": ask.activation_key is not None,
        "digest": answer.digest,
        "device": dict(ask.device),
    }


def _stored_answer(request: ProvisionRequest, ask: GoodAsk) -> dict[str, Any]:
    """What the run will answer from, however the request or its brokers change later."""
    configuration = device_config.without_overridden(
        device_config.from_document(request.additional_device_configuration)
    )
    return {
        "endpoint": request.provision_endpoint,
        "account": request.account,
        "ca": certificates.ca_for(request.provision_endpoint, ask.ca),
        "configuration": device_config.to_document(configuration),
        "applications": ask.applications,
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
    states = [run_state]
    if run_state is RunState.STOPPED and author.source != "sweep" and run.state is not RunState.STOPPING:
        states = [RunState.STOPPING, run_state]
    said = {"run": run.number, "state": run_state, "username": run.username, "attempts": attempts, **detail}
    await connection.execute(
        _CASES["end_run"],
        author.event_key,
        run.id,
        states,
        reason,
        request_state,
        attempts,
        request.enabled if enabled is None else enabled,
        author.actor,
        author.source,
        json.dumps(said),
    )
    return request_state
