"""Devices over TLS: real Mosquitto listeners, the CA in the answer, and every certificate that must not be trusted."""

from __future__ import annotations

import asyncio
import datetime
import json
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest

from service.mqtt.device import DeviceUnreached
from service.mqtt.kura_device import Gateway
from service.operations import broker_ca
from tests.e2e.mqtt_raw import Client
from tests.support.certificates import new_authority
from tests.support.command import DONE, INVALID, UNREACHABLE, Done, Program
from tests.support.database import PASSWORD, make_request
from tests.support.devices import Run, eventually, payload, run_device, run_gateway
from tests.support.world import World

LONG_AGO = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)


async def run_encrypted(world: World, folder: Path, client_id: str = "gw-1", **changes: Any) -> Run:
    """A device that its maker gave the provision broker's CA."""
    ca_file = folder / "factory-ca.pem"
    ca_file.write_bytes(world.authority.pem)
    values = {"broker": world.provision_tls_url, "ca_file": str(ca_file), **changes}
    return await run_device(world, client_id, folder, **values)


def connected(world: World, role: str) -> str:
    """The broker's own words about who was let in."""
    process = world.provision_broker if role == "provision" else world.account_broker
    return "\n".join(line for line in process.log.read_text().splitlines() if "New client connected" in line)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_device_is_provisioned_over_tls(encrypted_world: World, tmp_path: Path, version: str) -> None:
    """Both brokers at mqtts://; the account broker's CA comes in the sealed answer, and it alone is trusted there."""
    world = encrypted_world
    elsewhere = new_authority("the account broker's CA")
    world.certify("account", authority=elsewhere)
    await broker_ca.change(world.admin, "account-broker", elsewhere.pem.decode())
    world.start()
    created = await make_request(world.admin, "gw-1", generate_activation_key=True)
    run = await run_encrypted(world, tmp_path, activation_key=created.activation_key, seal=True, version=version)
    assert run.names()[-1] == "received it back"
    kept = run.answer()["connection"]
    assert (kept["endpoint"], kept["ca"]) == (world.account_tls_url, elsewhere.pem.decode())
    trusted = [what["trusts"] for step, what in run.steps if step.startswith("connecting")]
    assert trusted == ["its CA file", "the answer's CA"]
    again = await run_encrypted(world, tmp_path)
    assert again.names()[0] == "has an answer"
    assert again.names()[-1] == "received it back"


async def is_certified(world: World) -> bool:
    """Whether the account broker shows a certificate that holds."""
    context = ssl.create_default_context(cadata=world.authority.pem.decode())
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", world.account_tls_port, ssl=context)
    except ssl.SSLError:
        return False
    writer.close()
    return True


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "another CA": ({"authority": new_authority()}, "no CA that is trusted here has signed it"),
    "another address": ({"hosts": ["127.0.0.2", "broker.example"]}, "it is not for 127.0.0.1"),
    "expired": ({"end": LONG_AGO}, "has expired"),
    "not yet valid": ({"begin": datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)}, "not valid yet"),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_wrong_certificate_of_the_provision_broker(encrypted_world: World, tmp_path: Path, case: str) -> None:
    """The device says what is wrong, and shows its credentials to nobody, encrypted or not."""
    changes, why = CASES[case]
    encrypted_world.certify("provision", **changes)
    encrypted_world.start()
    await make_request(encrypted_world.admin, "gw-1")
    with pytest.raises(DeviceUnreached, match=f"the provision broker: .* not trusted: .*{why}"):
        await run_encrypted(encrypted_world, tmp_path)
    assert "gw-1" not in connected(encrypted_world, "provision")


@pytest.mark.parametrize("case", CASES)
async def test_a_wrong_certificate_of_the_account_broker(encrypted_world: World, tmp_path: Path, case: str) -> None:
    """The answer is kept, the request stays RUNNING, and when the certificate is mended (SIGHUP) the device works."""
    world = encrypted_world
    changes, why = CASES[case]
    world.certify("account", **changes)
    world.start()
    await make_request(world.admin, "gw-1")
    with pytest.raises(DeviceUnreached, match=f"the account broker: .* not trusted: .*{why}"):
        await run_encrypted(world, tmp_path)
    assert "gw-1" not in connected(world, "account")
    assert await world.database.value("SELECT state FROM provision_requests") == "RUNNING"
    kept = json.loads((tmp_path / "gw-1.json").read_text())
    world.certify("account")
    world.account_broker.signal(signal.SIGHUP)
    await eventually(lambda: is_certified(world))
    run = await run_encrypted(world, tmp_path)
    assert run.answer()["connection"] == kept["connection"]
    assert run.names()[-1] == "received it back"


