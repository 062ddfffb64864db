"""How long a run waits for its login: time with hooks counts, time without does not (D7)."""

from __future__ import annotations

import datetime

import pytest

from service.operations import recovery, sweep
from service.operations.questions import Outcome
from tests.support.database import Database
from tests.support.desk import say
from tests.support.scene import Device, Scene

HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
AWHILE = datetime.timedelta(minutes=20)  # more than any test takes


async def outage(database: Database) -> datetime.timedelta:
    """Time without hooks so far."""
    value: datetime.timedelta = await database.value("SELECT outage()")
    return value


async def silence(scene: Scene, time: datetime.timedelta) -> None:
    """The hooks were seen last that long ago."""
    await scene.database.execute("UPDATE heartbeats SET at = clock_timestamp() - $1::interval", time)


async def grow_old(scene: Scene, time: datetime.timedelta, client_id: str = "gw-1") -> None:
    """Its live run began that much earlier, and hooks were there all the time."""
    await scene.database.execute(
        "UPDATE provision_runs r SET confirm_by = confirm_by - $2::interval FROM provision_requests q"
        " WHERE q.id = r.request_id AND q.client_id = $1 AND r.ended_at IS NULL",
        client_id,
        time,
    )


async def is_past(scene: Scene) -> bool:
    """Whether the only live run's deadline passed."""
    past: bool = await scene.database.value(
        "SELECT past_deadline(confirm_by, outage) FROM provision_runs WHERE ended_at IS NULL"
    )
    return past


async def left(scene: Scene) -> datetime.timedelta:
    """What is left of the live run's time."""
    time: datetime.timedelta = await scene.database.value(
        "SELECT effective_deadline(confirm_by, outage) - clock_timestamp() FROM provision_runs WHERE ended_at IS NULL"
    )
    return time


async def test_a_short_silence_is_none(scene: Scene) -> None:
    before = await outage(scene.database)
    await silence(scene, datetime.timedelta(seconds=1))
    assert await outage(scene.database) == before
    await scene.beat()
    assert await outage(scene.database) == before


async def test_a_clock_set_back_counts_nothing(scene: Scene) -> None:
    before = await outage(scene.database)
    await silence(scene, -HOUR)
    assert await outage(scene.database) == before
    await scene.beat()
    assert await outage(scene.database) == before


async def test_a_long_silence_adds_up(scene: Scene) -> None:
    """While it lasts, and just once when it ends."""
    before = await outage(scene.database)
    await silence(scene, HOUR)
    during = await outage(scene.database)
    assert HOUR <= during - before < HOUR + AWHILE
    await scene.beat()
    after = await outage(scene.database)
    assert during <= after < during + AWHILE
    await scene.beat()
    assert await outage(scene.database) == after
    await silence(scene, HOUR)
    await scene.beat()
    assert await outage(scene.database) >= after + HOUR


async def test_a_deadline_passes_while_hooks_are_there(scene: Scene) -> None:
    device = await scene.run()
    assert HOUR - AWHILE < await left(scene) <= HOUR
    assert not await is_past(scene)
    await grow_old(scene, 2 * HOUR)
    assert await is_past(scene)
    verdict = await scene.login(device)
    assert (verdict.outcome, verdict.reason) == (Outcome.DENIED, "past_deadline")


async def test_time_without_hooks_does_not_count(scene: Scene) -> None:
    """Two hours old, of them ninety minutes without hooks: half an hour is left, before and after their return."""
    device = await scene.run()
    await grow_old(scene, 2 * HOUR)
    await silence(scene, 1.5 * HOUR)
    assert 0.5 * HOUR - AWHILE < await left(scene) <= 0.5 * HOUR + AWHILE
    assert not await is_past(scene)
    assert await sweep.close_overdue(scene.desk.pool, scene.database.event_key) == []
    await scene.beat()
    assert not await is_past(scene)
    assert await sweep.close_overdue(scene.desk.pool, scene.database.event_key) == []
    assert await scene.login(device)


async def test_a_login_before_the_first_beat_counts_the_silence(scene: Scene) -> None:
    device = await scene.run()
    await grow_old(scene, 2 * HOUR)
    await silence(scene, 1.5 * HOUR)
    assert await scene.login(device)
    assert await scene.state() == "PROVISIONED"


