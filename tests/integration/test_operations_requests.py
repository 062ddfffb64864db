"""Creating provision requests: every problem at once, shared credentials, several administrators at once."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
from typing import Any

import pytest

from service.core import device_config
from service.core.answers import longest_accepted
from service.core.problems import InvalidInput, NotFound
from service.core.requests import Changes, Limits
from service.operations import accounts, moves, requests, users
from service.operations.administration import Administration
from tests.support.database import ENDPOINT, PASSWORD, make_request, new_request
from tests.support.desk import ask
from tests.support.faulty_rows import ground
from tests.support.scene import Scene, now

OTHER_PASSWORD = "Another-Password"


async def rules(admin: Administration, client_id: str = "gw-1", account: str = "acme", **changes: Any) -> list[str]:
    """Which rules a new request breaks, as `field.rule`; none: it was created."""
    try:
        await make_request(admin, client_id, account, **changes)
    except InvalidInput as error:
        return sorted(f"{problem.field}.{problem.rule}" for problem in error.problems)
    return []


async def count(scene: Scene) -> tuple[int, int, int]:
    """Requests, users and events."""
    rows = await scene.database.fetch(
        "SELECT (SELECT count(*) FROM provision_requests), (SELECT count(*) FROM users), (SELECT count(*) FROM events)"
    )
    return tuple(rows[0])


def filled(size: int) -> device_config.Configuration:
    """A configuration of that many characters more than the least."""
    return {"c": {"p": device_config.Value(type="String", clear="x" * size)}}


async def test_the_defaults_are_the_pages(scene: Scene) -> None:
    """No key, the only endpoint, active now, never expiring, reserved, inherited coupling, five attempts, enabled."""
    created = await requests.create_request(scene.admin, "acme", new_request())
    assert (created.client_id, created.activation_key, created.notices) == ("gw-1", None, ())
    shown = (await requests.list_requests(scene.admin, "acme"))[0]
    assert shown["activates_on"] <= shown["created_at"] + datetime.timedelta(minutes=10)
    for name, value in {
        "account": "acme", "client_id": "gw-1", "provision_username": "factory-gw-1", "activation_key": False,
        "provision_endpoint": ENDPOINT, "expires_on": None, "reserve_user": True,
        "device_connection_coupling": "INHERITED", "additional_device_configuration": {}, "maximum_attempts": 5,
        "attempts": 0, "enabled": True, "state": "OPEN", "status": "OPEN", "run": None, "created_by": "tester",
    }.items():  # fmt: skip
        assert shown[name] == value, name
    event = (await scene.events())[-1]
    assert (event["kind"], event["actor"], event["source"]) == ("request_created", "tester", "cli")
    assert json.loads(event["detail"]) == {"provision_username": "factory-gw-1", "activation_key": False}


async def test_every_problem_at_once(scene: Scene) -> None:
    """And nothing is changed."""
    before = await count(scene)
    found = await rules(
        scene.admin, "gw::1", provision_username="a b", provision_password="kurz", provision_endpoint="http://x",
        activates_on=now(), expires_on=now() - datetime.timedelta(days=1), device_connection_coupling="TIGHT",
        maximum_attempts=0, additional_device_configuration=filled(60_000),
    )  # fmt: skip
    assert found == [
        "additional_device_configuration.answer_too_large",
        "client_id.client_id",
        "device_connection_coupling.coupling",
        "expires_on.expires_before_activates",
        "maximum_attempts.maximum_attempts",
        "provision_endpoint.endpoint",
        "provision_password.no_special",
        "provision_password.no_upper_case",
        "provision_password.too_short",
        "provision_username.username",
    ]
    assert await count(scene) == before


async def test_an_unknown_account_is_said(scene: Scene) -> None:
    for name in ("nobody", "provision", "", "a'b"):
        with pytest.raises(NotFound):
            await make_request(scene.admin, account=name)
    await make_request(scene.admin, account="ACME")


async def test_the_endpoint_is_of_a_broker_that_serves_the_account(scene: Scene) -> None:
    await ground(scene)
    admin = scene.admin
    assert await rules(admin, "e-1", provision_endpoint="mqtt://globex.example:1883") == [
        "provision_endpoint.endpoint_not_served"
    ]
    await accounts.serve_account(admin, "globex-broker", "acme")
    assert await rules(admin, "e-1") == ["provision_endpoint.endpoint_ambiguous"]
    assert await rules(admin, "e-1", provision_endpoint="mqtt://globex.example:1883") == []
    await accounts.create_broker(admin, "bare", role="account")
    await accounts.create_account(admin, "bare-account", brokers=["bare"])
    assert await rules(admin, "e-2", "bare-account") == ["provision_endpoint.no_endpoint"]


async def test_a_disabled_account_gets_no_requests(scene: Scene) -> None:
    await accounts.set_account_enabled(scene.admin, "acme", enabled=False)
    assert await rules(scene.admin) == ["account.account_disabled"]


async def test_a_client_id_that_is_taken_does_not_say_by_whom(scene: Scene) -> None:
    """One's own request, another account's request, its device without one: the same words."""
    await ground(scene)
    await scene.database.execute(
        "INSERT INTO devices (account_id, client_id) SELECT id, 'lone-device' FROM accounts WHERE name = 'globex'"
    )
    texts = set()
    for client_id in ("gw-1", "gx-1", "gx-2", "lone-device"):
        with pytest.raises(InvalidInput) as refused:
            await make_request(scene.admin, client_id, provision_username="fresh")
        assert [problem.rule for problem in refused.value.problems] == ["client_id_taken"]
        texts.add(str(refused.value))
    assert len(texts) == 1
    assert "globex" not in texts.pop()
    await scene.database.execute(
        "INSERT INTO devices (account_id, client_id) SELECT id, 'own-device' FROM accounts WHERE name = 'acme'"
    )
    assert await rules(scene.admin, "own-device") == [], "one's own device may be provisioned"


async def test_a_username_that_is_taken_does_not_say_by_whom(scene: Scene) -> None:
    """Another account's, a person's, a generated one's, one's own in other letters or with another password."""
    await ground(scene)
    generated = await scene.database.value("SELECT name FROM users WHERE kind = 'device' LIMIT 1")
    texts = set()
    for username, password in (
        ("factory-gx-1", PASSWORD), ("factory-gx-1", OTHER_PASSWORD), ("zoe", PASSWORD), ("ann", PASSWORD),
        (generated, PASSWORD), ("FACTORY-gw-1", PASSWORD), ("factory-gw-1", OTHER_PASSWORD),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as refused:
            await make_request(scene.admin, "fresh", provision_username=username, provision_password=password)
        assert [problem.rule for problem in refused.value.problems] == ["username_taken"], username
        texts.add(str(refused.value))
    assert len(texts) == 1


async def test_sharing_a_credential(scene: Scene) -> None:
    """With the same password; a key by default, and said; who has none is named by number (D12)."""
    admin = scene.admin
    first = await make_request(admin, "gw-1", provision_username="fleet")
    assert (first.activation_key, first.notices) == (None, ())
    second = await make_request(admin, "gw-2", provision_username="fleet")
    assert second.activation_key is not None
    assert [notice.partition(":")[0] for notice in second.notices] == [
        "generate_activation_key", "1 earlier request(s) with this username have no activation key",
    ]  # fmt: skip
    third = await make_request(admin, "gw-3", provision_username="fleet", generate_activation_key=False)
    assert third.activation_key is None
    assert "can pose as this one" in third.notices[0]
    fourth = await make_request(admin, "gw-4", provision_username="fleet", generate_activation_key=True)
    assert fourth.activation_key is not None
    assert fourth.notices == ("2 earlier request(s) with this username have no activation key",)
    assert len(fourth.activation_key) == 32
    assert await scene.database.value("SELECT count(*) FROM users WHERE kind = 'provision'") == 1
    for number, created in enumerate((first, second, third, fourth), start=1):
        assert await scene.gate.connect("provision-broker", "fleet", PASSWORD, f"gw-{number}")
        reply = await ask(
            scene.desk, f"gw-{number}", **({"activation_key": created.activation_key} if created.activation_key else {})
        )
        assert reply["result"] == "accepted"


async def test_the_last_request_takes_the_factory_user_along(scene: Scene) -> None:
    for client_id in ("gw-1", "gw-2"):
        await make_request(scene.admin, client_id, provision_username="fleet")
    await moves.delete_request(scene.admin, "acme", "gw-1")
    assert await scene.database.value("SELECT count(*) FROM users") == 1
    await scene.database.check_invariants()
    await moves.delete_request(scene.admin, "acme", "gw-2")
    assert await scene.database.value("SELECT count(*) FROM users") == 0
    created = await make_request(scene.admin, "gw-3", provision_username="fleet", provision_password=OTHER_PASSWORD)
    assert (created.activation_key, created.notices) == (None, ())


async def test_several_create_with_one_new_username_at_once(scene: Scene) -> None:
    """All get it where they give the same password; each of them with its own client id."""
    created = await asyncio.gather(
        *(make_request(scene.admin, f"gw-{number}", provision_username="fleet") for number in range(6))
    )
    assert sum(one.activation_key is None for one in created) == 1, "the first is not shared"
    assert await scene.database.value("SELECT count(*) FROM users") == 1
    assert await scene.database.value("SELECT count(*) FROM provision_requests") == 6


async def test_two_passwords_for_one_new_username_at_once(scene: Scene) -> None:
    for number in range(4):
        outcomes = await asyncio.gather(
            *(
                rules(
                    scene.admin,
                    f"gw-{number}-{side}",
                    provision_username=f"fleet-{number}",
                    provision_password=password,
                )
                for side, password in enumerate((PASSWORD, OTHER_PASSWORD))
            )
        )
        assert sorted(outcomes) == [[], ["provision_username.username_taken"]]


async def test_one_client_id_twice_at_once(scene: Scene) -> None:
    await ground(scene)
    for number in range(4):
        for others in (("acme", "acme"), ("acme", "globex")):
            client_id = f"race-{number}-{others[1]}"
            outcomes = await asyncio.gather(
                *(
                    rules(scene.admin, client_id, account, provision_username=f"{client_id}-{side}")
                    for side, account in enumerate(others)
                )
            )
            assert sorted(outcomes) == [[], ["client_id.client_id_taken"]]
    await scene.database.check_invariants()


async def test_sharing_while_the_last_request_goes(scene: Scene) -> None:
    """The new one either keeps the credential alive or makes it anew."""
    for number in range(6):
        username = f"fleet-{number}"
        await make_request(scene.admin, f"old-{number}", provision_username=username)
        await asyncio.gather(
            moves.delete_request(scene.admin, "acme", f"old-{number}"),
            make_request(scene.admin, f"new-{number}", provision_username=username),
        )
        assert await scene.gate.connect("provision-broker", username, PASSWORD, f"new-{number}")
    await scene.database.check_invariants()


async def test_an_answer_at_the_limit_is_given(scene: Scene) -> None:
    """What creation accepts can be answered, whatever the device sends with it; a byte more is refused."""
    empty = longest_accepted(
        endpoint=ENDPOINT, account="acme", client_id="gw-1", configuration={"c": {"p": ""}}, applications=[]
    )
    admin = dataclasses.replace(scene.admin, limits=Limits(answer_bytes=empty + 40_000))
    size = 30_000 - 3  # base64 makes four of three
    while await rules(admin, additional_device_configuration=filled(size)) != []:
        size -= 1
    assert size > 29_990
    assert await rules(admin, "gw-2", additional_device_configuration=filled(size + 4)) == [
        "additional_device_configuration.answer_too_large"
    ]
    changed = await requests.change_request(admin, "acme", "gw-1", Changes(new_activation_key=True))
    desk = dataclasses.replace(scene.desk, answer_limit=empty + 40_000)
    for ask_id in ("i" * 64, '"' * 64, "\\" * 64):
        reply = await ask(desk, "gw-1", id=ask_id, activation_key=changed.activation_key, seal=True)
        assert reply["result"] == "accepted", ask_id


async def test_persons_and_requests_do_not_take_each_others_names(scene: Scene) -> None:
    await make_request(scene.admin)
    for name in ("factory-gw-1", "Factory-GW-1"):
        with pytest.raises(InvalidInput) as refused:
            await users.create_person(scene.admin, "acme", name, [])
        assert [problem.rule for problem in refused.value.problems] == ["username_taken"]
