"""Account move: two at once. One of them wins, both are told the truth, and the invariants hold."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.core.problems import InvalidInput
from service.operations import releases
from service.operations.questions import Outcome
from tests.integration.test_account_move import GLOBEX, end_release, release, request, rules, status, two
from tests.support.scene import Device, Scene, somebody_waits

__all__ = ["two"]
ROUNDS = 8


async def at_once(*awaited: Any) -> list[Any]:
    return await asyncio.gather(*awaited, return_exceptions=True)


async def either(number: int, one: Any, other: Any) -> list[Any]:
    """Both at once, now the one some milliseconds ahead, and now the other."""

    async def later(pause: float, awaited: Any) -> Any:
        await asyncio.sleep(max(0.0, pause) / 1000)
        return await awaited

    pause = (number - ROUNDS // 2) * 4
    return await at_once(later(pause, one), later(-pause, other))


async def moving(scene: Scene, client_id: str) -> tuple[Device, Device]:
    """The old device at work, the new one RUNNING."""
    old = await scene.provision(client_id)
    await release(scene, client_id)
    new = await request(scene, client_id)
    assert (await scene.ask(new))["result"] == "accepted"
    return old, new


async def test_two_first_logins(two: Scene) -> None:
    """The release is used once; who came second comes again."""
    for number in range(ROUNDS):
        _, new = await moving(two, f"gw-{number}")
        verdicts = await asyncio.gather(*(two.login(new, broker=GLOBEX) for _ in range(3)))
        assert any(verdicts)
        assert all(v or v.reason in ("changed_meanwhile", "database_unavailable") for v in verdicts)
        assert await two.login(new, broker=GLOBEX)
        kinds = await two.kinds(new.client_id)
        assert (kinds.count("release_used"), kinds.count("confirmed")) == (1, 2)
    await two.database.check_invariants()


async def test_the_old_device_against_the_first_login(two: Scene) -> None:
    """It is let in before, or not at all."""
    for number in range(ROUNDS):
        old, new = await moving(two, f"gw-{number}")
        _, moved = await asyncio.gather(two.login(old), two.login(new, broker=GLOBEX))
        assert moved or moved.outcome is Outcome.UNAVAILABLE
        assert moved or await two.login(new, broker=GLOBEX)
        assert (await two.login(old)).reason == "user_disabled"
    await two.database.check_invariants()


async def test_cancel_against_create(two: Scene) -> None:
    """Either the request came first and is refused at the broker, or it cannot be created."""
    made = 0
    for number in range(ROUNDS):
        client_id = f"gw-{number}"
        old = await two.provision(client_id)
        await release(two, client_id)
        cancelled = releases.cancel_release(two.admin, "acme", client_id)
        outcomes = await either(number, request(two, client_id), cancelled)
        assert outcomes[1] is None
        assert await status(two, "acme", client_id) == ["CANCELLED"]
        if isinstance(outcomes[0], Device):
            made += 1
            assert (await two.factory_login(outcomes[0])).reason == "client_id_of_another_account"
        else:
            assert isinstance(outcomes[0], InvalidInput), outcomes[0]
            assert [problem.rule for problem in outcomes[0].problems] == ["client_id_taken"]
        assert await two.factory_login(old)
    print(f"{made} of {ROUNDS} requests came first")
    await two.database.check_invariants()


async def test_a_request_waits_for_a_cancellation(two: Scene) -> None:
    """It sees what that has decided, not what was before."""
    await two.provision()
    await release(two)
    async with two.admin.platform_transaction() as connection:
        await connection.execute("UPDATE releases SET cancelled_at = now() WHERE client_id = 'gw-1'")
        asked = asyncio.create_task(request(two))
        await somebody_waits(two.database)
        assert not asked.done()
    assert await rules(asked) == ["client_id: client_id_taken"]


async def test_a_cancellation_waits_for_a_run_that_begins(two: Scene) -> None:
    await two.provision()
    await release(two)
    new = await request(two)
    async with two.desk.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT FROM provision_requests WHERE client_id = 'gw-1' AND state = 'OPEN' FOR UPDATE"
        )
        cancelled = asyncio.create_task(releases.cancel_release(two.admin, "acme", "gw-1"))
        await somebody_waits(two.database)
        assert not cancelled.done()
        asked = asyncio.create_task(two.ask(new))
    outcomes = await at_once(asked, cancelled)
    if outcomes[0]["result"] == "accepted":
        assert isinstance(outcomes[1], InvalidInput)
        assert await two.login(new, broker=GLOBEX)
    else:
        assert outcomes[1] is None
    await two.database.check_invariants()


async def test_cancel_against_a_good_ask(two: Scene) -> None:
    """Either the run has begun and is confirmed, or the release is cancelled and nothing has begun."""
    begun = 0
    for number in range(ROUNDS):
        client_id = f"gw-{number}"
        old = await two.provision(client_id)
        await release(two, client_id)
        new = await request(two, client_id)
        outcomes = await either(number, two.ask(new), releases.cancel_release(two.admin, "acme", client_id))
        if isinstance(outcomes[1], InvalidInput):
            begun += 1
            assert [problem.rule for problem in outcomes[1].problems] == ["running"]
            assert outcomes[0]["result"] == "accepted"
            assert await two.login(new, broker=GLOBEX)
            assert not await two.login(old)
        else:
            assert outcomes[1] is None, outcomes[1]
            # The old request is asked where the new one's account has no part in the client id any more.
            assert outcomes[0]["result"] == "refused"
            assert outcomes[0]["code"] in ("refused", "already_provisioned")
            assert await two.login(old)
    print(f"{begun} of {ROUNDS} asks came first")
    await two.database.check_invariants()


async def test_cancel_against_the_first_login(two: Scene) -> None:
    """The run is under way: the cancellation is refused, before and after."""
    for number in range(ROUNDS):
        client_id = f"gw-{number}"
        _, new = await moving(two, client_id)
        cancelled = rules(releases.cancel_release(two.admin, "acme", client_id))
        verdict, refused = await asyncio.gather(two.login(new, broker=GLOBEX), cancelled)
        assert refused in (["client_id: running"], ["client_id: not_released"])
        assert verdict or await two.login(new, broker=GLOBEX)
        assert await status(two, "acme", client_id) == ["USED"]
    await two.database.check_invariants()


async def test_create_against_create_by_two_accounts(two: Scene) -> None:
    """Only the account it was released to gets it; the other is told what everybody is told."""
    for number in range(ROUNDS):
        client_id = f"gw-{number}"
        await two.provision(client_id)
        await release(two, client_id)
        mine, others = await at_once(request(two, client_id), request(two, client_id, "umbrella"))
        assert isinstance(mine, Device)
        assert isinstance(others, InvalidInput)
        assert [problem.rule for problem in others.problems] == ["client_id_taken"]
    await two.database.check_invariants()


async def test_two_releases_at_once(two: Scene) -> None:
    """To two accounts: one of them."""
    for number in range(ROUNDS):
        client_id = f"gw-{number}"
        await two.provision(client_id)
        outcomes = await at_once(*(release(two, client_id, to=name) for name in ("globex", "umbrella")))
        refused = [outcome for outcome in outcomes if isinstance(outcome, InvalidInput)]
        assert [[problem.rule for problem in error.problems] for error in refused] == [["already_released"]]
    assert await two.database.value("SELECT count(*) FROM releases") == ROUNDS


async def test_an_ask_against_the_end_date(two: Scene) -> None:
    """A run that began is confirmed; one that did not is refused, and the old device works on."""
    begun = 0
    for number in range(ROUNDS):
        client_id = f"gw-{number}"
        old = await two.provision(client_id)
        await release(two, client_id)
        new = await request(two, client_id)
        reply, _ = await either(number, two.ask(new), end_release(two, client_id))
        if reply["result"] == "accepted":
            begun += 1
            assert await two.login(new, broker=GLOBEX)
            assert not await two.login(old)
        else:
            assert reply["code"] in ("refused", "already_provisioned")
            assert await two.login(old)
            assert await two.factory_login(old)
    print(f"{begun} of {ROUNDS} asks came first")
    await two.database.check_invariants()


@pytest.mark.parametrize("step", ["release", "cancel"])
async def test_a_first_login_waits_for_nobody_who_holds_the_release(two: Scene, step: str) -> None:
    """Where an administrator's transaction holds it, the login is 503 and comes again; nothing is half done."""
    _, new = await moving(two, "gw-1")
    async with two.admin.platform_transaction() as connection:
        await connection.execute("SELECT FROM releases WHERE client_id = 'gw-1' FOR UPDATE")
        if step == "cancel":
            await connection.execute("UPDATE releases SET cancelled_at = NULL WHERE client_id = 'gw-1'")
        assert (await two.login(new, broker=GLOBEX)).outcome is Outcome.UNAVAILABLE
    assert await two.state() == "PROVISIONED"
    assert await status(two) == ["RUNNING"]
    assert await two.login(new, broker=GLOBEX)
    await two.database.check_invariants()
