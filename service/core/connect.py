"""
Who may connect, on which broker, under which client id (design D1, D4, D7, D9).

`decide_presence` is the whole rule less the password; it also answers topic checks of clients that are connected
already but unknown to this process (D8). `decide_connect` adds what only a CONNECT shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.core import names
from service.core.coupling import Connection, decide_coupling
from service.core.grants import Grant, account_grants, provision_grants, service_grants
from service.core.messages import KEY_MAX_LENGTH, is_text
from service.core.releases import OWN, Claim, refuse_claim
from service.core.verdicts import Denied

# Between a factory password and an activation key; no factory password has one.
KEY_SEPARATOR = "\t"


@dataclass(frozen=True, kw_only=True)
class User:
    """A user as the database has it. Exactly one of the two secrets is set, by kind."""

    id: int
    kind: str  # provision, device, person or service
    enabled: bool
    confirmed: bool
    password_bcrypt: str | None
    # The password before the last rotation, while its overlap lasts.
    previous_password_bcrypt: str | None = None
    # Held: right passwords are not let in until that is lifted.
    held: bool = False
    secret_sha256: bytes | None
    permissions: frozenset[str]
    version: int

    @classmethod
    def from_document(cls, row: dict[str, Any]) -> User:
        """From the `user` part of what `hook_facts` returns: bytes as hexadecimal text, sets as arrays."""
        secret = row["secret_sha256"]
        return cls(
            **{
                **row,
                "secret_sha256": bytes.fromhex(secret) if secret else None,
                "permissions": frozenset(row["permissions"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user's account, and whether this broker serves it (always false for provision brokers, which serve all)."""

    id: int
    name: str
    enabled: bool
    coupling: str
    served: bool
    mandatory_provisioning: bool
    version: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """The live run that generated a user whose first login is still to come."""

    id: int
    version: int
    past_deadline: bool
    request_version: int
    request_enabled: bool
    client_id: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """A registered device."""

    id: int
    enabled: bool
    version: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known of one username and client id at one broker, at one moment."""

    # The feed's position that all of it was read at: changes from before it are in it.
    as_of: int
    broker_role: str | None
    highest_cost: int | None
    # Whether any credential has two passwords just now: then every refusal pays for two (D5).
    overlap_open: bool
    user: User | None
    account: Account | None
    # Provision brokers: whether a request matches credential and client id, and is enabled.
    request_enabled: bool | None
    # Account brokers: whether a request of the account was completed for this client id.
    provisioned: bool
    run: Run | None
    device: Device | None
    connection: Connection | None
    reserved_elsewhere: bool
    client_id_of_another_account: bool
    # Provision brokers: what the request's account has to do with the client id, which may be on its way elsewhere.
    claim: Claim = OWN
    # Provision brokers: whether somebody came with the activation key a short while ago.
    key_proved: bool = False

    @classmethod
    def from_document(cls, row: dict[str, Any]) -> Facts:
        """From the document that the database's `hook_facts` returns."""
        return cls(
            as_of=int(row["as_of"]),
            broker_role=row["broker_role"],
            highest_cost=row["highest_cost"],
            overlap_open=row["overlap_open"],
            user=User.from_document(row["user"]) if row["user"] else None,
            account=Account(**row["account"]) if row["account"] else None,
            request_enabled=row["request"]["enabled"] if row["request"] else None,
            provisioned=row["provisioned"],
            run=Run(**row["run"]) if row["run"] else None,
            device=Device(**row["device"]) if row["device"] else None,
            connection=Connection(**row["connection"]) if row["connection"] else None,
            reserved_elsewhere=row["reserved_elsewhere"],
            client_id_of_another_account=bool(row["client_id_of_another_account"]),
            claim=Claim.from_document(row["request"]["claim"]) if row["request"] else OWN,
            key_proved=row["key_proved"],
        )


