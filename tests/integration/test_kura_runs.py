"""Runs on Kura's wire: every move, every retry, every forged word, on a real database."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
from typing import Any
from xml.etree import ElementTree

import pytest

from service.core import device_config
from service.core.kura_messages import Kind, Topic
from service.core.problems import InvalidInput
from service.core.requests import Changes, NewRequest
from service.core.steps import Rules
from service.keys import SealingKeys, new_key
from service.operations import explain, moves, requests, sweep
from tests.support.database import PASSWORD
from tests.support.gateways import Asked, Gateway, new_kura_desk
from tests.support.scene import ACCOUNT, Device, Scene, expire

AT_ONCE = Rules(timeout=datetime.timedelta(0))


def applications(count: int) -> list[dict[str, Any]]:
    return [
        {"name": f"app-{n}", "version": "1.0", "url": f"https://x.example/{n}.dp", "sha256": "a" * 64, "size": 1}
        for n in range(1, count + 1)
    ]


async def open_gateway(scene: Scene, rules: Rules | None = None, *, apps: int = 0, **changes: Any) -> Gateway:
    """A gateway with a request that has so many applications."""
    device = await scene.request(applications=applications(apps), **changes)
    return Gateway(desk=new_kura_desk(scene, rules), client_id="gw-1", activation_key=device.activation_key)


def settings_of(asked: Asked) -> dict[str, dict[str, str]]:
    """{component: {parameter: value}} of a configuration message."""
    assert asked.what == "CONF-V1/PUT/configurations"
    esf = "{http://eurotech.com/esf/2.0}"
    return {
        pid.attrib["pid"]: {
            item.attrib["name"]: item.findtext(f"{esf}value") or "" for item in pid.iter(f"{esf}property")
        }
        for pid in ElementTree.fromstring(asked.payload.body).iter(f"{esf}configuration")
    }


def credentials(asked: Asked) -> tuple[str, str]:
    transport = settings_of(asked)[device_config.TRANSPORT]
    return transport["username"], transport["password"]


async def login(scene: Scene, asked: Asked) -> Any:
    username, password = credentials(asked)
    return await scene.gate.connect(ACCOUNT, username, password, "gw-1")


async def last_event(scene: Scene, kind: str) -> dict[str, Any]:
    event = [event for event in await scene.events() if event["kind"] == kind][-1]
    return {"reason": event["reason"], **json.loads(event["detail"])}


async def reasons(scene: Scene, kind: str = "reply_ignored") -> list[str]:
    return [event["reason"] for event in await scene.events() if event["kind"] == kind]


async def test_every_move_of_a_run(scene: Scene) -> None:
    """Two applications, the configuration, the login; each state with its time, the key wiped at the end."""
    gateway = await open_gateway(scene, apps=2, generate_activation_key=True)
    [first] = await gateway.prov(username="factory-gw-1", provisioningCertificateVersion="3")
    assert (first.what, first.payload.metrics["dp.name"]) == ("DEPLOY-V2/EXEC/download", "app-1")
    assert await scene.run_state() == "APPS_INSTALLING"
    assert (await last_event(scene, "run_started"))["device"] == {"provisioningCertificateVersion": "3"}
    sealed = await scene.database.value("SELECT sealed_key FROM provision_runs")
    assert gateway.activation_key not in sealed
    await scene.database.check_invariants()

    [second] = await gateway.install(first)
    assert (second.payload.metrics["dp.name"], await scene.run_state()) == ("app-2", "APPS_INSTALLING")
    [configuration] = await gateway.install(second)
    assert await scene.run_state() == "CONF_UPDATING"
    assert await gateway.reply(configuration) == []
    assert (await scene.run_state(), await scene.state()) == ("CONF_UPDATED", "RUNNING")
    left = await scene.database.value("SELECT confirm_by - clock_timestamp() FROM provision_runs")
    assert left > datetime.timedelta(days=29)
    await scene.database.check_invariants()

    assert await login(scene, configuration)
    assert (await scene.run_state(), await scene.state()) == ("COMPLETED", "PROVISIONED")
    [row] = await scene.database.fetch("SELECT salt, sealed_key FROM provision_runs")
    assert tuple(row) == (None, None)
    assert await scene.kinds() == [
        "request_created", "run_started", "run_moved", "step_sent", "step_sent", "run_moved", "run_moved", "step_sent",
        "run_moved", "confirmed",
    ]  # fmt: skip
    told = await explain.explain(scene.admin, "gw-1")
    states = [row["detail"]["state"] for row in told if row["what"] == "run_moved"]
    assert states == ["APPS_INSTALLING", "APPS_INSTALLED", "CONF_UPDATING", "CONF_UPDATED"]
    await scene.database.check_invariants()


async def test_the_configuration_is_the_merged_one(scene: Scene) -> None:
    configuration, problems = device_config.parse(
        json.dumps({
            "org.example.Modem": {"apn": "a & <b>", "pin": {"type": "Password", "value": "1234"}},
            device_config.TRANSPORT: {"USERNAME": "mine", "broker-url": "mqtt://evil", "keep-alive": 30},
            "org.eclipse.kura.data.DataService": {"connect.auto-on-startup": False, "store.capacity": 9},
        })
    )  # fmt: skip
    assert not problems
    gateway = await open_gateway(scene, additional_device_configuration=configuration)
    [asked] = await gateway.prov()
    username, password = credentials(asked)
    assert settings_of(asked) == {
        "org.example.Modem": {"apn": "a & <b>", "pin": "1234"},
        device_config.TRANSPORT: {
            "keep-alive": "30", "broker-url": "mqtt://account.example:1883", "topic.context.account-name": "acme",
            "client-id": "gw-1", "username": username, "password": password,
        },
        "org.eclipse.kura.data.DataService": {"connect.auto-on-startup": "true", "store.capacity": "9"},
    }  # fmt: skip
    assert await login(scene, asked)


async def test_asked_again_the_current_step_goes_out_again(scene: Scene) -> None:
    """The same ids, the same password; not before its time."""
    gateway = await open_gateway(scene, apps=1, generate_activation_key=True)
    [first] = await gateway.prov()
    assert await gateway.prov() == []
    gateway.desk = new_kura_desk(scene, AT_ONCE)
    repeated = await gateway.prov()
    assert [(asked.topic, dict(asked.payload.metrics)) for asked in repeated] == [
        (first.topic, dict(first.payload.metrics))
    ]
    assert await scene.database.value("SELECT retries FROM run_steps WHERE position = 1") == 0
    [configuration] = await gateway.install(first)
    [again] = await gateway.prov()
    assert (again.request_id, again.payload.body) == (configuration.request_id, configuration.payload.body)
    await gateway.reply(again)
    # Its connection fell before it was applied: it is back, and gets the same once more.
    [back] = await gateway.prov()
    assert back.payload.body == configuration.payload.body
    assert await scene.run_state() == "CONF_UPDATED"
    await gateway.reply(back)
    assert await scene.run_state() == "CONF_UPDATED"
    assert await login(scene, configuration)
    await scene.database.check_invariants()


async def test_a_birth_is_a_sign_of_life_where_no_key_is_needed(scene: Scene) -> None:
    """With a key it is not: whoever takes a client id over in the midst of a run must not be sent its credentials."""
    for client_id, key in (("gw-1", False), ("gw-2", True)):
        device = await scene.request(client_id, generate_activation_key=key)
        gateway = Gateway(desk=new_kura_desk(scene, AT_ONCE), client_id=client_id, activation_key=device.activation_key)
        [first] = await gateway.prov()
        born = await gateway.birth()
        assert [asked.payload.body for asked in born] == ([] if key else [first.payload.body])


async def test_an_error_uses_up_a_retry(scene: Scene) -> None:
    """Under new ids, so that what is said about the old ones has no effect any more."""
    gateway = await open_gateway(scene, apps=1)
    [first] = await gateway.prov()
    [second] = await gateway.reply(first, 500, **{"response.exception.message": "disk full"})
    assert second.request_id != first.request_id
    assert second.job_id != first.job_id
    failed = await last_event(scene, "step_failed")
    assert (failed["step"], failed["retries"], failed["detail"], failed["response_code"]) == (
        "app-1 1.0", 1, "disk full", "500",
    )  # fmt: skip
    await gateway.reply(second)
    for _ in range(3):
        await gateway.notify(first, "FAILED")
        await gateway.reply(first, 500)
    assert await scene.database.value("SELECT retries FROM run_steps WHERE position = 1") == 1
    [third] = await gateway.notify(second, "FAILED", "download")
    assert len(await gateway.install(third)) == 1
    assert await scene.run_state() == "CONF_UPDATING"


@pytest.mark.parametrize("maximum", [1, 2])
@pytest.mark.parametrize("step", ["application", "configuration"])
async def test_out_of_retries_the_run_has_failed(scene: Scene, maximum: int, step: str) -> None:
    """An attempt is used up; at the maximum run and request are ABANDONED, the credential is dead either way."""
    apps = 1 if step == "application" else 0
    gateway = await open_gateway(scene, apps=apps, maximum_attempts=maximum, generate_activation_key=True)
    for attempt in range(1, maximum + 1):
        asked = await gateway.prov()
        for _ in range(3):
            asked = await gateway.reply(asked[0], 400)
        assert await gateway.reply(asked[0], 400) == []
        last = attempt == maximum
        assert await scene.run_state() == ("ABANDONED" if last else "FAILED")
        assert await scene.state() == ("ABANDONED" if last else "OPEN")
        await scene.database.check_invariants()
    ended = await last_event(scene, "run_ended")
    assert (ended["reason"], ended["attempts"], ended["response_code"]) == ("step_failed", maximum, "400")
    assert await scene.database.fetch("SELECT FROM users WHERE kind = 'device'") == []
    assert await scene.database.fetch("SELECT FROM provision_runs WHERE coalesce(sealed_key, salt::text) <> ''") == []
    assert await gateway.prov() == []
    assert await reasons(scene, "ask_refused") == ["abandoned"]


async def test_words_of_another_have_no_effect(scene: Scene) -> None:
    """Another client id, another request's ids, no run at all, a run on the other wire."""
    gateway = await open_gateway(scene, apps=1)
    [asked] = await gateway.prov()
    desk = gateway.desk
    await scene.request("gw-2", applications=applications(1))
    await scene.request("gw-3")
    json_device = await scene.run("gw-4")
    other, idle = Gateway(desk=desk, client_id="gw-2"), Gateway(desk=desk, client_id="gw-3")
    await other.prov()
    for thief in (other, idle, Gateway(desk=desk, client_id="gw-4"), Gateway(desk=desk, client_id="unknown")):
        assert await thief.reply(asked, 500) == []
        assert await thief.notify(asked, "FAILED") == []
        assert await thief.notify(asked, "COMPLETED") == []
    expected = {"gw-2": "reply_to_nothing", "gw-3": "reply_of_another_run", "gw-4": "reply_of_another_run"}
    for client_id, reason in {**expected, "unknown": "reply_of_another_run"}.items():
        ignored = [event for event in await scene.events(client_id) if event["kind"] == "reply_ignored"]
        assert [event["reason"] for event in ignored] == [reason] * 3
    assert (await scene.run_state("gw-1"), await scene.run_state("gw-4")) == ("APPS_INSTALLING", "RUNNING")
    assert await scene.database.fetch("SELECT FROM run_steps WHERE retries > 0 OR answered_at IS NOT NULL") == []
    assert await scene.login(json_device)


