"""What we need of the MQTT library, on a real Mosquitto without our plugin: the contract of service/mqtt/client.py."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded import brokers
from embedded.processes import Managed, accepts, free_port
from service.mqtt.client import Connection, Login, Refused, SubscribeRefused, Unreachable
from tests.support.certificates import Certificates, make_certificates

CONF = """
listener {port} 127.0.0.1
{more}
persistence false
acl_file {folder}/acl
log_dest stderr
"""


@dataclasses.dataclass
class Plain:
    """A Mosquitto without a plugin; topics below `denied/` are nobody's."""

    process: Managed
    login: Login
    certificates: Certificates


@pytest.fixture(params=["mqtt", "mqtts"])
def plain(request: pytest.FixtureRequest) -> Iterator[Plain]:
    folder = Path(tempfile.mkdtemp(prefix="provisioning-mqtt-"))
    folder.chmod(0o755)
    certificates = make_certificates(folder / "tls")
    tls = f"certfile {certificates.certificate}\nkeyfile {certificates.key}\n" if request.param == "mqtts" else ""
    port = free_port()
    (folder / "acl").write_text("pattern readwrite t/#\n")
    (folder / "conf").write_text(
        CONF.format(port=port, folder=folder, more=f"{tls}allow_anonymous true\nmax_queued_messages 100")
    )
    (folder / "tls").chmod(0o755)
    brokers.give_to_broker(certificates.key, certificates.certificate)
    process = Managed(
        name="plain",
        command=[brokers.find_mosquitto(), "-c", str(folder / "conf")],
        folder=folder,
        environment={"PATH": os.environ["PATH"]},
        is_ready=lambda: accepts(port),
    )
    process.start()
    login = Login(
        url=f"{request.param}://127.0.0.1:{port}",
        client_id="reader",
        username="u",
        password="p",
        clean=False,
        session_expiry=600,
        ca_file=str(certificates.ca) if request.param == "mqtts" else "",
    )
    try:
        yield Plain(process, login, certificates)
    finally:
        process.stop()
        shutil.rmtree(folder)


async def publish(plain: Plain, *payloads: str, expiry: int | None = None) -> None:
    """From another client."""
    sender = await Connection.open(dataclasses.replace(plain.login, client_id="sender", clean=True, session_expiry=0))
    for payload in payloads:
        await sender.publish("t/x", payload.encode(), expiry=expiry)
    assert await sender.drained()
    await sender.close()


