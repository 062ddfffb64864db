"""Grants and topic checks (design D8, D9, 4.1, 4.4), against tests/vectors/grants.json."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import kura_messages, names
from service.core.grants import (
    READ_AND_WRITE,
    Access,
    Grant,
    Granted,
    account_grants,
    decide_acl,
    provision_grants,
    service_grants,
)
from service.core.topics import is_filter
from service.core.verdicts import Denied
from tests.unit import vectors
from tests.unit.strategies import any_text

HOLDERS = {row["name"]: row for row in vectors.rows("grants", "grants")}
PERMISSIONS = ["broker:connect", "device:manage", "data:manage", "data:view"]
client_ids = st.from_regex(names.CLIENT_ID, fullmatch=True)
account_names = st.from_regex(names.USERNAME, fullmatch=True)


def grants_of(row: dict[str, Any]) -> tuple[Grant, ...]:
    if row["broker"] == "provision":
        if row["client_id"].startswith("~"):
            return service_grants(row["client_id"], broker_role="provision")
        return provision_grants(row["client_id"])
    narrow_reply = row.get("narrow_reply", False)
    return account_grants(row["account"], row["client_id"], row["permissions"], narrow_reply=narrow_reply)


def question_name(row: dict[str, Any]) -> str:
    return vectors.shown(row["grants_of"], row["acc"], row["topic"])


@pytest.mark.parametrize("row", HOLDERS.values(), ids=HOLDERS)
def test_grants_are_those_of_the_table(row: dict[str, Any]) -> None:
    found = {(grant.filter, tuple(sorted(grant.accesses))) for grant in grants_of(row)}
    assert found == {(text, tuple(accesses)) for text, accesses in row["grants"]}
    assert len(grants_of(row)) == len(row["grants"])


@pytest.mark.parametrize("row", vectors.rows("grants", "questions"), ids=question_name)
def test_a_question_is_answered_as_in_the_table(row: dict[str, Any]) -> None:
    decision = decide_acl(grants_of(HOLDERS[row["grants_of"]]), row["acc"], row["topic"])
    assert bool(decision) is row["allowed"]
    assert isinstance(decision, Granted if row["allowed"] else Denied)


@pytest.mark.parametrize("permissions", [(), PERMISSIONS[1:]])
def test_without_broker_connect_there_is_no_grant_at_all(permissions: list[str]) -> None:
    assert account_grants("acme", "gw-1", permissions) == ()


@pytest.mark.parametrize(
    ("acc", "topic", "reason"),
    [
        (0, "acme/gw-1/x", "unknown_access"),
        (3, "acme/gw-1/x", "unknown_access"),
        (-1, "acme/gw-1/x", "unknown_access"),
        (1, "", "malformed_topic"),
        (2, "acme/gw-1/+", "malformed_topic"),
        (2, "acme/gw-1/\0", "malformed_topic"),
        (4, "acme/#/x", "malformed_topic"),
        (4, "acme/gw-1/x\0", "malformed_topic"),
        (4, "$share/x/acme/gw-1/x", "shared_subscription"),
        (4, "$share/", "shared_subscription"),
        (4, "#", "no_grant"),
        (1, "acme/gw-2/x", "no_grant"),
    ],
)
def test_a_refusal_says_why(acc: int, topic: str, reason: str) -> None:
    assert decide_acl(account_grants("acme", "gw-1", ["broker:connect"]), acc, topic) == Denied(reason=reason)


def test_the_grant_that_covers_is_named() -> None:
    grants = account_grants("acme", "gw-1", ["broker:connect"])
    assert decide_acl(grants, 4, "acme/gw-1/#") == Granted(grant=Grant("acme/gw-1/#", READ_AND_WRITE))


def test_an_unknown_access_is_denied_even_by_a_grant_of_everything() -> None:
    everything = [Grant("#", READ_AND_WRITE)]
    known = [acc for acc in range(-300, 300) if decide_acl(everything, acc, "a")]
    assert known == [1, 2, 4]
    assert decide_acl(everything, 3, "a") == Denied(reason="unknown_access")


@pytest.mark.parametrize("access", list(Access))
def test_a_grant_holds_for_its_own_accesses_only(access: Access) -> None:
    for held in Access:
        allowed = decide_acl([Grant("a/b", frozenset({held}))], access, "a/b")
        assert bool(allowed) is (held is access)


def test_two_grants_together_cover_nothing_more_than_each() -> None:
    """A filter is covered by one grant or refused: `a/+` is more than `a/b` and `a/c`."""
    both = [Grant("a/b", READ_AND_WRITE), Grant("a/c", READ_AND_WRITE)]
    assert not decide_acl(both, Access.SUBSCRIBE, "a/+")
    assert decide_acl(both, Access.SUBSCRIBE, "a/c")


def test_a_shared_subscription_is_refused_even_by_a_grant_of_it() -> None:
    assert not decide_acl([Grant("$share/#", READ_AND_WRITE)], Access.SUBSCRIBE, "$share/x/a")


def test_without_grants_there_is_no_access() -> None:
    assert [decide_acl([], acc, "a") for acc in (1, 2, 4)] == [Denied(reason="no_grant")] * 3


@given(st.integers(), any_text)
def test_any_question_has_an_answer(acc: int, topic: str) -> None:
    """Whatever a broker sends, there is a verdict, and it is no unless the device's own topics are meant."""
    decision = decide_acl(provision_grants("gw-1"), acc, topic)
    if not topic.startswith("$EDC/provision/"):
        assert bool(decision) is (
            (acc in (1, 4) and topic == "prov/v1/gw-1/reply")
            or (acc == 2 and topic in ("prov/v1/gw-1/request", "prov/v1/gw-1/status"))
        )


