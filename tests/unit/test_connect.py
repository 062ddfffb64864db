"""Who may be where, under which client id (design D1, D4, D7, D9): every allow, and every denial beside it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from service.core.connect import Facts, Present, decide_presence
from service.core.coupling import Connection
from service.core.grants import Access, Grant, account_grants, decide_acl, provision_grants, service_grants
from service.core.verdicts import Denied
from tests.unit.facts import (
    CLIENT_ID,
    CONNECTION,
    DEVICE_USER,
    FACTORY,
    FIRST_LOGIN,
    MANAGED,
    NOTHING,
    PERSON,
    PROVISION_USER,
    RESPONDER,
    RUN,
    SERVICE_USER,
    VISITOR,
    spoilt,
)

DEVICE_GRANTS = account_grants("acme", CLIENT_ID, ["broker:connect"])


@pytest.mark.parametrize(
    ("facts", "grants", "changes"),
    [
        pytest.param(FACTORY, provision_grants(CLIENT_ID), False, id="factory credentials, provision broker"),
        pytest.param(MANAGED, DEVICE_GRANTS, False, id="managed device, account broker"),
        pytest.param(spoilt(MANAGED, connection=None), DEVICE_GRANTS, True, id="no connection yet: it is made"),
        pytest.param(spoilt(MANAGED, device=None), DEVICE_GRANTS, False, id="not in the registry yet"),
        pytest.param(
            spoilt(MANAGED, connection__reserved_user_id=None, connection__allow_user_change=True),
            DEVICE_GRANTS,
            True,
            id="allow user change is used up",
        ),
        pytest.param(FIRST_LOGIN, DEVICE_GRANTS, True, id="the first login confirms the run"),
        pytest.param(VISITOR, DEVICE_GRANTS, True, id="a person"),
        pytest.param(
            spoilt(VISITOR, user__permissions=frozenset({"broker:connect", "device:manage"})),
            account_grants("acme", CLIENT_ID, ["broker:connect", "device:manage"]),
            True,
            id="a person with more permissions has more grants",
        ),
    ],
)
def test_who_may_be_there(facts: Facts, grants: tuple[Grant, ...], changes: bool) -> None:
    assert facts.account is not None
    decision = decide_presence(facts, "some-user", CLIENT_ID)
    assert decision == Present(grants=grants, account_id=facts.account.id, changes=changes)
    assert decision


def test_the_responder_may_be_at_the_provision_broker() -> None:
    decision = decide_presence(RESPONDER, "~responder", "~responder")
    assert decision == Present(grants=service_grants("~responder", broker_role="provision"), account_id=None)


def test_kura_s_topics_are_those_of_the_provision_account() -> None:
    """A setting, known to nobody but us."""
    device = decide_presence(FACTORY, "some-user", CLIENT_ID, "ec-provisioning")
    assert isinstance(device, Present)
    assert device.grants == provision_grants(CLIENT_ID, "ec-provisioning")
    responder = decide_presence(RESPONDER, "~responder", "~responder", "ec-provisioning")
    assert responder == Present(
        grants=service_grants("~responder", "ec-provisioning", broker_role="provision"), account_id=None
    )


STRANGER_S = Connection(id=5, version=1, coupling="STRICT", user_id=99, reserved_user_id=None, allow_user_change=False)
DENIALS: list[tuple[str, Facts, dict[str, Any]]] = [
    ("unknown_broker", FACTORY, {"broker_role": None}),
    ("unknown_broker", MANAGED, {"broker_role": "both"}),
    ("unknown_user", FACTORY, {"user": None}),
    ("unknown_user", MANAGED, {"user": None}),
    ("user_disabled", FACTORY, {"user__enabled": False}),
    ("user_disabled", MANAGED, {"user__enabled": False}),
    ("user_disabled", VISITOR, {"user__enabled": False}),
    ("account_disabled", FACTORY, {"account": None}),
    ("account_disabled", FACTORY, {"account__enabled": False}),
    ("account_disabled", MANAGED, {"account": None}),
    ("account_disabled", MANAGED, {"account__enabled": False}),
    ("account_disabled", FIRST_LOGIN, {"account__enabled": False}),
    ("account_disabled", VISITOR, {"account__enabled": False}),
    # Each kind of user at the other broker (D1).
    ("wrong_broker", FACTORY, {"broker_role": "account"}),
    ("wrong_broker", MANAGED, {"broker_role": "provision"}),
    ("wrong_broker", FIRST_LOGIN, {"broker_role": "provision"}),
    ("wrong_broker", VISITOR, {"broker_role": "provision"}),
    ("wrong_broker", FACTORY, {"user__kind": "robot"}),
    ("wrong_broker", MANAGED, {"user__kind": "robot"}),
    ("wrong_broker", MANAGED, {"user__kind": ""}),
    # The provision broker: a request with this credential and this client id must exist.
    ("no_matching_request", FACTORY, {"request_enabled": None}),
    ("request_disabled", FACTORY, {"request_enabled": False}),
    ("device_disabled", FACTORY, {"device": MANAGED.device, "device__enabled": False}),
    # Account brokers.
    ("account_not_served", MANAGED, {"account__served": False}),
    ("account_not_served", VISITOR, {"account__served": False}),
    ("no_connect_permission", MANAGED, {"user__permissions": frozenset()}),
    ("no_connect_permission", VISITOR, {"user__permissions": frozenset({"device:manage", "data:manage", "data:view"})}),
    ("client_id_of_another_account", MANAGED, {"client_id_of_another_account": True}),
    ("client_id_of_another_account", FIRST_LOGIN, {"client_id_of_another_account": True}),
    ("client_id_of_another_account", VISITOR, {"client_id_of_another_account": True}),
    ("device_disabled", MANAGED, {"device__enabled": False}),
    ("device_disabled", FIRST_LOGIN, {"device__enabled": False}),
    ("device_disabled", VISITOR, {"device": MANAGED.device, "device__enabled": False}),
    # The first login of a generated user.
    ("no_live_run", FIRST_LOGIN, {"run": None}),
    ("client_id_of_another_run", FIRST_LOGIN, {"run__client_id": "gw-2"}),
    ("client_id_of_another_run", FIRST_LOGIN, {"run__client_id": "GW-1"}),
    ("request_disabled", FIRST_LOGIN, {"run__request_enabled": False}),
    ("past_deadline", FIRST_LOGIN, {"run__past_deadline": True}),
    # Mandatory provisioning.
    ("provisioning_mandatory", MANAGED, {"account__mandatory_provisioning": True, "provisioned": False}),
    ("provisioning_mandatory", VISITOR, {"account__mandatory_provisioning": True}),
    # Coupling (all of it: test_coupling.py).
    ("connection_reserved_for_another_user", MANAGED, {"connection__reserved_user_id": 99}),
    ("connection_reserved_for_another_user", FIRST_LOGIN, {"connection__reserved_user_id": 99}),
    ("connection_bound_to_another_user", MANAGED, {"connection": STRANGER_S}),
    ("connection_bound_to_another_user", VISITOR, {"connection": STRANGER_S}),
    ("user_reserved_for_another_connection", MANAGED, {"connection": None, "reserved_elsewhere": True}),
    ("user_reserved_for_another_connection", VISITOR, {"reserved_elsewhere": True}),
    ("unknown_coupling", MANAGED, {"connection__coupling": "TIGHT"}),
]


@pytest.mark.parametrize(("reason", "facts", "spoils"), DENIALS)
def test_one_wrong_fact_denies_with_its_reason(reason: str, facts: Facts, spoils: dict[str, Any]) -> None:
    decision = decide_presence(spoilt(facts, **spoils), "some-user", CLIENT_ID)
    assert decision == Denied(reason=reason)
    assert not decision


@pytest.mark.parametrize(
    ("reason", "username", "client_id", "role"),
    [
        ("not_a_service_client", "~responder", "gw-1", "provision"),
        ("not_a_service_client", "~responder", "~responder2", "provision"),
        ("not_a_service_client", "~takeover", "~responder", "provision"),
        ("not_a_service_client", "~other", "~other", "provision"),
        ("not_a_service_client", "~other", "~responder", "provision"),
        ("not_a_service_client", "responder", "responder", "account"),
        ("unknown_broker", "~responder", "~responder", "both"),
    ],
)
def test_a_service_user_is_the_responder_under_its_own_client_id(
    reason: str, username: str, client_id: str, role: str
) -> None:
    assert decide_presence(spoilt(RESPONDER, broker_role=role), username, client_id) == Denied(reason=reason)


def test_the_responder_only_listens_on_account_brokers() -> None:
    """To what devices say of their lives, of every account that the broker serves."""
    decision = decide_presence(spoilt(RESPONDER, broker_role="account"), "~responder", "~responder")
    assert isinstance(decision, Present)
    assert decision.account_id is None
    for said in ("BIRTH", "APPS", "DC", "LWT"):
        assert decide_acl(decision.grants, Access.SUBSCRIBE, f"$EDC/+/+/MQTT/{said}")
        assert decide_acl(decision.grants, Access.READ, f"$EDC/acme/gw-1/MQTT/{said}")
        assert not decide_acl(decision.grants, Access.WRITE, f"$EDC/acme/gw-1/MQTT/{said}")
    for topic in ("$EDC/acme/gw-1/MQTT/PROV", "$EDC/acme/gw-1/CONF-V1/PUT/configurations", "acme/gw-1/data"):
        assert not any(decide_acl(decision.grants, access, topic) for access in Access)


def test_a_disabled_responder_is_denied() -> None:
    facts = spoilt(RESPONDER, user__enabled=False)
    assert decide_presence(facts, "~responder", "~responder") == Denied(reason="user_disabled")


def test_nothing_known_is_denied() -> None:
    for role in (None, "", "provision", "account", "PROVISION", "admin"):
        assert not decide_presence(spoilt(NOTHING, broker_role=role), "some-user", CLIENT_ID)


@pytest.mark.parametrize("role", ["provision", "account", "other", None])
@pytest.mark.parametrize("user", [PROVISION_USER, DEVICE_USER, PERSON, SERVICE_USER], ids=lambda user: user.kind)
def test_a_user_alone_is_never_enough(role: str | None, user: Any) -> None:
    assert not decide_presence(spoilt(NOTHING, broker_role=role, user=user), "some-user", CLIENT_ID)


def test_every_kind_of_user_is_let_in_at_one_broker_only() -> None:
    """All facts are good for everybody here; only kind and broker decide."""
    good = spoilt(MANAGED, request_enabled=True)
    allowed = {
        (kind, role)
        for kind, role in itertools.product(
            ["provision", "device", "person", "service", "Device", ""], ["provision", "account", "Account", ""]
        )
        if decide_presence(spoilt(good, user__kind=kind, broker_role=role), "some-user", CLIENT_ID)
    }
    assert allowed == {("provision", "provision"), ("device", "account"), ("person", "account")}


def test_the_window_is_not_asked_at_connect() -> None:
    """The facts do not even hold it: outside of it a device may connect, but is not provisioned (D6)."""
    assert not {"activates_on", "expires_on"} & {*Facts.__annotations__, *type(RUN).__annotations__}


def test_the_deadline_and_the_request_count_until_the_first_login_only() -> None:
    """Once confirmed, a device works on, whatever becomes of its request."""
    facts = spoilt(MANAGED, run=spoilt(FIRST_LOGIN, run__past_deadline=True, run__request_enabled=False).run)
    assert decide_presence(facts, "some-user", CLIENT_ID)


def test_a_person_needs_no_run() -> None:
    assert decide_presence(spoilt(VISITOR, connection=CONNECTION), "some-user", CLIENT_ID)


@pytest.mark.parametrize("permission", ["device:manage", "data:manage", "data:view"])
def test_mandatory_provisioning_is_for_devices(permission: str) -> None:
    """A person who works on other people's devices is none; a person's user with less may be anything."""
    person = spoilt(
        VISITOR,
        account__mandatory_provisioning=True,
        user__permissions=frozenset({"broker:connect", permission}),
    )
    assert decide_presence(person, "some-user", CLIENT_ID)
    device = spoilt(person, user__kind="device", user__confirmed=True)
    assert decide_presence(device, "some-user", CLIENT_ID) == Denied(reason="provisioning_mandatory")


def test_mandatory_provisioning_lets_in_what_was_provisioned_and_its_first_login() -> None:
    """A completed request is of the client id, whoever comes: coupling decides about that."""
    for facts in (MANAGED, FIRST_LOGIN, spoilt(VISITOR, provisioned=True)):
        assert decide_presence(spoilt(facts, account__mandatory_provisioning=True), "some-user", CLIENT_ID)
    late = spoilt(FIRST_LOGIN, account__mandatory_provisioning=True, run__past_deadline=True)
    assert decide_presence(late, "some-user", CLIENT_ID) == Denied(reason="past_deadline")


def test_replies_are_narrowed_where_the_setting_says_so() -> None:
    decision = decide_presence(MANAGED, "some-user", CLIENT_ID, narrow_reply=True)
    assert isinstance(decision, Present)
    assert decision.grants == account_grants("acme", CLIENT_ID, ["broker:connect"], narrow_reply=True) != DEVICE_GRANTS


def test_an_account_may_be_loose() -> None:
    """Where INHERITED means LOOSE, another user of the account may take an unreserved client id."""
    facts = spoilt(MANAGED, connection__user_id=99, connection__reserved_user_id=None)
    assert not decide_presence(facts, "some-user", CLIENT_ID)
    loose = decide_presence(spoilt(facts, account__coupling="LOOSE"), "some-user", CLIENT_ID)
    assert isinstance(loose, Present)
    assert loose.changes
