"""What a hooks process remembers of its clients (design D8): never longer than it is true."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from service import grants_memory
from service.core.connect import Present
from service.core.grants import provision_grants
from service.core.verdicts import Denied
from service.grants_memory import Client, Grants

CLIENT: Client = ("provision", "factory", "gw-1")
PRESENT = Present(grants=provision_grants("gw-1"), account_id=3)
DENIED = Denied(reason="user_disabled")


class Clock:
    """time.monotonic, moved by hand."""

    def __init__(self) -> None:
        self.now = 5000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(grants_memory, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def grants(clock: Clock) -> Grants:
    """Memory for three clients, the feed heard just now."""
    grants = Grants(3)
    grants.note_changes([], lost=False, as_of=1)
    return grants


def keep(grants: Grants, client: Client = CLIENT, decision: Present | Denied = PRESENT) -> None:
    grants.end_load(grants.begin_load(client), decision, keep_denied=True)


def test_what_was_loaded_is_remembered_by_broker_user_and_client(grants: Grants) -> None:
    keep(grants)
    assert grants.current(CLIENT) == PRESENT
    for place, other in enumerate(("account", "factory2", "gw-2")):
        stranger = tuple(other if index == place else part for index, part in enumerate(CLIENT))
        assert grants.current(stranger) is None  # type: ignore[arg-type]
        assert grants.without_database(stranger) is None  # type: ignore[arg-type]


def test_before_the_feed_was_ever_heard_nothing_is_used(clock: Clock) -> None:
    """Also on a machine that started just now, whose monotonic clock is small."""
    for now in (0.0, 1.0, 5000.0):
        clock.now = now
        grants = Grants(3)
        keep(grants)
        assert not grants.follows()
        assert grants.current(CLIENT) is None
        assert grants.without_database(CLIENT) is None


@pytest.mark.parametrize(
    ("silent", "current", "fallback"),
    [(0.0, True, True), (1.875, True, True), (2.0, False, True), (59.875, False, True), (60.0, False, False)],
)
def test_memory_serves_two_seconds_of_silence_and_sixty_without_postgres(
    grants: Grants, clock: Clock, silent: float, current: bool, fallback: bool
) -> None:
    keep(grants)
    clock.now += silent
    assert grants.follows() is current
    assert (grants.current(CLIENT) == PRESENT) is current
    assert (grants.without_database(CLIENT) == PRESENT) is fallback


def test_a_sign_of_life_without_changes_renews_everything(grants: Grants, clock: Clock) -> None:
    keep(grants)
    clock.now += 59
    grants.note_changes([], lost=False, as_of=1)
    assert grants.current(CLIENT) == PRESENT
    clock.now += 59
    assert grants.without_database(CLIENT) == PRESENT


@pytest.mark.parametrize("change", [("user", "factory"), ("client", "gw-1"), ("account", "3"), ("broker", "provision")])
def test_what_changed_decides_nothing_until_it_is_loaded_anew(grants: Grants, change: tuple[str, str]) -> None:
    keep(grants)
    grants.note_changes([change], lost=False, as_of=1)
    assert grants.current(CLIENT) is None
    assert grants.without_database(CLIENT) is None
    keep(grants)
    assert grants.current(CLIENT) == PRESENT


@pytest.mark.parametrize(
    "change", [("user", "gw-1"), ("client", "factory"), ("account", "33"), ("broker", "account"), ("user", "Factory")]
)
def test_what_changed_elsewhere_leaves_it_alone(grants: Grants, change: tuple[str, str]) -> None:
    keep(grants)
    grants.note_changes([change], lost=False, as_of=1)
    assert grants.current(CLIENT) == PRESENT


def test_a_change_reaches_every_client_of_its_name(grants: Grants) -> None:
    """A shared factory credential has many client ids, a client id sits at two brokers."""
    clients: list[Client] = [CLIENT, ("provision", "factory", "gw-2"), ("account", "d-abc", "gw-1")]
    for client in clients:
        keep(grants, client)
    grants.note_changes([("user", "factory")], lost=False, as_of=1)
    assert [grants.current(client) is None for client in clients] == [True, True, False]
    grants.note_changes([("client", "gw-1")], lost=False, as_of=1)
    assert [grants.current(client) is None for client in clients] == [True, True, True]


def test_when_changes_were_lost_nothing_is_believed(grants: Grants) -> None:
    keep(grants)
    keep(grants, ("account", "d-abc", "gw-2"), DENIED)
    grants.note_changes([], lost=True, as_of=1)
    assert grants.current(CLIENT) is None
    assert grants.without_database(CLIENT) is None
    assert grants.current(("account", "d-abc", "gw-2")) is None


@pytest.mark.parametrize(
    "change", [("user", "factory"), ("client", "gw-1"), ("account", "3"), ("account", "99"), ("broker", "provision")]
)
def test_a_load_that_was_overtaken_is_not_kept(grants: Grants, change: tuple[str, str]) -> None:
    """It may have read what was true before; of an account or a broker nobody can tell whose it will be."""
    load = grants.begin_load(CLIENT)
    grants.note_changes([change], lost=False, as_of=1)
    grants.end_load(load, PRESENT, keep_denied=True)
    assert grants.current(CLIENT) is None
    assert len(grants) == 0


def test_a_load_during_which_changes_were_lost_is_not_kept(grants: Grants) -> None:
    """One of the lost changes may have been about this client, after it was read."""
    load = grants.begin_load(CLIENT)
    grants.note_changes([], lost=True, as_of=1)
    grants.end_load(load, PRESENT, keep_denied=True)
    assert grants.current(CLIENT) is None
    assert grants.without_database(CLIENT) is None


@pytest.mark.parametrize("change", [("user", "another"), ("client", "gw-2"), ("user", "gw-1"), ("client", "factory")])
def test_a_load_is_kept_when_something_else_changed(grants: Grants, change: tuple[str, str]) -> None:
    load = grants.begin_load(CLIENT)
    grants.note_changes([change], lost=False, as_of=1)
    grants.end_load(load, PRESENT, keep_denied=True)
    assert grants.current(CLIENT) == PRESENT


def test_a_change_before_the_load_began_or_of_an_earlier_load_does_not_matter(grants: Grants) -> None:
    first = grants.begin_load(CLIENT)
    grants.note_changes([("user", "factory")], lost=False, as_of=1)
    second = grants.begin_load(CLIENT)
    grants.end_load(second, PRESENT, keep_denied=True)
    grants.end_load(first, DENIED, keep_denied=True)
    assert grants.current(CLIENT) == PRESENT


def test_an_overtaken_load_leaves_the_entry_stale(grants: Grants) -> None:
    """The next question asks again, rather than believing either."""
    keep(grants)
    load = grants.begin_load(CLIENT)
    grants.note_changes([("client", "gw-1")], lost=False, as_of=1)
    grants.end_load(load, PRESENT, keep_denied=True)
    assert grants.current(CLIENT) is None
    assert grants.without_database(CLIENT) is None


def test_a_load_that_learnt_nothing_changes_nothing(grants: Grants) -> None:
    keep(grants)
    grants.end_load(grants.begin_load(CLIENT), None, keep_denied=True)
    assert grants.current(CLIENT) == PRESENT
    grants.note_changes([("user", "factory")], lost=False, as_of=1)
    grants.end_load(grants.begin_load(CLIENT), None, keep_denied=True)
    assert grants.current(CLIENT) is None


def test_a_revoked_client_leaves_a_tombstone_that_outlives_postgres(grants: Grants, clock: Clock) -> None:
    keep(grants)
    grants.note_changes([("user", "factory")], lost=False, as_of=1)
    grants.end_load(grants.begin_load(CLIENT), DENIED, keep_denied=False)
    assert grants.current(CLIENT) == DENIED
    for _ in range(3):
        clock.now += 3600
        assert grants.without_database(CLIENT) == DENIED


def test_a_stranger_s_denied_connect_is_not_remembered(grants: Grants) -> None:
    """Or a flood of them would push the admitted ones out; a denied topic check comes from a client that was let in."""
    grants.end_load(grants.begin_load(CLIENT), DENIED, keep_denied=False)
    assert len(grants) == 0
    grants.end_load(grants.begin_load(CLIENT), DENIED, keep_denied=True)
    assert grants.current(CLIENT) == DENIED


def test_any_account_s_change_may_bring_a_denied_client_back(grants: Grants) -> None:
    """A denial does not say which account it was about."""
    keep(grants, decision=DENIED)
    grants.note_changes([("account", "99")], lost=False, as_of=1)
    assert grants.current(CLIENT) is None


def test_memory_is_bounded_and_the_least_used_goes_first(grants: Grants) -> None:
    clients: list[Client] = [("provision", "factory", f"gw-{number}") for number in range(4)]
    for client in clients[:3]:
        keep(grants, client)
    assert grants.current(clients[0]) == PRESENT
    keep(grants, clients[3])
    assert len(grants) == 3
    assert [grants.current(client) is not None for client in clients] == [True, False, True, True]


def test_loading_again_counts_as_use(grants: Grants) -> None:
    clients: list[Client] = [("provision", "factory", f"gw-{number}") for number in range(4)]
    for client in (*clients[:3], clients[0], clients[3]):
        keep(grants, client)
    assert grants.current(clients[0]) == PRESENT
    assert grants.current(clients[1]) is None


def test_what_is_forgotten_leaves_nothing_behind(grants: Grants) -> None:
    """The index by name is as bounded as the entries, and a change of a forgotten name finds nothing to mark."""
    for number in range(100):
        keep(grants, ("provision", f"user-{number}", f"gw-{number}"))
    assert len(grants) == 3
    for index, kind in ((vars(grants)["_by_user"], "user"), (vars(grants)["_by_client"], "gw")):
        assert len(index) == 3
        assert sum(len(list(index.get(f"{kind}-{number}"))) for number in range(100)) == 3
    grants.note_changes([("user", "user-0"), ("client", "gw-0"), ("user", "nobody")], lost=False, as_of=1)
    assert grants.current(("provision", "user-99", "gw-99")) == PRESENT


def test_a_name_shared_by_several_stays_in_the_index_until_the_last_goes(grants: Grants) -> None:
    for number in range(4):
        keep(grants, ("provision", "factory", f"gw-{number}"))
    grants.note_changes([("user", "factory")], lost=False, as_of=1)
    assert all(grants.current(("provision", "factory", f"gw-{number}")) is None for number in range(4))


def test_ended_loads_are_forgotten(grants: Grants) -> None:
    for number in range(50):
        keep(grants, ("provision", "factory", f"gw-{number}"))
    assert len(vars(grants)["_loads"]) == 0


def test_twin_loads_are_told_apart(grants: Grants) -> None:
    """Two questions of one client at once: each has its own."""
    first, second = grants.begin_load(CLIENT), grants.begin_load(CLIENT)
    grants.end_load(first, PRESENT, keep_denied=True)
    grants.note_changes([("user", "factory")], lost=False, as_of=1)
    grants.end_load(second, PRESENT, keep_denied=True)
    assert grants.current(CLIENT) is None
