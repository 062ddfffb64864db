"""Account move: each step, what never happens, and what the accounts see of it. (Races: test_account_move_races.)"""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from service.core.problems import InvalidInput
from service.operations import accounts, devices, moves, releases, sweep, users
from tests.support.scene import ACCOUNT, Device, Scene, expire, now

GLOBEX = "globex-broker"


@pytest.fixture
async def two(scene: Scene) -> Scene:
    """`globex` beside `acme`, and `umbrella`, which has no part in anything."""
    for name in ("globex", "umbrella"):
        broker = f"{name}-broker"
        urls = [f"mqtt://{name}.example:1883"]
        scene.secrets[broker] = await accounts.create_broker(scene.admin, broker, role="account", urls=urls)
        await accounts.create_account(scene.admin, name, brokers=[broker])
    await scene.gate.follow()
    return scene


async def release(scene: Scene, client_id: str = "gw-1", **changes: Any) -> datetime.datetime:
    return await releases.release_device(scene.admin, "acme", client_id, **{"to": "globex", **changes})


async def end_release(scene: Scene, client_id: str = "gw-1") -> None:
    """Its end date is over since an hour."""
    await scene.database.execute(
        "UPDATE releases SET created_at = created_at - interval '2 hours', expires_on = now() - interval '1 hour'"
        " WHERE client_id = $1 AND used_at IS NULL AND cancelled_at IS NULL",
        client_id,
    )


async def request(scene: Scene, client_id: str = "gw-1", account: str = "globex", **changes: Any) -> Device:
    """The new account's request, with factory credentials of its own."""
    return await scene.request(client_id, account, **{"provision_username": f"{account}-{client_id}", **changes})


async def rules(awaited: Any) -> list[str]:
    """The problems of something that is refused."""
    with pytest.raises(InvalidInput) as refused:
        await awaited
    return [f"{problem.field}: {problem.rule}" for problem in refused.value.problems]


async def reason(scene: Scene, device: Device) -> str:
    """Why the factory login is refused; nothing where it is allowed."""
    return (await scene.factory_login(device)).reason


async def status(scene: Scene, account: str | None = "acme", client_id: str = "gw-1") -> list[str]:
    return [row["status"] for row in await releases.list_releases(scene.admin, account, client_id)]


async def test_the_whole_move(two: Scene) -> None:
    old = await two.provision()
    assert await rules(request(two)) == ["client_id: client_id_taken"]
    until = await release(two)
    assert datetime.timedelta(days=29) < until - now() < datetime.timedelta(days=31)
    assert await two.factory_login(old)
    assert await status(two) == await status(two, "globex") == ["OPEN"]
    await two.database.check_invariants()

    new = await request(two)
    assert await reason(two, old) == "released_to_another_account"
    assert await two.factory_login(new)
    assert await two.login(old)
    assert await status(two) == ["REQUESTED"]

    assert (await two.ask(new))["result"] == "accepted"
    assert new.username != old.username
    await two.database.check_invariants()
    assert await status(two) == ["RUNNING"]
    assert await two.login(old), "until the first login there the old device works on"
    assert (await two.login(new)).reason == "account_not_served"
    assert await two.login(new, broker=GLOBEX)
    await two.database.check_invariants()

    assert await status(two) == await status(two, "globex") == ["USED"]
    assert (await two.login(old)).reason == "user_disabled"
    assert await reason(two, old) == "released_to_another_account"
    rows = await two.database.fetch(
        "SELECT a.name, d.enabled, q.enabled AS request_enabled, q.state FROM devices d"
        " JOIN provision_requests q USING (account_id, client_id) JOIN accounts a ON a.id = d.account_id ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("acme", False, False, "PROVISIONED"),
        ("globex", True, True, "PROVISIONED"),
    ]
    assert await two.login(new, broker=GLOBEX)
    assert (await two.ask(new))["code"] == "already_provisioned"


