"""What a hooks process remembers is bounded by bytes as well, and says honestly what it takes."""

from __future__ import annotations

import tracemalloc

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from service.core.connect import Present
from service.core.grants import account_grants, provision_grants
from service.core.verdicts import Denied
from service.grants_memory import Client, Entry, Grants, grants_text
from service.passwords import VERIFIED_BYTES, Verified, VerifiedPasswords

TAG_BYTES = 16


def client_of(number: int) -> Client:
    """As the JSON of a question makes it: strings of its own, and a broker that is everybody's."""
    return ("account-broker", f"d-{number:026}", f"gw-{number:09}")


def keep(grants: Grants, client: Client, decision: Present | Denied, login: bytes | None = None) -> None:
    grants.end_load(grants.begin_load(client), decision, keep_denied=True, login=login)


names = st.text(st.sampled_from("abcxyz019-_"), min_size=1, max_size=40)
permission_sets = st.sets(st.sampled_from(["broker:connect", "device:manage", "data:manage", "data:view"]))


def held(grants: Grants) -> int:
    """Counted anew: each entry, and each pattern once."""
    alone = Grants(10**6)
    for client, entry in vars(grants)["_entries"].items():
        keep(alone, client, entry.decision())
    return alone.held


@given(
    st.integers(0, 12_000),
    st.integers(1, 8),
    st.lists(st.tuples(names, names, names, st.none() | permission_sets), max_size=40),
)
def test_whatever_comes_the_bounds_hold(
    most_bytes: int, size: int, steps: list[tuple[str, str, str, set[str] | None]]
) -> None:
    grants = Grants(size, most_bytes)
    for username, client_id, account, permissions in steps:
        decision: Present | Denied = Denied(reason="user_disabled")
        if permissions is not None:
            decision = Present(grants=account_grants(account, client_id, permissions), account_id=len(account))
        keep(grants, ("a-broker", username, client_id), decision)
        assert len(grants) <= size
        assert grants.held <= most_bytes
        assert grants.held == held(grants)
    grants.most_bytes = 0
    keep(grants, ("b", "u", "c"), Denied(reason="x"))
    assert (grants.held, vars(grants)["_patterns"]) == (0, {})


@given(names, names, permission_sets)
def test_what_is_kept_once_is_each_client_s_own(account: str, client_id: str, permissions: set[str]) -> None:
    """Also where the account's name holds the client id, or is it; as the decision, and as the plugin's text."""
    for own in (account_grants(account, client_id, permissions), provision_grants(client_id, account)):
        present = Present(grants=own, account_id=7)
        grants = Grants(10)
        grants.note_changes([], lost=False, as_of=1)
        other = Present(grants=account_grants(account, client_id + "x", permissions), account_id=7)
        keep(grants, ("b", "another", client_id + "x"), other)
        keep(grants, ("b", "u", client_id), present)
        entry = grants.entry(("b", "u", client_id))
        assert isinstance(entry, Entry)
        assert entry.decision() == present
        assert entry.grants_text() == grants_text(own)
        assert msgspec.json.decode(entry.grants_text()) == [[grant.filter, sum(grant.accesses)] for grant in own]


def test_clients_of_an_account_share_their_grants() -> None:
    grants = Grants(1000)
    for number in range(100):
        client = client_of(number)
        keep(grants, client, Present(grants=account_grants("acme", client[2], ["broker:connect"]), account_id=1))
    assert len(vars(grants)["_patterns"]) == 1


def measured(count: int, grants: Grants) -> int:
    """Bytes that so many clients take, by the allocator's own count."""
    tracemalloc.start()
    try:
        for number in range(count):
            client = client_of(number)
            tag = bytes(number % 256 for _ in range(TAG_BYTES))
            present = Present(grants=account_grants("acme", client[2], ["broker:connect"]), account_id=1)
            keep(grants, client, present, login=tag)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_what_it_says_that_it_takes_is_what_it_takes() -> None:
    """Not less, so that the bound is one; and not much more. Just after the indexes grew, when they take most."""
    for count in (1_400, 2_000):
        grants = Grants(10**6)
        taken = measured(count, grants)
        assert 0.6 * grants.held <= taken <= grants.held, (count, taken / count, grants.held / count)


def test_verified_passwords_are_bounded_by_bytes() -> None:
    memory = VerifiedPasswords(10**6, 50 * VERIFIED_BYTES)
    for number in range(80):
        memory.remember(f"user-{number}", "Factory-Password", Verified(number, False))
    assert len(memory) == 50
    assert memory.recall("user-79", "Factory-Password") == (79, False)
    assert memory.recall("user-0", "Factory-Password") is None


def test_a_verified_password_takes_no_more_than_is_counted() -> None:
    memory = VerifiedPasswords(10**6)
    tracemalloc.start()
    try:
        for number in range(1_400):
            memory.remember(f"user-{number}", "Factory-Password", Verified(10**6 + number, False))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.4 * VERIFIED_BYTES <= taken / 1_400 <= VERIFIED_BYTES