async def test_a_renewed_certificate_interrupts_nobody(encrypted_world: World, tmp_path: Path) -> None:
    """Certificate replaced and SIGHUP: who is connected stays, and new connections meet the new one."""
    world = encrypted_world
    world.certify("account", authority=new_authority("for now"))
    world.start()
    await make_request(world.admin, "gw-1")
    await broker_ca.change(world.admin, "account-broker", None)
    with pytest.raises(DeviceUnreached):
        await run_encrypted(world, tmp_path)
    new = json.loads((tmp_path / "gw-1.json").read_text())["connection"]
    client = await Client.open(world.account_port)
    assert await client.connect("gw-1", username=new["username"], password=new["password"]) == 0
    world.certify("account")
    world.account_broker.signal(signal.SIGHUP)
    await eventually(lambda: is_certified(world))
    await client.subscribe("acme/gw-1/#")
    assert await client.publish("acme/gw-1/hello", b"still here", qos=1) == 0
    packet = await client.message()
    assert packet is not None
    assert payload(packet) == b"still here"
    client.close()


async def test_the_command_says_what_is_wrong(encrypted_world: World, tmp_path: Path) -> None:
    """Exit status 4, the reason in words, and nothing tried again; 2 for a CA file that is none."""
    world = encrypted_world
    world.start()
    await make_request(world.admin, "gw-1")
    for name, authority in (("right", world.authority), ("wrong", new_authority())):
        (tmp_path / f"{name}.pem").write_bytes(authority.pem)
    (tmp_path / "none.pem").write_text("not PEM")
    program = Program(name="cli", environment={"PROVISION_PASSWORD": PASSWORD})

    async def run(ca: str, status: int, host: str = "127.0.0.1", **options: Any) -> Done:
        url = f"mqtts://{host}:{world.provision_tls_port}"
        arguments = ("--username", "factory-gw-1", "--broker", url, "--ca-file", str(tmp_path / f"{ca}.pem"))
        return await program.process("device", "run", "gw-1", *arguments, status=status, cwd=tmp_path, **options)

    wrong = (await run("wrong", UNREACHABLE)).out.splitlines()
    assert len(wrong) == 2
    assert wrong[1].startswith("gave up  why=the provision broker: the broker's certificate is not trusted: no CA")
    other = (await run("right", UNREACHABLE, host="localhost")).out.splitlines()
    assert other[-1].endswith("the broker's certificate is not trusted: it is not for localhost")
    assert "--ca-file: the CA to trust cannot be read" in (await run("none", INVALID)).err
    assert (await run("right", DONE)).out.splitlines()[-1] == "received it back  account=acme"


async def test_the_answers_ca_is_the_only_one_trusted(encrypted_world: World, tmp_path: Path) -> None:
    """Neither the maker's CA file nor the system's does instead."""
    world = encrypted_world
    await broker_ca.change(world.admin, "account-broker", new_authority("of nobody here").pem.decode())
    world.start()
    await make_request(world.admin, "gw-1")
    with pytest.raises(DeviceUnreached, match=r"the account broker: .* not trusted"):
        await run_encrypted(world, tmp_path)


async def test_without_a_ca_in_the_answer_the_devices_own_is_used(encrypted_world: World, tmp_path: Path) -> None:
    world = encrypted_world
    await broker_ca.change(world.admin, "account-broker", None)
    world.start()
    await make_request(world.admin, "gw-1")
    run = await run_encrypted(world, tmp_path)
    assert "ca" not in run.answer()["connection"]
    assert run.names()[-1] == "received it back"