class Reader:
    """Collects payloads; `hold` keeps handlers waiting, `fail` makes them raise."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.fail = False
        self.arrived = asyncio.Event()

    async def __call__(self, _topic: str, payload: bytes) -> None:
        self.got.append(payload.decode())
        self.arrived.set()
        await self.hold.wait()
        if self.fail:
            raise RuntimeError("as asked")

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()


async def test_acknowledged_only_after_the_handler_returned(plain: Plain) -> None:
    """A connection that ends while a handler works: the kept session gives the message again, to the next one."""
    reader = Reader()
    reader.hold.clear()
    first = await Connection.open(plain.login, reader)
    await first.subscribe("t/#")
    await publish(plain, "a", "b")
    await reader.wait_for(2)
    await first.close()

    again = Reader()
    second = await Connection.open(plain.login, again)
    assert second.session_present
    await again.wait_for(2)
    assert sorted(again.got) == ["a", "b"]
    await second.close()
    reader.hold.set()

    third = await Connection.open(plain.login, Reader())
    await publish(plain, "c")
    await third.close()


async def test_a_handled_message_does_not_come_again(plain: Plain) -> None:
    reader = Reader()
    first = await Connection.open(plain.login, reader)
    await first.subscribe("t/#")
    await publish(plain, "a")
    await reader.wait_for(1)
    await publish(plain, "b")  # its arrival shows that the acknowledgement of the first one is through
    await reader.wait_for(2)
    await first.close()
    again = Reader()
    second = await Connection.open(plain.login, again)
    await publish(plain, "c")
    await again.wait_for(1)
    assert "a" not in again.got
    await second.close()


async def test_a_handler_that_raises_is_not_acknowledged(plain: Plain) -> None:
    """The connection ends, and the next one gets the message."""
    reader = Reader()
    reader.fail = True
    first = await Connection.open(plain.login, reader)
    await first.subscribe("t/#")
    await publish(plain, "a")
    async with asyncio.timeout(20):
        await first.closed.wait()
    again = Reader()
    second = await Connection.open(plain.login, again)
    await again.wait_for(1)
    assert again.got == ["a"]
    await second.close()


async def test_messages_wait_while_nobody_is_connected(plain: Plain) -> None:
    first = await Connection.open(plain.login)
    await first.subscribe("t/#")
    await first.close()
    await publish(plain, *map(str, range(50)))
    reader = Reader()
    second = await Connection.open(plain.login, reader)
    await reader.wait_for(50)
    assert reader.got == [str(number) for number in range(50)]
    await second.close()


async def test_a_message_may_expire_in_the_broker(plain: Plain) -> None:
    first = await Connection.open(plain.login)
    await first.subscribe("t/#")
    await first.close()
    await publish(plain, "short", expiry=1)
    await asyncio.sleep(2.5)
    await publish(plain, "long", expiry=600)
    reader = Reader()
    second = await Connection.open(plain.login, reader)
    await reader.wait_for(1)
    assert reader.got == ["long"]
    await second.close()


async def test_a_taken_over_connection_is_closed_and_not_taken_back(plain: Plain) -> None:
    first = await Connection.open(plain.login)
    second = await Connection.open(plain.login)
    async with asyncio.timeout(20):
        await first.closed.wait()
    await second.subscribe("t/#")
    assert not second.closed.is_set()
    await second.close()


async def test_a_broker_that_goes_is_heard_of(plain: Plain) -> None:
    connection = await Connection.open(plain.login)
    plain.process.kill()
    async with asyncio.timeout(20):
        await connection.closed.wait()
    with pytest.raises(Unreachable):
        await Connection.open(plain.login, timeout=2)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_both_versions_publish_and_receive(plain: Plain, version: str) -> None:
    login = dataclasses.replace(plain.login, version=version, clean=True)
    reader = Reader()
    connection = await Connection.open(login, reader)
    await connection.subscribe("t/#")
    await connection.publish("t/y", b"hello")
    assert await connection.drained()
    await reader.wait_for(1)
    await connection.close()


async def test_a_refused_subscription_is_told(plain: Plain) -> None:
    connection = await Connection.open(plain.login)
    try:
        await connection.subscribe("t/ok")
        with pytest.raises(SubscribeRefused):
            await connection.subscribe("t/ok", "#/bad")
    except Unreachable:
        pass  # a malformed filter makes Mosquitto close the connection
    await connection.close()


async def test_a_certificate_of_another_ca_is_not_trusted(tmp_path: Path, plain: Plain) -> None:
    if not plain.login.url.startswith("mqtts"):
        return
    other = make_certificates(tmp_path / "other")
    with pytest.raises(Unreachable, match="not trusted"):
        await Connection.open(dataclasses.replace(plain.login, ca_file=str(other.ca)))


async def test_closed_without_an_answer_is_not_a_refusal() -> None:
    """What hooks that answer 503 look like from a device."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    login = Login(url=f"mqtt://127.0.0.1:{port}", client_id="c", username="u", password="p")
    with pytest.raises(Unreachable, match="without an answer"):
        await Connection.open(login)
    server.close()


@pytest.mark.parametrize(("version", "answer"), [("3.1.1", b"\x20\x02\x00\x05"), ("5", b"\x20\x03\x00\x87\x00")])
async def test_a_refusal_has_its_code(version: str, answer: bytes) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    login = Login(url=f"mqtt://127.0.0.1:{port}", client_id="c", username="u", password="p", version=version)
    with pytest.raises(Refused) as refused:
        await Connection.open(login)
    assert refused.value.not_authorised
    server.close()