async def test_the_events_of_both_accounts(two: Scene) -> None:
    old = await two.provision()
    await release(two)
    await releases.cancel_release(two.admin, "acme", "gw-1")
    await release(two)
    new = await request(two)
    await two.ask(new)
    await two.login(new, broker=GLOBEX)
    ids = {row["name"]: row["id"] for row in await two.database.fetch("SELECT name, id FROM accounts")}
    events = await two.events()
    of_old = [event for event in events if event["account_id"] == ids["acme"]]
    assert [event["kind"] for event in of_old][-4:] == [
        "device_released", "release_cancelled", "device_released", "release_used",
    ]  # fmt: skip
    assert all(event["number"] is not None for event in of_old)
    assert json.loads(of_old[-1]["detail"]) == {"to": "globex", "disabled_users": [old.username]}
    of_new = [event for event in events if event["account_id"] == ids["globex"]]
    assert [event["kind"] for event in of_new] == ["request_created", "run_started", "confirmed"]
    await two.database.check_invariants()


async def test_connected_clients_of_the_old_account_lose_their_rights_at_once(two: Scene) -> None:
    old = await two.provision()
    topic = "$EDC/acme/gw-1/data"
    assert await two.gate.acl(ACCOUNT, old.username, "gw-1", topic)
    assert await two.factory_login(old)
    ask_topic = ("provision-broker", old.factory_username, "gw-1", "prov/v1/gw-1/request")
    assert await two.gate.acl(*ask_topic)
    await release(two)
    await two.gate.follow()
    assert await two.gate.acl(*ask_topic)
    new = await request(two)
    await two.gate.follow()
    assert (await two.gate.acl(*ask_topic)).reason == "released_to_another_account"
    assert await two.gate.acl(ACCOUNT, old.username, "gw-1", topic)
    await two.ask(new)
    await two.login(new, broker=GLOBEX)
    await two.gate.follow()
    assert not await two.gate.acl(ACCOUNT, old.username, "gw-1", topic)
    assert await two.gate.acl(GLOBEX, new.username, "gw-1", "$EDC/globex/gw-1/data")


@pytest.mark.parametrize("end", ["failed", "stopped", "deadline", "deleted", "nothing"])
async def test_what_never_happens_leaves_the_old_device_at_work(two: Scene, end: str) -> None:
    """Whatever becomes of the new run, the old device logs in; past the end date its factory login is back too."""
    old = await two.provision()
    await release(two)
    new = await request(two)
    if end != "nothing":
        await two.ask(new)
    if end == "failed":
        await two.fail(new)
    elif end in ("stopped", "deleted"):
        await moves.stop_request(two.admin, "globex", "gw-1")
    elif end == "deadline":
        await expire(two.database)
        assert await sweep.close_overdue(two.desk.pool, two.database.event_key) == ["gw-1"]
    if end == "deleted":
        await moves.delete_request(two.admin, "globex", "gw-1")
    await two.database.check_invariants()
    assert await two.login(old)
    assert (await reason(two, old)) == ("" if end == "deleted" else "released_to_another_account")
    await end_release(two)
    assert await status(two) == ["EXPIRED"]
    assert await two.login(old)
    assert await two.factory_login(old)
    assert (await two.ask(old))["code"] == "already_provisioned"
    if end != "deleted":
        assert await reason(two, new) == "release_expired"


async def test_a_release_past_its_end_date_lets_nobody_in(two: Scene) -> None:
    await two.provision()
    await release(two)
    await end_release(two)
    assert await rules(request(two)) == ["client_id: client_id_taken"]
    await release(two)
    assert await status(two) == ["CANCELLED", "OPEN"]
    new = await request(two)
    await two.ask(new)
    assert await two.login(new, broker=GLOBEX)


async def test_a_run_once_begun_is_confirmed_past_the_end_date(two: Scene) -> None:
    """The device has its credentials, so it is let in; but no new run begins."""
    old = await two.provision()
    await release(two)
    new = await request(two)
    await two.ask(new)
    await end_release(two)
    assert await two.factory_login(new)
    assert await reason(two, old) == "released_to_another_account"
    assert (await two.ask(new))["result"] == "accepted"
    assert await rules(release(two)) == ["client_id: already_released"]
    assert await rules(releases.cancel_release(two.admin, "acme", "gw-1")) == ["client_id: running"]
    assert await two.login(new, broker=GLOBEX)
    assert (await two.login(old)).reason == "user_disabled"
    await two.database.check_invariants()