async def test_the_systems_cas_are_trusted_without_any(encrypted_world: World, tmp_path: Path) -> None:
    """Which are not the test's: so a device without a CA file does not come in."""
    encrypted_world.start()
    with pytest.raises(DeviceUnreached, match=r"the provision broker: .* not trusted"):
        await run_encrypted(encrypted_world, tmp_path, ca_file="")


async def test_the_responder_uses_tls_as_well(encrypted_world: World, tmp_path: Path) -> None:
    """`PROVISION_PROVISION_BROKER` at mqtts://, with its CA file."""
    world = encrypted_world
    (tmp_path / "ca.pem").write_bytes(world.authority.pem)
    world.settings = {
        "PROVISION_PROVISION_BROKER": world.provision_tls_url,
        "PROVISION_PROVISION_BROKER_CA_FILE": str(tmp_path / "ca.pem"),
    }
    world.responder = world.new_responder("responder")
    world.start()
    await make_request(world.admin, "gw-1")
    run = await run_encrypted(world, tmp_path)
    assert run.names()[-1] == "received it back"


async def test_a_plain_port_and_a_websocket_are_named(encrypted_world: World, tmp_path: Path) -> None:
    """mqtts:// at a listener without TLS is never taken for one without encryption."""
    world = encrypted_world
    world.start()
    with pytest.raises(DeviceUnreached, match="the provision broker"):
        await run_encrypted(world, tmp_path, broker=f"mqtts://127.0.0.1:{world.provision_port}", patience=0.5)
    with pytest.raises(DeviceUnreached, match="wss:// is not spoken by this client"):
        await run_encrypted(world, tmp_path, broker="wss://127.0.0.1/mqtt")
    await world.database.execute("UPDATE brokers SET endpoints = '{wss://127.0.0.1/mqtt}' WHERE role = 'account'")
    await make_request(world.admin, "gw-2")
    with pytest.raises(DeviceUnreached, match="the account broker: wss:// is not spoken by this client"):
        await run_encrypted(world, tmp_path, "gw-2")
    assert json.loads((tmp_path / "gw-2.json").read_text())["connection"]["ca"] == world.authority.pem.decode()
    assert "gw-1" not in connected(world, "provision")


@pytest.mark.parametrize("role", ["provision", "account"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_nothing_older_than_tls_1_2_is_spoken(encrypted_world: World, role: str) -> None:
    """It is the broker's own alert that ends the attempt, not this client's library."""
    encrypted_world.start()
    port = getattr(encrypted_world, f"{role}_tls_port")

    def speaking(version: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=encrypted_world.authority.pem.decode())
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        return context

    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=speaking(ssl.TLSVersion.TLSv1_2))
    writer.close()
    with pytest.raises(ssl.SSLError) as refused:
        await asyncio.open_connection("127.0.0.1", port, ssl=speaking(ssl.TLSVersion.TLSv1_1))
    assert refused.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


@pytest.mark.parametrize("without_keystore", [False, True], ids=["keystore", "no_keystore"])
async def test_a_kura_gateway_is_given_the_ca(encrypted_world: World, tmp_path: Path, without_keystore: bool) -> None:
    """As keystore entries, before the configuration; one that knows no such request needs its CA from elsewhere."""
    world, elsewhere = encrypted_world, new_authority("the account broker's CA")
    if not without_keystore:
        world.certify("account", authority=elsewhere)
    bundle = elsewhere.pem.decode() + new_authority("the next one").pem.decode()
    await broker_ca.change(world.admin, "account-broker", bundle)
    world.start()
    created = await make_request(world.admin, "gw-1", generate_activation_key=True)
    (tmp_path / "factory-ca.pem").write_bytes(world.authority.pem)
    run = await run_gateway(
        world,
        "gw-1",
        tmp_path,
        Gateway(without_keystore=without_keystore, applies_after=0.1),
        broker=world.provision_tls_url,
        ca_file=str(tmp_path / "factory-ca.pem"),
        activation_key=created.activation_key,
    )
    assert run.names()[-1] == "born"
    assert run.answer()["connection"].get("ca") == (None if without_keystore else bundle)
    left_out = await world.database.value("SELECT count(*) FROM events WHERE kind = 'step_left_out'")
    assert left_out == (2 if without_keystore else 0)
    assert await world.database.value("SELECT state FROM provision_requests") == "PROVISIONED"
