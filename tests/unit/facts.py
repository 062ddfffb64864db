"""Makers of facts for decisions about CONNECTs: a good client each, to be spoilt one fact at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

from service.core.connect import Account, Device, Facts, Run, User
from service.core.coupling import Connection

CLIENT_ID = "gw-1"
USER_ID = 7

ACCOUNT = Account(
    id=3, name="acme", enabled=True, coupling="STRICT", served=True, mandatory_provisioning=False, version=1
)
CONNECTION = Connection(
    id=5, version=1, coupling="INHERITED", user_id=USER_ID, reserved_user_id=USER_ID, allow_user_change=False
)
DEVICE = Device(id=4, enabled=True, version=1)
RUN = Run(id=6, version=1, past_deadline=False, request_version=1, request_enabled=True, client_id=CLIENT_ID)

PROVISION_USER = User(
    id=USER_ID,
    kind="provision",
    enabled=True,
    confirmed=False,
    password_bcrypt="$2b$04$hash",
    secret_sha256=None,
    permissions=frozenset(),
    version=1,
)
DEVICE_USER = dataclasses.replace(
    PROVISION_USER,
    kind="device",
    confirmed=True,
    password_bcrypt=None,
    secret_sha256=bytes(32),
    permissions=frozenset({"broker:connect"}),
)
PERSON = dataclasses.replace(DEVICE_USER, kind="person", confirmed=False)
SERVICE_USER = dataclasses.replace(DEVICE_USER, kind="service", confirmed=False, permissions=frozenset())

NOTHING = Facts(
    as_of=0,
    broker_role=None,
    highest_cost=None,
    overlap_open=False,
    user=None,
    account=None,
    request_enabled=None,
    provisioned=False,
    run=None,
    device=None,
    connection=None,
    reserved_elsewhere=False,
    client_id_of_another_account=False,
)
# A device with factory credentials on the provision broker (which serves every account).
FACTORY = dataclasses.replace(
    NOTHING,
    broker_role="provision",
    user=PROVISION_USER,
    account=dataclasses.replace(ACCOUNT, served=False),
    request_enabled=True,
)
# A provisioned device on its account's broker, and the same one at its first login.
MANAGED = dataclasses.replace(
    NOTHING,
    broker_role="account",
    user=DEVICE_USER,
    account=ACCOUNT,
    provisioned=True,
    device=DEVICE,
    connection=CONNECTION,
)
FIRST_LOGIN = dataclasses.replace(
    MANAGED, user=dataclasses.replace(DEVICE_USER, confirmed=False), provisioned=False, run=RUN
)
VISITOR = dataclasses.replace(NOTHING, broker_role="account", user=PERSON, account=ACCOUNT)
RESPONDER = dataclasses.replace(NOTHING, broker_role="provision", user=SERVICE_USER)


def spoilt(facts: Facts, **changes: Any) -> Facts:
    """
    The facts with some of them changed; `user__enabled=False` reaches into `facts.user`.
    """
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        if inner:
            value = dataclasses.replace(getattr(facts, part), **{inner: value})
        facts = dataclasses.replace(facts, **{part: value})
    return facts