async def test_no_new_run_begins_past_the_end_date_and_the_release_can_be_made_anew(two: Scene) -> None:
    await two.provision()
    await release(two)
    new = await request(two)
    await two.ask(new)
    await end_release(two)
    await expire(two.database)
    assert (await two.ask(new))["code"] == "refused"
    assert (await two.events())[-1]["reason"] == "release_expired"
    await sweep.close_overdue(two.desk.pool, two.database.event_key)
    assert await reason(two, new) == "release_expired"
    await release(two)
    assert await two.factory_login(new)
    assert (await two.ask(new))["result"] == "accepted"
    assert await two.login(new, broker=GLOBEX)
    await two.database.check_invariants()


async def test_a_cancelled_release_gives_the_client_id_back(two: Scene) -> None:
    old = await two.provision()
    await release(two)
    new = await request(two)
    await releases.cancel_release(two.admin, "acme", "gw-1")
    assert await status(two) == ["CANCELLED"]
    assert await two.factory_login(old)
    assert await reason(two, new) == "client_id_of_another_account"
    assert (await two.ask(old))["code"] == "already_provisioned", "the old request is asked again, not the newest"
    assert await rules(releases.cancel_release(two.admin, "acme", "gw-1")) == ["client_id: not_released"]
    await moves.reopen_request(two.admin, "acme", "gw-1")
    assert (await two.ask(old))["result"] == "accepted"
    assert await two.login(old)
    await two.database.check_invariants()


async def test_a_run_of_the_old_account_may_be_confirmed_until_the_other_one_is(two: Scene) -> None:
    old = await two.run()
    await release(two)
    await request(two)
    assert await two.login(old)
    assert await two.login(old)
    await two.database.check_invariants()


async def test_a_run_of_the_old_account_ends_with_the_move(two: Scene) -> None:
    """Its user is deleted, as by a stop, and the sweep finds nothing to do."""
    old = await two.run()
    await release(two)
    new = await request(two)
    await two.ask(new)
    assert await two.login(new, broker=GLOBEX)
    await two.database.check_invariants()
    assert (await two.login(old)).reason == "unknown_user"
    rows = await two.database.fetch(
        "SELECT q.state, q.enabled, r.state AS run, r.failure FROM provision_requests q"
        " JOIN provision_runs r ON r.request_id = q.id ORDER BY q.id"
    )
    assert [tuple(row) for row in rows] == [
        ("OPEN", False, "STOPPED", "released_to_another_account"),
        ("PROVISIONED", True, "COMPLETED", None),
    ]
    await expire(two.database)
    assert await sweep.close_overdue(two.desk.pool, two.database.event_key) == []


async def test_the_sweep_closes_the_old_account_s_run_during_a_move(two: Scene) -> None:
    """Not only the run of the request that devices are answered from."""
    await two.run()
    await release(two)
    await request(two)
    await expire(two.database)
    assert await sweep.close_overdue(two.desk.pool, two.database.event_key) == ["gw-1"]
    assert await two.database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 0
    await two.database.check_invariants()


async def test_there_and_back_again(two: Scene) -> None:
    """What the first account was left with can be reopened, enabled and provisioned once it is released back."""
    old = await two.provision()
    await release(two)
    new = await request(two)
    await two.ask(new)
    await two.login(new, broker=GLOBEX)
    assert await rules(release(two, to="umbrella")) == ["client_id: not_found"]
    await releases.release_device(two.admin, "globex", "gw-1", to="acme")
    assert await two.factory_login(new), "what is left from before shuts nobody out"
    await moves.reopen_request(two.admin, "acme", "gw-1")
    await moves.set_enabled(two.admin, "acme", "gw-1", enabled=True)
    await devices.set_device_enabled(two.admin, "acme", "gw-1", enabled=True)
    await two.database.check_invariants()
    assert await reason(two, new) == "released_to_another_account"
    assert await two.factory_login(old)
    assert (await two.ask(old))["result"] == "accepted"
    assert await two.login(new, broker=GLOBEX)
    assert await two.login(old)
    await two.database.check_invariants()
    assert (await two.login(new, broker=GLOBEX)).reason == "user_disabled"
    assert await releases.find_holder(two.admin, "gw-1") == "acme"