async def test_replays_have_no_effect(scene: Scene) -> None:
    gateway = await open_gateway(scene, apps=1)
    [first] = await gateway.prov()
    [configuration] = await gateway.install(first)
    assert await gateway.install(first) == []
    assert await gateway.notify(first, "FAILED") == []
    await gateway.reply(configuration)
    assert await gateway.reply(configuration, 500) == []
    assert await scene.run_state() == "CONF_UPDATED"
    assert await reasons(scene) == ["reply_late"] * 6
    assert await login(scene, configuration)
    assert await gateway.reply(configuration, 500) == []
    assert (await reasons(scene))[-1] == "reply_of_another_run"
    assert await scene.state() == "PROVISIONED"


async def test_the_wire_is_that_of_the_first_ask(scene: Scene) -> None:
    device = await scene.request(applications=applications(1))
    gateway = Gateway(desk=new_kura_desk(scene))
    assert len(await gateway.prov()) == 1
    assert (await scene.ask(device))["code"] == "refused"
    assert await reasons(scene, "ask_refused") == ["run_on_another_wire"]
    await moves.stop_request(scene.admin, "acme", "gw-1")
    await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=True)
    assert (await scene.ask(device))["result"] == "accepted"
    assert await gateway.prov() == []
    assert await reasons(scene, "ask_refused") == ["run_on_another_wire"] * 2
    assert await scene.login(device)