@given(account_names, client_ids, st.sets(st.sampled_from(PERMISSIONS)))
def test_every_grant_stays_inside_the_account(account: str, client_id: str, permissions: set[str]) -> None:
    """Names cannot hold `/`, `+`, `#` or `$`, so what they are put into keeps its meaning."""
    for grant in account_grants(account, client_id, permissions):
        assert is_filter(grant.filter)
        assert grant.filter.startswith((f"{account}/", f"$EDC/{account}/"))


@given(client_ids, client_ids)
def test_a_provisioning_device_has_nothing_of_another(mine: str, other: str) -> None:
    for grant in provision_grants(other):
        for access in grant.accesses:
            # Of a filter that is held to read or write, a topic that it matches.
            topic = grant.filter if access is Access.SUBSCRIBE else grant.filter.replace("+", "x").replace("#", "x")
            assert bool(decide_acl(provision_grants(mine), access, topic)) is (mine == other)


@given(account_names, client_ids, client_ids)
def test_a_device_has_nothing_of_another_but_what_it_answers(account: str, mine: str, other: str) -> None:
    """Of another device's control topics it may write REPLY, and NOTIFY that ends in its own id."""
    grants = account_grants(account, mine, ["broker:connect"])
    for access in Access:
        for topic in (f"$EDC/{account}/{other}/CONF-V1/GET/x", f"{account}/{other}/x"):
            assert bool(decide_acl(grants, access, topic)) is (mine == other)
        assert bool(decide_acl(grants, access, f"$EDC/{account}/{other}/x/REPLY/1")) is (
            access is Access.WRITE or mine == other
        )
        assert bool(decide_acl(grants, access, f"$EDC/{account}/x/y/NOTIFY/{other}/z")) is (
            mine == "x" or (access is Access.WRITE and mine == other)
        )


@given(account_names, client_ids, client_ids, st.sets(st.sampled_from(PERMISSIONS[2:])))
def test_narrowed_replies_of_one_device_are_nobody_else_s(
    account: str, mine: str, other: str, permissions: set[str]
) -> None:
    """Whoever asks as `~{client id}` hears that client alone; whoever asks in another name hears nobody."""
    grants = account_grants(account, mine, {"broker:connect", *permissions}, narrow_reply=True)
    for requester, own in ((f"~{other}", mine == other), (other, mine == other)):
        assert bool(decide_acl(grants, Access.WRITE, f"$EDC/{account}/{requester}/CONF-V1/REPLY/1")) is own
    wide = account_grants(account, mine, {"broker:connect", *permissions})
    assert set(grants) - set(wide) == {Grant(f"$EDC/{account}/~{mine}/+/REPLY/#", frozenset({Access.WRITE}))}


def test_our_own_clients_hold_what_they_need_and_the_takeover_nothing() -> None:
    responder = service_grants("~responder", broker_role="provision")
    allowed = [
        (4, "prov/v1/+/request"),
        (4, "prov/v1/+/status"),
        (1, "prov/v1/gw-1/request"),
        (2, "prov/v1/gw-1/reply"),
    ]
    refused = [
        (4, "#"),
        (4, "prov/v1/#"),
        (4, "prov/v1/+/reply"),
        (1, "prov/v1/gw-1/reply"),
        (2, "prov/v1/gw-1/request"),
    ]
    assert all(decide_acl(responder, acc, topic) for acc, topic in allowed)
    assert not any(decide_acl(responder, acc, topic) for acc, topic in refused)
    assert service_grants("~takeover", broker_role="provision") == ()
    assert set(names.SERVICES) == {"~responder", "~takeover"}


@given(account_names, client_ids)
def test_the_responder_hears_and_says_what_kura_needs(account: str, client_id: str) -> None:
    """Its subscriptions are granted, its requests are; nothing of another account's topics is."""
    responder = service_grants("~responder", account, broker_role="provision")
    assert all(decide_acl(responder, Access.SUBSCRIBE, text) for text in kura_messages.subscriptions(account))
    for request in ("DEPLOY-V2/EXEC/download", "CONF-V1/PUT/configurations"):
        assert decide_acl(responder, Access.WRITE, f"$EDC/{account}/{client_id}/{request}")
        assert decide_acl(provision_grants(client_id, account), Access.READ, f"$EDC/{account}/{client_id}/{request}")
        assert not decide_acl(responder, Access.WRITE, f"$EDC/{account}x/{client_id}/{request}")
    assert not decide_acl(responder, Access.WRITE, f"$EDC/{account}/{client_id}/CMD-V1/EXEC/command")


@given(account_names, client_ids, client_ids)
def test_no_device_answers_in_another_s_name(account: str, mine: str, other: str) -> None:
    grants = provision_grants(mine, account)
    for topic in (
        f"$EDC/{account}/~{other}/CONF-V1/REPLY/1",
        f"$EDC/{account}/~{other}/DEPLOY-V2/NOTIFY/{other}/install",
        f"$EDC/{account}/{other}/MQTT/PROV",
    ):
        assert bool(decide_acl(grants, Access.WRITE, topic)) is (mine == other)
    assert not decide_acl(grants, Access.WRITE, f"$EDC/{account}/~{mine}/DEPLOY-V2/NOTIFY/{other}x/install")
    # What the platform says is its own to say.
    assert not decide_acl(grants, Access.WRITE, f"$EDC/{account}/{mine}/CONF-V1/PUT/configurations")