async def test_silence_before_a_run_is_not_its(scene: Scene) -> None:
    await silence(scene, DAY)
    await scene.run()
    assert await left(scene) <= HOUR
    await scene.beat()
    assert await left(scene) <= HOUR + AWHILE


async def test_without_hooks_nothing_ever_expires(scene: Scene) -> None:
    """A responder is there before the first hooks process; the run is as old as it likes."""
    await scene.database.execute("UPDATE heartbeats SET at = 'epoch', outage = '0', cluster = ''")
    device = await scene.run()
    await scene.database.execute(
        "UPDATE provision_runs SET confirm_by = confirm_by - $1::interval, outage = outage - $1::interval", 30 * DAY
    )
    assert not await is_past(scene)
    assert await sweep.close_overdue(scene.desk.pool, scene.database.event_key) == []
    await scene.beat()
    assert HOUR - AWHILE < await left(scene) < HOUR + AWHILE
    assert await scene.login(device)


RESTORED = "UPDATE heartbeats SET cluster = '1/1', at = clock_timestamp() - $1::interval"


@pytest.mark.parametrize("beats", [0, 1, 3])
async def test_a_restored_cluster_holds_until_somebody_says_so(scene: Scene, beats: int) -> None:
    """Its hooks beat again, but devices may have been told things that it does not know."""
    device = await scene.run()
    await grow_old(scene, 3 * HOUR)
    await scene.database.execute(RESTORED, 5 * HOUR)
    for _ in range(beats):
        await scene.beat()
    assert not await is_past(scene)
    assert await sweep.close_overdue(scene.desk.pool, scene.database.event_key) == []
    shown = await recovery.show(scene.admin)
    assert shown["restored"] is True
    age = datetime.datetime.now(datetime.UTC) - shown["held_since"]
    assert 5 * HOUR - AWHILE < age < 5 * HOUR + AWHILE
    before = await left(scene)
    await scene.database.execute(
        "UPDATE heartbeats SET at = at - $1::interval, held_since = held_since - $1::interval", DAY
    )
    assert await left(scene) >= before + DAY - AWHILE, "time stands still for as long as it is held"
    assert await recovery.accept(scene.admin) is True
    assert await recovery.accept(scene.admin) is False
    assert (await recovery.show(scene.admin))["restored"] is False
    assert (await recovery.show(scene.admin))["held_since"] is None
    kinds = [kind for kind in await scene.kinds(None) if kind != "chains_begun"]
    assert kinds == ["broker_created", "broker_created", "account_created", "restore_accepted"]
    await scene.beat()
    assert not await is_past(scene)
    await grow_old(scene, 2 * DAY)
    assert await is_past(scene), "time counts again"
    assert (await scene.login(device)).reason == "past_deadline"


async def test_the_first_beat_names_the_cluster(scene: Scene) -> None:
    named = await scene.database.value("SELECT cluster FROM heartbeats")
    assert named == await scene.database.value("SELECT cluster_name()")
    assert named.partition("/")[0].isdecimal()
    assert await recovery.accept(scene.admin) is False


async def test_a_good_ask_leaves_at_least_an_hour(scene: Scene) -> None:
    device = await scene.run()
    await grow_old(scene, 0.9 * HOUR)
    assert await left(scene) < 0.2 * HOUR
    reply = await scene.ask(device)
    assert 3600 - AWHILE.total_seconds() < reply["confirm_within"] <= 3600
    assert HOUR - AWHILE < await left(scene) <= HOUR


async def test_a_status_leaves_30_days_and_an_ask_takes_none_of_them(scene: Scene) -> None:

    device = await scene.run()
    await say(scene.desk, "gw-1", device.run, "installing")
    assert 30 * DAY - AWHILE < await left(scene) <= 30 * DAY
    reply = await scene.ask(device)
    assert reply["confirm_within"] > (29 * DAY).total_seconds()


async def test_a_deadline_never_comes_nearer(scene: Scene) -> None:
    """Neither by an ask nor by hooks that come and go."""
    device: Device = await scene.run()
    await scene.database.execute("UPDATE provision_runs SET confirm_by = confirm_by + $1::interval", 60 * DAY)
    await scene.ask(device)
    assert await left(scene) > 59 * DAY
    await silence(scene, DAY)
    await scene.ask(device)
    assert await left(scene) > 59 * DAY
    await scene.beat()
    assert await left(scene) > 59 * DAY