async def test_refused_is_silence_and_the_event_says_why(scene: Scene) -> None:
    gateway = await open_gateway(scene, generate_activation_key=True)
    key, gateway.activation_key = gateway.activation_key, None
    assert key is not None
    assert await gateway.prov() == []
    assert await gateway.prov(activationKey="wrong") == []
    assert await gateway.prov(activationKey=key, username="another") == []
    assert await Gateway(desk=gateway.desk, client_id="nobody").prov() == []
    await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=False)
    assert await gateway.prov(activationKey=key) == []
    assert await reasons(scene, "ask_refused") == [
        "missing_activation_key", "wrong_activation_key", "wrong_provision_username", "request_disabled",
    ]  # fmt: skip
    assert [event["reason"] for event in await scene.events("nobody")] == ["unknown_client_id"]
    assert await scene.state() == "OPEN"


async def test_guesses_are_counted_together_on_both_wires(scene: Scene) -> None:
    gateway = await open_gateway(scene, generate_activation_key=True)
    key, gateway.activation_key = gateway.activation_key, "wrong"
    for _ in range(12):
        assert await gateway.prov() == []
    assert await reasons(scene, "ask_refused") == ["wrong_activation_key"] * 10
    assert await scene.database.value("SELECT sum(count) FROM refusals WHERE reason = 'wrong_activation_key'") == 2
    gateway.activation_key = key
    assert len(await gateway.prov()) == 1