@dataclass(frozen=True, kw_only=True)
class Present:
    """The client may be here, with these grants. `changes`: its login has to write rows first (`hook_login`)."""

    grants: tuple[Grant, ...]
    account_id: int | None
    changes: bool = False


def split_password(password: str) -> tuple[str, str | None]:
    """A CONNECT's password on a provision broker: the factory password, and behind a tab the activation key, if any."""
    factory, separator, key = password.partition(KEY_SEPARATOR)
    return factory, key if separator else None


def refuse_input(
    username: str, password: str, client_id: str, longest_client_id: int, activation_key: str | None = None
) -> Denied | None:
    """
    What the input alone refuses, before any token or look-up (D5). None: go on.

    A NUL never gets here whole: Mosquitto 2.0 cuts the password at it, and it then equals its prefix.
    """
    if not username:
        return Denied(reason="no_username")
    if not password:
        return Denied(reason="no_password")
    refused = refuse_names(username, client_id, longest_client_id)
    if refused is not None:
        return refused
    if not names.is_password(password):
        return Denied(reason="malformed_password")
    if activation_key is not None and not is_text(activation_key, KEY_MAX_LENGTH):
        return Denied(reason="malformed_password")
    return None


def refuse_names(username: str, client_id: str, longest_client_id: int) -> Denied | None:
    """
    Names that no user and no client id can have (D4). None: go on.

    Names with `~` are ours: `~responder` has its own client id, `~takeover` comes under that of whom it ends.
    """
    if username not in names.SERVICES and not names.USERNAME.fullmatch(username):
        return Denied(reason="malformed_username")
    if username == names.RESPONDER:
        return Denied(reason="not_a_service_client") if client_id != names.RESPONDER else None
    if username == names.TAKEOVER and client_id.isprintable() and 0 < len(client_id) <= names.LONGEST_CLIENT_ID:
        return None
    if not names.is_client_id(client_id, longest_client_id):
        return Denied(reason="malformed_client_id")
    return None


def refuse_session(broker_role: str, username: str, clean: bool | None) -> Denied | None:
    """Devices have clean sessions only on the provision broker, where the plugin tells (`clean` is not None)."""
    if broker_role == "provision" and clean is False and username != names.RESPONDER:
        return Denied(reason="session_not_clean")
    return None


def decide_presence(
    facts: Facts,
    username: str,
    client_id: str,
    provision_account: str = names.PROVISION_ACCOUNT,
    *,
    narrow_reply: bool = False,
) -> Present | Denied:
    """
    Whether this user may be at this broker under this client id, and with which grants.

    `provision_account` is the name in Kura's topics on provision brokers; `narrow_reply` a setting: see
    `account_grants`.
    """
    user = facts.user
    if facts.broker_role not in ("provision", "account"):
        return Denied(reason="unknown_broker")
    if user is None:
        return Denied(reason="unknown_user")
    if not user.enabled:
        return Denied(reason="user_disabled")
    if user.kind == "service":
        return _decide_service(facts.broker_role, username, client_id, provision_account)
    if facts.account is None or not facts.account.enabled:
        return Denied(reason="account_disabled")
    if facts.broker_role == "provision":
        return _decide_on_provision_broker(facts, user, client_id, provision_account)
    return _decide_on_account_broker(facts, user, facts.account, client_id, narrow_reply)


def refuse_held(facts: Facts) -> Denied | None:
    """
    Whether a CONNECT with the right password has to wait. None: go on.

    It is trouble and no verdict: the device is right, and comes again. Whoever is connected stays.
    """
    if facts.user is not None and facts.user.held:
        return Denied(reason="credential_held")
    return None


def refuse_wrong_key(decision: Present | Denied, *, given: bool, proved: bool) -> Present | Denied:
    """The decision, as far as a given activation key is the request's."""
    if decision and given and not proved:
        return Denied(reason="wrong_activation_key")
    return decision