async def test_on_to_a_third_account(two: Scene) -> None:
    await two.provision()
    await release(two)
    new = await request(two)
    await two.ask(new)
    await two.login(new, broker=GLOBEX)
    await releases.release_device(two.admin, "globex", "gw-1", to="umbrella")
    third = await request(two, account="umbrella")
    await two.ask(third)
    assert await two.login(third, broker="umbrella-broker")
    await two.database.check_invariants()
    assert (await two.login(new, broker=GLOBEX)).reason == "user_disabled"
    assert await releases.find_holder(two.admin, "gw-1") == "umbrella"
    assert await status(two, None) == ["USED", "USED"]
    assert await status(two, "globex") == ["USED", "USED"]


async def test_what_was_left_behind_is_of_no_use(two: Scene) -> None:
    """Enabled again by hand, it is another account's client id."""
    old = await two.provision()
    await release(two)
    new = await request(two)
    await two.ask(new)
    await two.login(new, broker=GLOBEX)
    await devices.set_device_enabled(two.admin, "acme", "gw-1", enabled=True)
    await users.set_user_enabled(two.admin, "acme", old.username, enabled=True)
    await moves.set_enabled(two.admin, "acme", "gw-1", enabled=True)
    assert (await two.login(old)).reason == "client_id_of_another_account"
    assert await reason(two, old) == "released_to_another_account"
    await moves.delete_request(two.admin, "acme", "gw-1")
    assert await rules(two.request("gw-1")) == ["client_id: client_id_taken"]
    assert await two.login(new, broker=GLOBEX)


async def test_a_person_of_the_new_account_does_not_come_before_the_device(two: Scene) -> None:
    await two.provision()
    await release(two)
    new = await request(two)
    password = await users.create_person(two.admin, "globex", "zoe", ["broker:connect"])
    for _ in range(2):
        verdict = await two.gate.connect(GLOBEX, "zoe", password, "gw-1")
        assert verdict.reason == "client_id_of_another_account"
        await two.ask(new)


async def test_a_device_whose_request_was_deleted_moves_too(two: Scene) -> None:
    old = await two.provision()
    await moves.delete_request(two.admin, "acme", "gw-1")
    await release(two)
    new = await request(two)
    await two.ask(new)
    assert await two.login(old)
    assert await two.login(new, broker=GLOBEX)
    assert (await two.login(old)).reason == "user_disabled"
    await two.database.check_invariants()


async def test_factory_credentials_belong_to_one_account(two: Scene) -> None:
    old = await two.provision()
    await release(two)
    shared = request(two, provision_username=old.factory_username)
    assert await rules(shared) == ["provision_username: username_taken"]


async def test_who_may_release_what(two: Scene) -> None:
    await two.provision()
    for account, client_id, problem in (
        ("globex", "gw-1", "client_id: not_found"),
        ("umbrella", "gw-1", "client_id: not_found"),
        ("acme", "unknown", "client_id: not_found"),
    ):
        asked = releases.release_device(two.admin, account, client_id, to="acme" if account != "acme" else "globex")
        assert await rules(asked) == [problem]
    assert await rules(release(two, to="nobody")) == ["to: not_found"]
    assert await rules(release(two, to="provision")) == ["to: not_found"]
    asked = release(two, "unknown", to="acme", until=now() - datetime.timedelta(days=1))
    assert await rules(asked) == ["to: same_account", "client_id: not_found", "until: until_past"]
    await release(two)
    assert await rules(release(two, to="umbrella")) == ["client_id: already_released"]
    assert await two.database.value("SELECT count(*) FROM releases") == 1