async def test_unreadable_messages_are_noted_by_hash(scene: Scene) -> None:
    gateway = await open_gateway(scene, apps=1)
    [asked] = await gateway.prov()
    for kind in Kind:
        assert await gateway.say(Topic(kind=kind, client_id="gw-1", resource="x"), b"\xffcanary") == []
    assert await gateway.say(Topic(kind=Kind.REPLY, client_id="gw-1", resource=asked.request_id), b"") == []
    events = [event for event in await scene.events() if event["kind"] == "message_unreadable"]
    assert [event["reason"] for event in events] == ["not_kura"] * 4 + ["bad_response_code"]
    assert all("canary" not in event["detail"] for event in events)
    assert await scene.run_state() == "APPS_INSTALLING"


async def test_stopped_between_steps(scene: Scene) -> None:
    """The next word of the device changes nothing; the key is gone with the run."""
    gateway = await open_gateway(scene, apps=2, generate_activation_key=True)
    [first] = await gateway.prov()
    await moves.stop_request(scene.admin, "acme", "gw-1")
    assert await gateway.install(first) == []
    assert await gateway.prov() == []
    [row] = await scene.database.fetch("SELECT state, sealed_key, salt FROM provision_runs")
    assert tuple(row) == ("STOPPED", None, None)
    assert set(await reasons(scene)) == {"reply_of_another_run"}
    await scene.database.check_invariants()


async def test_past_the_deadline(scene: Scene) -> None:
    """Whether the sweep came by or not: nothing moves, the next ask begins a new run, silence used up nothing."""
    gateway = await open_gateway(scene, apps=1, maximum_attempts=1, generate_activation_key=True)
    [first] = await gateway.prov()
    await expire(scene.database)
    assert await gateway.install(first) == []
    assert set(await reasons(scene)) == {"reply_past_deadline"}
    [second] = await gateway.prov()
    assert second.request_id != first.request_id
    await expire(scene.database)
    assert await sweep.close_overdue(scene.desk.pool, scene.database.event_key) == ["gw-1"]
    assert await scene.database.fetch("SELECT FROM provision_runs WHERE sealed_key IS NOT NULL") == []
    [third] = await gateway.prov()
    [configuration] = await gateway.install(third)
    assert await login(scene, configuration)
    assert await scene.database.value("SELECT attempts FROM provision_requests") == 0


async def test_started_by_birth(scene: Scene) -> None:
    gateway = await open_gateway(scene, start_on_birth=True)
    [asked] = await gateway.birth()
    assert await login(scene, asked)
    assert await gateway.birth() == []
    assert await reasons(scene, "ask_refused") == ["already_provisioned"]


async def test_a_birth_starts_nothing_unless_allowed(scene: Scene) -> None:
    gateway = await open_gateway(scene)
    assert await gateway.birth() == []
    assert await Gateway(desk=gateway.desk, client_id="nobody").birth() == []
    assert await scene.state() == "OPEN"
    assert await scene.kinds() == ["request_created"]
    counted = await scene.database.fetch("SELECT client_id, reason FROM refusals ORDER BY client_id")
    assert [tuple(row) for row in counted] == [("gw-1", "birth_starts_nothing"), ("nobody", "birth_starts_nothing")]


