"""
Provision requests as administrators write them: every rule of the product page, all problems at once.

Design D4, D11, D12.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.core import answers, certificates, device_config, endpoints, kura_size, names
from service.core.applications import MOST_APPLICATIONS, check_applications
from service.core.problems import Problem
from service.core.states import RequestState

COUPLINGS = ("INHERITED", "LOOSE", "STRICT")
MAXIMUM_ATTEMPTS = 5
MOST_ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Settings that narrow the rules."""

    client_id_length: int = names.CLIENT_ID_LENGTH
    answer_bytes: int = answers.ANSWER_LIMIT_BYTES
    most_applications: int = MOST_APPLICATIONS


@dataclass(frozen=True, kw_only=True)
class NewRequest:
    """
    What an administrator asks for. None means the page's default:

    key by D12, the account's only endpoint, activates now, never expires.
    """

    client_id: str
    provision_username: str
    provision_password: str = field(repr=False)
    generate_activation_key: bool | None = None
    provision_endpoint: str | None = None
    activates_on: datetime.datetime | None = None
    expires_on: datetime.datetime | None = None
    reserve_user: bool = True
    device_connection_coupling: str = "INHERITED"
    additional_device_configuration: device_config.Configuration = field(default_factory=dict, repr=False)
    applications: Sequence[Mapping[str, Any]] = ()
    maximum_attempts: int = MAXIMUM_ATTEMPTS
    start_on_birth: bool = False
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class NamesakeUser:
    """The user that has the provision username already."""

    of_this_account: bool
    kind: str
    password_matches: bool
    requests: int
    requests_without_key: int


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the database knows that a new or changed request must fit."""

    account: str
    account_enabled: bool
    # {endpoint URL: broker id} of the account brokers that serve the account.
    endpoints: Mapping[str, int]
    now: datetime.datetime
    # {endpoint URL: CA to trust there} of those that have one.
    cas: Mapping[str, str] = field(default_factory=dict)
    client_id_taken: bool = False
    namesake: NamesakeUser | None = None


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A request that may be created, with every default filled in. `notices` are for the person who asked."""

    activation_key: bool
    provision_endpoint: str
    broker_id: int
    activates_on: datetime.datetime
    notices: tuple[str, ...]


def check_new(new: NewRequest, around: Surroundings, limits: Limits) -> tuple[Accepted | None, list[Problem]]:
    """The request as it will be, or every problem by field."""
    problems = [
        *names.check_client_id(new.client_id, limits.client_id_length),
        *names.check_username(new.provision_username, "provision_username"),
        *names.check_provision_password(new.provision_password),
        *_check_taken(around),
    ]
    activates_on = new.activates_on or around.now
    endpoint, endpoint_problems = choose_endpoint(new.provision_endpoint, around.endpoints)
    problems += endpoint_problems
    problems += check_window(activates_on, new.expires_on)
    problems += check_coupling(new.device_connection_coupling)
    problems += check_maximum_attempts(new.maximum_attempts)
    problems += check_start_on_birth(new.start_on_birth, key=bool(new.generate_activation_key))
    where = endpoint or ""
    problems += check_content(
        account=around.account,
        client_id=new.client_id,
        endpoint=where,
        ca=around.cas.get(where),
        configuration=new.additional_device_configuration,
        applications=new.applications,
        limits=limits,
    )
    if problems or endpoint is None:
        return None, problems
    key, notices = _decide_activation_key(new, around)
    return (
        Accepted(
            activation_key=key,
            provision_endpoint=endpoint,
            broker_id=around.endpoints[endpoint],
            activates_on=activates_on,
            notices=(*names.warn_client_id(new.client_id), *notices),
        ),
        [],
    )


def _check_taken(around: Surroundings) -> Iterator[Problem]:
    if not around.account_enabled:
        yield Problem(field="account", rule="account_disabled", text="the account is disabled")
    if around.client_id_taken:
        yield client_id_taken()
    namesake = around.namesake
    if namesake is None:
        return
    if not namesake.of_this_account or namesake.kind != "provision" or not namesake.password_matches:
        yield username_taken()


def client_id_taken() -> Problem:
    """Who holds it is not said."""
    return Problem(
        field="client_id", rule="client_id_taken", text="is already in use; it must be unique within the whole platform"
    )


def username_taken() -> Problem:
    """One text for every cause: another account's user, another kind of user, another password."""
    return Problem(
        field="provision_username",
        rule="username_taken",
        text="is already used, or the password does not match the previously created provision user",
    )


