"""The HTTP connection to the hooks: one, kept, bounded in time and size, and to nobody else."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedded.processes import free_port
from tests.e2e.mqtt_raw import Client
from tests.e2e.plugin.broker import Broker, service_user
from tests.e2e.plugin.conftest import StartBroker
from tests.e2e.plugin.hooks_stub import ALLOW, HANG, Hooks, Question, Reply, answer, by_default

own = pytest.mark.own_plugin


async def test_one_connection_carries_everything(broker: Broker, hooks: Hooks) -> None:
    """Logins, subscriptions, messages and deliveries, allowed and refused."""
    for index in range(20):
        async with await broker.client(f"c{index}") as client:
            await client.subscribe("t")
            await client.publish("t", qos=1)
    assert len(hooks.questions) == 20 * 4
    assert hooks.connections == 1


@own
async def test_trouble_does_not_cost_the_connection(broker: Broker, hooks: Hooks) -> None:
    """A well-formed answer leaves the connection usable, whatever it says."""
    for reply in (answer(503), answer(403), answer(body=b"garbage"), answer(401, b"", "WWW-Authenticate: Basic")):
        hooks.judge = lambda _, reply=reply: reply  # type: ignore[misc]
        async with await Client.open(broker.port) as client:
            assert await client.connect("c", username="u", password="p") != 0
    assert hooks.connections == 1
    assert len(hooks.questions) == 4


@pytest.mark.parametrize("end", ["close_connections", "drop_connections"])
async def test_idle_connection_that_the_server_ended(broker: Broker, hooks: Hooks, end: str) -> None:
    """The next question finds another connection; no login is lost."""
    for index in range(20):
        await broker.client(f"c{index}")
        getattr(hooks, end)()
    assert hooks.connections == 20


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_server_that_ends_just_as_the_question_arrives(broker: Broker, hooks: Hooks, then: str) -> None:
    """The race that an idle timeout brings: the question is written, and the server has closed already."""
    await broker.client("first")
    last = 0

    def judge(question: Question) -> Reply:
        nonlocal last
        reused, last = question.connection == last, question.connection
        return Reply(then=then) if reused else ALLOW

    hooks.judge = judge
    last = hooks.connections
    for index in range(20):
        await broker.client(f"c{index}")
    questions = hooks.asked("user")[1:]
    assert len(questions) == 40
    assert questions[::2] == questions[1::2], "asked once more, with the same words"


@own
@pytest.mark.parametrize("then", ["close", "reset"])
async def test_new_connection_that_breaks_is_not_tried_again(broker: Broker, hooks: Hooks, then: str) -> None:
    """One repetition, and only where a reused connection may have been closed before the question."""
    await broker.client("first")
    hooks.questions.clear()
    hooks.judge = lambda _: Reply(then=then)
    for expected in (2, 3):  # reused, then new; from now on there is none to reuse
        async with await Client.open(broker.port) as client:
            assert await client.connect("c", username="u", password="p") is None
        assert len(hooks.questions) == expected


@own
@pytest.mark.parametrize("answered", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"])
async def test_answer_that_had_begun_is_not_asked_for_again(broker: Broker, hooks: Hooks, answered: bytes) -> None:
    """Once a line has come the hooks have seen the question."""
    await broker.client("first")
    hooks.questions.clear()
    hooks.judge = lambda _: Reply(answered, "close")
    async with await Client.open(broker.port) as client:
        assert await client.connect("c", username="u", password="p") is None
    assert len(hooks.questions) == 1


@own
@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{", b"HTTP/1.1 100 Continue\r\n"]
)
async def test_time_limit(start_broker: StartBroker, hooks: Hooks, beginning: bytes) -> None:
    """An answer that never ends is given up, and the broker serves the others."""
    broker = await start_broker(options={"timeout_ms": "100"})
    hooks.deciding("user", Reply(beginning, "hang"), clientid="slow")
    other = await broker.client("other")
    async with await Client.open(broker.port) as client:
        assert await client.connect("slow", username="u", password="p") is None
    assert await other.publish("t", qos=1) == 0
    assert "login: no answer in time" in broker.log


ENDLESS_LOOKUP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    while (node != NULL && strcmp(node, "hooks.endless") == 0) pause();
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, found);
}
"""


@own
async def test_time_limit_covers_the_lookup_of_a_name(new_broker: Callable[..., Broker]) -> None:
    """A name server that keeps silent: libcurl gives up in time, and leaves its thread behind."""
    broker = new_broker(url="http://hooks.endless:1", options={"timeout_ms": "100"})
    broker.environment = {"LD_PRELOAD": compiled(ENDLESS_LOOKUP, broker.folder)}
    await broker.start()
    async with await Client.open(broker.port) as client:
        assert await client.connect("c", username="u", password="p") is None
    assert "not reachable: no answer in time" in broker.log
    assert await broker.stop() == 0