async def test_start_on_birth_and_activation_keys_exclude_one_another(scene: Scene) -> None:
    """At creation and at any change; on a shared credential there is no key by default, and a word about it."""
    with pytest.raises(InvalidInput) as refused:
        await scene.request(start_on_birth=True, generate_activation_key=True)
    assert [problem.rule for problem in refused.value.problems] == ["birth_has_no_key"]
    await scene.request("gw-1", provision_username="fleet")
    new = NewRequest(client_id="gw-2", provision_username="fleet", provision_password=PASSWORD, start_on_birth=True)
    created = await requests.create_request(scene.admin, "acme", new)
    assert created.activation_key is None
    assert any(notice.startswith("start_on_birth:") for notice in created.notices)
    keyed = await scene.request("gw-3", generate_activation_key=True)
    for client_id, changes in (
        ("gw-2", Changes(new_activation_key=True)),
        ("gw-3", Changes(start_on_birth=True)),
    ):
        with pytest.raises(InvalidInput) as refused:
            await requests.change_request(scene.admin, "acme", client_id, changes)
        assert [problem.rule for problem in refused.value.problems] == ["birth_has_no_key"]
    both = Changes(start_on_birth=True, remove_activation_key=True)
    await requests.change_request(scene.admin, "acme", keyed.client_id, both)
    [row] = await requests.list_requests(scene.admin, "acme", "gw-3")
    assert (row["start_on_birth"], row["activation_key"]) == (True, False)
    assert len(await Gateway(desk=new_kura_desk(scene), client_id="gw-3").birth()) == 1


async def test_many_words_at_once(scene: Scene) -> None:
    """Side by side, in any order: one run, one user, each step once."""
    gateway = await open_gateway(scene, apps=2)
    sent = [asked for answers in await asyncio.gather(*(gateway.prov() for _ in range(16))) for asked in answers]
    [first] = sent
    for _ in range(2):
        words = [gateway.reply(first), *(gateway.notify(first, "IN_PROGRESS", "download") for _ in range(4))]
        words += [gateway.notify(first, "COMPLETED") for _ in range(4)]
        [first] = [asked for answers in await asyncio.gather(*words) for asked in answers]
    assert first.what == "CONF-V1/PUT/configurations"
    assert await scene.database.value("SELECT count(*) FROM users WHERE kind = 'device'") == 1
    assert await login(scene, first)


async def test_an_answer_that_no_longer_fits_is_not_sent(scene: Scene) -> None:
    """Limits have changed since the request was checked: nothing begins, the log says why."""
    gateway = await open_gateway(scene)
    gateway.desk = new_kura_desk(scene, answer_limit=100)
    assert await gateway.prov() == []
    assert await reasons(scene, "ask_refused") == ["answer_too_large"]
    assert await scene.state() == "OPEN"


async def test_the_provision_account_is_a_setting(scene: Scene) -> None:
    device: Device = await scene.request()
    desk = new_kura_desk(scene, provision_account="ec-provisioning")
    [asked] = await Gateway(desk=desk, client_id=device.client_id).prov()
    assert asked.topic == "$EDC/ec-provisioning/gw-1/CONF-V1/PUT/configurations"


async def test_a_message_that_comes_again_is_not_sent_twice(scene: Scene) -> None:
    """Committed, not acknowledged, redelivered: the step is under way; after its time the device gets it once more."""
    gateway = await open_gateway(scene, apps=2)
    [first] = await gateway.prov()
    assert await gateway.prov() == []
    [second] = await gateway.install(first)
    assert await gateway.notify(first, "COMPLETED") == []
    gateway.desk = new_kura_desk(scene, AT_ONCE)
    [again] = await gateway.prov()
    assert (again.request_id, again.job_id) == (second.request_id, second.job_id)


async def test_no_readable_key_or_password_is_kept(scene: Scene) -> None:
    """I10, in the midst of a run: whatever the tables hold, neither is in it."""
    gateway = await open_gateway(scene, apps=1, generate_activation_key=True)
    [first] = await gateway.prov()
    [configuration] = await gateway.install(first)
    _, password = credentials(configuration)
    tables = await scene.database.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    for table in tables:
        kept = str(await scene.database.fetch(f"SELECT t::text FROM {table[0]} t"))
        assert password not in kept
        assert str(gateway.activation_key) not in kept


async def test_a_sealing_key_may_change_in_a_run(scene: Scene) -> None:
    """A new one seals; the old one still opens the run's key, and the password stays what it was."""
    gateway = await open_gateway(scene, generate_activation_key=True)
    [asked] = await gateway.prov()
    old = scene.desk.run_keys
    keys = SealingKeys(keys=(*SealingKeys.parse(f"k2:{new_key()}").keys, *old.sealing_keys.keys))
    gateway.desk = new_kura_desk(scene, AT_ONCE, run_keys=dataclasses.replace(old, sealing_keys=keys))
    [again] = await gateway.prov()
    assert credentials(again) == credentials(asked)
    assert await login(scene, again)