def refuse_unproved(facts: Facts, *, key_proved: bool) -> Denied | None:
    """
    Whether a CONNECT with the right password and without the key has to wait: somebody who has it is here. None: go on.

    It is trouble and no verdict: whoever comes with the key is let in.
    """
    if facts.key_proved and not key_proved:
        return Denied(reason="key_proved_by_another")
    return None


def repeats(facts: Facts, decision: Present | Denied) -> bool:
    """
    Whether the same login is decided the same until the feed tells of a change.

    Not where time could make another of it (a release that expires, an overlap, a client id kept for its key), or it
    writes something.
    """
    user = facts.user
    if user is None or isinstance(decision, Denied) or decision.changes or facts.key_proved:
        return False
    return not user.held and user.previous_password_bcrypt is None and facts.claim == OWN


def _decide_service(broker_role: str, username: str, client_id: str, provision_account: str) -> Present | Denied:
    if username != names.RESPONDER or client_id != names.RESPONDER:
        return Denied(reason="not_a_service_client")
    return Present(grants=service_grants(username, provision_account, broker_role=broker_role), account_id=None)


def _decide_on_provision_broker(facts: Facts, user: User, client_id: str, provision_account: str) -> Present | Denied:
    """
    The page: "In order to connect to the provision broker, a provision request with the device data must already
    exist." Its window is not asked here: outside it a device may connect, but is not provisioned.
    """
    if user.kind != "provision":
        return Denied(reason="wrong_broker")
    if facts.request_enabled is None:
        return Denied(reason="no_matching_request")
    refused = refuse_claim(facts.claim)
    if refused is not None:
        return refused
    if not facts.request_enabled:
        return Denied(reason="request_disabled")
    if facts.device is not None and not facts.device.enabled:
        return Denied(reason="device_disabled")
    assert facts.account is not None
    return Present(grants=provision_grants(client_id, provision_account), account_id=facts.account.id)


def _decide_on_account_broker(
    facts: Facts, user: User, account: Account, client_id: str, narrow_reply: bool
) -> Present | Denied:
    if user.kind not in ("device", "person"):
        return Denied(reason="wrong_broker")
    if not account.served:
        return Denied(reason="account_not_served")
    if "broker:connect" not in user.permissions:
        return Denied(reason="no_connect_permission")
    if facts.client_id_of_another_account:
        return Denied(reason="client_id_of_another_account")
    if facts.device is not None and not facts.device.enabled:
        return Denied(reason="device_disabled")
    if user.kind == "device" and not user.confirmed:
        refused = _refuse_first_login(facts.run, client_id)
    else:
        refused = _refuse_unprovisioned(facts, user, account)
    if refused is not None:
        return refused
    coupled = decide_coupling(
        user_id=user.id,
        connection=facts.connection,
        account_coupling=account.coupling,
        reserved_elsewhere=facts.reserved_elsewhere,
    )
    if isinstance(coupled, Denied):
        return coupled
    return Present(
        grants=account_grants(account.name, client_id, user.permissions, narrow_reply=narrow_reply),
        account_id=account.id,
        changes=coupled.changes or facts.run is not None,
    )


# Who holds one of these works on other people's devices and is none: no request is completed for such a client id.
STAFF = frozenset({"device:manage", "data:manage", "data:view"})


def _refuse_unprovisioned(facts: Facts, user: User, account: Account) -> Denied | None:
    """Mandatory provisioning: "without a completed request, no device". A first login is what completes one."""
    if not account.mandatory_provisioning or facts.provisioned:
        return None
    if user.kind == "person" and not STAFF.isdisjoint(user.permissions):
        return None
    return Denied(reason="provisioning_mandatory")


def _refuse_first_login(run: Run | None, client_id: str) -> Denied | None:
    """A generated user's first login confirms its run, so it must be the run's device, in its time."""
    if run is None:
        return Denied(reason="no_live_run")
    if run.client_id != client_id:
        return Denied(reason="client_id_of_another_run")
    if not run.request_enabled:
        return Denied(reason="request_disabled")
    if run.past_deadline:
        return Denied(reason="past_deadline")
    return None