def _decide_activation_key(new: NewRequest, around: Surroundings) -> tuple[bool, list[str]]:
    """
    D12: a request that shares its credential gets an activation key unless told otherwise, and says so.

    (The page's default is none; a shared credential without keys lets any device of the fleet pose as any other.)
    """
    shared = around.namesake is not None and around.namesake.requests > 0
    notices = []
    key = gets_activation_key(new, shared=shared)
    if shared and key and new.generate_activation_key is None:
        notices.append("generate_activation_key: set, because the provision username is shared by several requests")
    if shared and new.start_on_birth:
        notices.append("start_on_birth: a BIRTH cannot carry an activation key, so none was generated")
    if shared and not key:
        notices.append(
            "generate_activation_key: off on a shared provision username: any of its devices can pose as this one"
        )
    if shared and around.namesake is not None and around.namesake.requests_without_key:
        notices.append(
            f"{around.namesake.requests_without_key} earlier request(s) with this username have no activation key"
        )
    return key, notices


def gets_activation_key(new: NewRequest, *, shared: bool) -> bool:
    """Whether a request gets a key: as it says, else where its credential is shared and its device can show one."""
    return shared and not new.start_on_birth if new.generate_activation_key is None else new.generate_activation_key


def choose_endpoint(wanted: str | None, offered: Mapping[str, int]) -> tuple[str | None, list[Problem]]:
    """*Provision endpoint* must be a URL of an account broker that serves the account; its only one by default (D1)."""

    def problem(rule: str, text: str) -> list[Problem]:
        return [Problem(field="provision_endpoint", rule=rule, text=text)]

    if wanted is not None:
        problems = endpoints.check_endpoint(wanted)
        if problems:
            return None, problems
        if wanted not in offered:
            return None, problem("endpoint_not_served", "must be an endpoint of a broker that serves the account")
        return wanted, []
    if not offered:
        return None, problem("no_endpoint", "no account broker with an endpoint serves the account")
    if len(offered) > 1:
        return None, problem(
            "endpoint_ambiguous", f"must be chosen, the account has several: {', '.join(sorted(offered))}"
        )
    return next(iter(offered)), []


def check_window(activates_on: datetime.datetime, expires_on: datetime.datetime | None) -> Iterator[Problem]:
    """The page: "This date must follow the activation date otherwise the provision request will not be created."""
    dates = {"activates_on": activates_on, "expires_on": expires_on}
    naive = [name for name, moment in dates.items() if moment is not None and moment.tzinfo is None]
    for name in naive:
        yield Problem(field=name, rule="no_time_zone", text="must have a time zone, such as 2030-01-31T08:00:00Z")
    if not naive and expires_on is not None and expires_on <= activates_on:
        yield Problem(field="expires_on", rule="expires_before_activates", text="must follow the date it activates on")


def check_coupling(coupling: str, field: str = "device_connection_coupling") -> Iterator[Problem]:
    """One of the three modes."""
    if coupling not in COUPLINGS:
        yield Problem(field=field, rule="coupling", text=f"must be one of {', '.join(COUPLINGS)}")


def check_maximum_attempts(maximum: int) -> Iterator[Problem]:
    """How many failures a request survives."""
    if not 1 <= maximum <= MOST_ATTEMPTS:
        yield Problem(field="maximum_attempts", rule="maximum_attempts", text=f"must be from 1 to {MOST_ATTEMPTS}")


def check_start_on_birth(start_on_birth: bool, *, key: bool) -> Iterator[Problem]:
    """A device that only says that it was born cannot prove a key."""
    if start_on_birth and key:
        yield Problem(field="start_on_birth", rule="birth_has_no_key", text="is not possible with an activation key")


def check_content(
    *,
    account: str,
    client_id: str,
    endpoint: str,
    configuration: device_config.Configuration,
    applications: Sequence[Mapping[str, Any]],
    limits: Limits,
    ca: str | None = None,
) -> Iterator[Problem]:
    """
    The applications, and that the whole answer fits into a message, on whichever wire it is asked for.

    On the day of creation and not only on that of provisioning.
    """
    problems = list(check_applications(applications, limits.most_applications))
    if problems:
        yield from problems
        return
    # A client id that cannot be encoded is a problem of its own.
    place = {
        "endpoint": endpoint,
        "account": account,
        "client_id": client_id.encode(errors="replace").decode(),
    }
    trusted = certificates.ca_for(endpoint, ca)
    if not configuration and not applications and names.is_client_id(client_id, names.LONGEST_CLIENT_ID):
        size = _bare_size(endpoint, account, len(client_id), trusted)
    else:
        size = _answer_size(place, configuration, applications, trusted)
    if size > limits.answer_bytes:
        yield Problem(
            field=device_config.FIELD,
            rule="answer_too_large",
            text=f"the answer to the device would have {size} bytes, at most {limits.answer_bytes} are allowed",
        )