def compiled(source: str, folder: Path) -> str:
    """A library to be loaded before all others."""
    (folder / "preload.c").write_text(source)
    library = str(folder / "preload.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(folder / "preload.c"), "-ldl"], check=True)
    return library


@own
async def test_time_limit_covers_the_repetition(start_broker: StartBroker, hooks: Hooks) -> None:
    """A reused connection that ends late, then a yes that is late only if both are counted: it comes too late."""
    broker = await start_broker(options={"timeout_ms": "300"})
    await broker.client("first")
    late = [Reply(then="close", delay=0.25), replace(ALLOW, delay=0.2)]
    hooks.judge = lambda _: late.pop(0)
    async with await Client.open(broker.port) as client:
        assert await client.connect("c", username="u", password="p") is None
    assert "login: no answer in time" in broker.log


@own
@pytest.mark.parametrize("size", [65536, 65537, 10_000_000])
async def test_size_limit(broker: Broker, hooks: Hooks, size: int) -> None:
    """64 KiB are read and judged, more is trouble, announced or not."""
    body = b'{"ok":true}'.ljust(size)
    for reply in (answer(body=body), Reply(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body, "close")):
        hooks.judge = lambda _, reply=reply: reply  # type: ignore[misc]
        async with await Client.open(broker.port) as client:
            code = await client.connect("c", username="u", password="p")
            assert code == (0 if size == 65536 else None)


@own
async def test_chunks(broker: Broker, hooks: Hooks) -> None:
    """A body in chunks of one byte is a body."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"ok":true}') + b"0\r\n\r\n"
    hooks.judge = lambda _: Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    await broker.client("c1")
    await broker.client("c2")
    assert hooks.connections == 1


@own
async def test_cookies_are_not_kept(broker: Broker, hooks: Hooks) -> None:
    """Nothing but the question decides."""
    hooks.judge = lambda _: answer(200, b'{"ok":true}', "Set-Cookie: a=b; Path=/")
    await broker.client("c1")
    await broker.client("c2")
    assert all("cookie" not in question.headers for question in hooks.questions)


@own
async def test_proxies_of_the_environment_are_not_used(start_broker: StartBroker, hooks: Hooks) -> None:
    """A proxy would see every password."""
    proxy = f"http://127.0.0.1:{free_port()}"
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    broker = await start_broker(environment={**dict.fromkeys(names, proxy), "no_proxy": ""})
    await broker.client("c1")
    assert hooks.questions[0].line.split()[1] == "/hooks/superuser"


@own
async def test_log_stays_short(broker: Broker, hooks: Hooks) -> None:
    """Hundreds of failures a second make a line a second, without a client's words in it."""
    hooks.judge = lambda _: answer(503)
    begin = time.monotonic()
    for _ in range(200):
        async with await Client.open(broker.port) as client:
            await client.connect("canary-id", username="canary-user", password="canary-password")
    seconds = int(time.monotonic() - begin) + 2  # both ends of the time lie within a second
    lines = [line for line in broker.log.splitlines() if "provisioning:" in line]
    assert 1 <= len(lines) <= seconds
    assert "login: 5xx" in lines[0]
    assert "canary" not in "".join(lines)
    assert "canary-password" not in broker.log


@own
async def test_401_while_running(broker: Broker, hooks: Hooks) -> None:
    """The broker's fault, not the device's: it is cut off, not told that its password is wrong."""
    hooks.judge = lambda _: answer(401, b"", "WWW-Authenticate: Basic")
    async with await Client.open(broker.port) as client:
        assert await client.connect("c1", username="u", password="p") is None
    assert "401: the broker's name or secret is not accepted any more" in broker.log


@own
async def test_sigpipe_does_not_end_a_broker_that_loads(new_broker: Callable[..., Broker], hooks: Hooks) -> None:
    """Mosquitto ignores it later; the plugin asks before that, and OpenSSL may write to a connection that is gone."""
    hooks.judge = lambda _: HANG
    broker = new_broker()
    starting = asyncio.create_task(broker.start())
    await hooks.asking()
    (ignored,) = re.findall(rb"SigIgn:\s*(\w+)", file_of_process(broker.pid, "status"))
    assert int(ignored, 16) >> (signal.SIGPIPE - 1) & 1
    hooks.drop_connections()
    await starting


def file_of_process(pid: int, name: str) -> bytes:
    """What the kernel says of a process."""
    return Path(f"/proc/{pid}/{name}").read_bytes()


class Authority:
    """A certificate authority of the test's own, and a server certificate of it."""

    def __init__(self, folder: Path, name: str = "IP:127.0.0.1") -> None:
        if shutil.which("openssl") is None:
            pytest.fail("no openssl: apt-get install openssl")
        self.certificate, self.key = folder / "ca.pem", folder / "ca.key"
        self.server = folder / "server.pem"
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self._run("req", "-x509", *new_key, "-keyout", self.key, "-out", self.certificate, "-subj", "/CN=test")
        issued_by: list[str | Path] = ["-CA", self.certificate, "-CAkey", self.key, "-addext", f"subjectAltName={name}"]
        self._run("req", "-x509", *new_key, "-keyout", folder / "s.key", "-out", folder / "s.pem", "-subj", "/CN=s",
                  "-addext", "basicConstraints=critical,CA:FALSE", *issued_by)  # fmt: skip
        self.server.write_text((folder / "s.key").read_text() + (folder / "s.pem").read_text())

    @staticmethod
    def _run(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def context(self) -> ssl.SSLContext:
        """For a server that has the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context


@pytest.fixture
async def https_hooks(hooks: Hooks) -> Hooks:
    """Hooks that a test gives a certificate and starts again."""
    await hooks.stop()
    return hooks


def readable_copy(path: Path, broker: Broker) -> str:
    """A copy beside the broker's other files."""
    copy = broker.folder / "ca.pem"
    shutil.copy(path, copy)
    copy.chmod(0o644)
    return str(copy)


async def https_broker(new_broker: Callable[..., Broker], hooks: Hooks, trusted: Path | None) -> Broker:
    """A broker that is to ask these hooks by https, trusting this authority or the system's."""
    await hooks.start()
    broker = new_broker(url=hooks.url)
    if trusted is not None:
        broker.options = {"ca_file": readable_copy(trusted, broker)}
    await broker.start()
    return broker


@own
async def test_https(new_broker: Callable[..., Broker], https_hooks: Hooks, tmp_path: Path) -> None:
    """With its authority the server is trusted, and one TLS connection carries everything."""
    authority = Authority(tmp_path)
    https_hooks.tls = authority.context()
    broker = await https_broker(new_broker, https_hooks, authority.certificate)
    assert "provisioning:" not in broker.log
    for index in range(3):
        await broker.client(f"c{index}")
    assert https_hooks.connections == 1


@own
@pytest.mark.parametrize("case", ["system", "another authority", "another name", "no file"])
async def test_https_with_nobody_to_trust(
    new_broker: Callable[..., Broker], https_hooks: Hooks, tmp_path: Path, case: str
) -> None:
    """Not one byte of a question is sent, and nobody is let in."""
    authority = Authority(tmp_path, "DNS:elsewhere.test" if case == "another name" else "IP:127.0.0.1")
    https_hooks.tls = authority.context()
    trusted: Path | None = authority.certificate
    if case == "another authority":
        (tmp_path / "other").mkdir()
        trusted = Authority(tmp_path / "other").certificate
    broker = await https_broker(new_broker, https_hooks, None if case == "system" else trusted)
    if case == "no file":
        (broker.folder / "ca.pem").unlink()
        https_hooks.drop_connections()
        https_hooks.questions.clear()
    async with await Client.open(broker.port) as client:
        assert await client.connect("c1", username="u", password="p") is None
    assert https_hooks.questions == []
    assert ("ca_file cannot be read" if case == "no file" else "certificate is not trusted") in broker.log


@own
async def test_plain_answer_to_https(new_broker: Callable[..., Broker], hooks: Hooks) -> None:
    """No way back to http."""
    broker = new_broker(url=hooks.url.replace("http:", "https:"))
    broker.options = {"timeout_ms": "500"}
    await broker.start()
    async with await Client.open(broker.port) as client:
        assert await client.connect("c1", username="u", password="p") is None
    assert hooks.questions == []


@own
async def test_stranger_cannot_read_the_secret(broker: Broker) -> None:
    """Neither the command line nor the environment of the broker has it."""
    assert service_user() is None or broker.secret_file.stat().st_uid != 0
    for name in ("cmdline", "environ"):
        assert broker.secret_file.read_bytes().strip() not in file_of_process(broker.pid, name)


async def test_questions_come_one_at_a_time(broker: Broker, hooks: Hooks) -> None:
    """Mosquitto has one thread: a hundred connections at once are a hundred questions in a row."""
    hooks.judge = by_default

    async def come(index: int) -> int | None:
        async with await Client.open(broker.port) as client:
            return await client.connect(f"c{index}", username="u", password="p")

    assert set(await asyncio.gather(*map(come, range(100)))) == {0}
    assert hooks.connections == 1
