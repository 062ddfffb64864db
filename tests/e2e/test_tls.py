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
from service.operations import broker_ca
from tests.support.certificates import new_authority
from tests.support.database import make_request
from tests.support.devices import Run, eventually, run_device
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

    async def certificate_is_the_new_one() -> bool:
        context = ssl.create_default_context(cadata=world.authority.pem.decode())
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", world.account_tls_port, ssl=context)
        except ssl.SSLError:
            return False
        writer.close()
        return True

    await eventually(certificate_is_the_new_one)
    run = await run_encrypted(world, tmp_path)
    assert run.answer()["connection"] == kept["connection"]
    assert run.names()[-1] == "received it back"


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


async def test_a_plain_port_and_a_websocket_are_named(encrypted_world: World, tmp_path: Path) -> None:
    """mqtts:// at a listener without TLS is never taken for one without encryption."""
    world = encrypted_world
    world.start()
    with pytest.raises(DeviceUnreached, match="the provision broker"):
        await run_encrypted(world, tmp_path, broker=f"mqtts://127.0.0.1:{world.provision_port}", patience=0.5)
    with pytest.raises(DeviceUnreached, match="wss:// is not spoken by this client"):
        await run_encrypted(world, tmp_path, broker="wss://127.0.0.1/mqtt")
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