def _answer_size(
    place: Mapping[str, str],
    configuration: device_config.Configuration,
    applications: Sequence[Mapping[str, Any]],
    ca: str | None,
) -> int:
    """Bytes of the longest answer, on whichever wire it is longer."""
    own = device_config.without_overridden(configuration)
    rendered = device_config.render_json(own)
    return max(
        answers.longest_accepted(**place, configuration=rendered, applications=applications, ca=ca),
        kura_size.longest_configuration(**place, configuration=own),
    )


@functools.lru_cache(maxsize=1024)
def _bare_size(endpoint: str, account: str, length: int, ca: str | None) -> int:
    """Of a request without content: no character of a client id is escaped, so that its length says all."""
    return _answer_size({"endpoint": endpoint, "account": account, "client_id": "x" * length}, {}, (), ca)


UNSET: Any = object()


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What an administrator changes; UNSET leaves a field as it is. Client id, username and password never change."""

    new_activation_key: bool = False
    remove_activation_key: bool = False
    provision_endpoint: str = UNSET
    activates_on: datetime.datetime = UNSET
    expires_on: datetime.datetime | None = UNSET
    reserve_user: bool = UNSET
    device_connection_coupling: str = UNSET
    additional_device_configuration: device_config.Configuration = field(default=UNSET, repr=False)
    applications: Sequence[Mapping[str, Any]] = UNSET
    maximum_attempts: int = UNSET
    start_on_birth: bool = UNSET


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    """The part of a stored request that changes are judged against."""

    client_id: str
    state: RequestState
    provision_endpoint: str
    activates_on: datetime.datetime
    expires_on: datetime.datetime | None
    attempts: int
    device_connection_coupling: str
    maximum_attempts: int
    start_on_birth: bool = False
    has_key: bool = False
    # Passwords opened or stood in for by something at least as long.
    additional_device_configuration: device_config.Configuration = field(repr=False)
    applications: Sequence[Mapping[str, Any]] = ()


def check_change(stored: StoredRequest, changes: Changes, around: Surroundings, limits: Limits) -> Iterator[Problem]:
    """Every problem of a change; none while the request is RUNNING, and no new key once it is PROVISIONED."""
    if stored.state is RequestState.RUNNING:
        yield Problem(
            field="state", rule="running", text="a request cannot be changed while it is RUNNING; stop it first"
        )
    if (changes.new_activation_key or changes.remove_activation_key) and stored.state is RequestState.PROVISIONED:
        yield Problem(
            field="activation_key", rule="provisioned", text="cannot be changed once the request is PROVISIONED"
        )
    if changes.new_activation_key and changes.remove_activation_key:
        yield Problem(field="activation_key", rule="contradiction", text="can be made anew or removed, not both")

    def kept(value: Any, before: Any) -> Any:
        return before if value is UNSET else value

    endpoint = stored.provision_endpoint
    if changes.provision_endpoint is not UNSET:
        chosen, problems = choose_endpoint(changes.provision_endpoint, around.endpoints)
        yield from problems
        endpoint = chosen or endpoint
    yield from check_window(
        kept(changes.activates_on, stored.activates_on), kept(changes.expires_on, stored.expires_on)
    )
    yield from check_coupling(kept(changes.device_connection_coupling, stored.device_connection_coupling))
    maximum = kept(changes.maximum_attempts, stored.maximum_attempts)
    yield from check_maximum_attempts(maximum)
    if maximum < stored.attempts:
        yield Problem(
            field="maximum_attempts", rule="fewer_than_made", text=f"{stored.attempts} attempts were made already"
        )
    key = changes.new_activation_key or (stored.has_key and not changes.remove_activation_key)
    yield from check_start_on_birth(kept(changes.start_on_birth, stored.start_on_birth), key=key)
    yield from check_content(
        account=around.account,
        client_id=stored.client_id,
        endpoint=endpoint,
        ca=around.cas.get(endpoint),
        configuration=kept(changes.additional_device_configuration, stored.additional_device_configuration),
        applications=kept(changes.applications, stored.applications),
        limits=limits,
    )
