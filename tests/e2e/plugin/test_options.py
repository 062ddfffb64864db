"""A broker with a wrong option stops, and says which one it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from embedded.processes import free_port
from tests.e2e.plugin.broker import NAME, Broker, service_user
from tests.e2e.plugin.conftest import StartBroker
from tests.e2e.plugin.hooks_stub import ALLOW, HANG, TROUBLE, Hooks, Reply, answer

pytestmark = pytest.mark.own_plugin
NewBroker = Callable[..., Broker]


async def stops(broker: Broker, *words: str) -> None:
    """It ends with an error of its own making, after saying these words."""
    assert await broker.run_to_its_end() not in (0, -6, -9, -11)
    for word in words:
        assert word in broker.log, broker.log


@pytest.mark.parametrize("name", ["url", "broker", "secret_file"])
async def test_missing(new_broker: NewBroker, name: str) -> None:
    """The three that there are no defaults for."""
    await stops(new_broker(options={name: None}), f"plugin_opt_{name}: is missing")


async def test_unknown(new_broker: NewBroker) -> None:
    """A slip of the pen, or an option of another plugin."""
    await stops(new_broker(more_options=[("time_out", "3")]), "plugin_opt_time_out: no such option")


async def test_repeated(new_broker: NewBroker) -> None:
    """Two answers to one question."""
    await stops(new_broker(more_options=[("broker", "b2")]), "plugin_opt_broker: given more than once")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("url", "127.0.0.1:8081", "http://"),
        ("url", "ftp://127.0.0.1", "http://"),
        ("url", f"http://{NAME}:hunter2@127.0.0.1", "without user"),
        ("broker", "b:1", "letters, digits"),
        ("timeout_ms", "0", "from 1 to 10000"),
        ("timeout_ms", "10001", "from 1 to 10000"),
        ("timeout_ms", "2s", "from 1 to 10000"),
        ("ca_file", "/etc/hosts", "https"),
        ("secret_file", "/nowhere/to/be/found", "No such file"),
        ("secret_file", "/dev/zero", "regular file"),
        ("secret_file", "/", "regular file"),
    ],
)
async def test_malformed(new_broker: NewBroker, name: str, value: str, rule: str) -> None:
    """The message has the option and the rule, and not the value, which may be a secret in the wrong line."""
    broker = new_broker(options={name: value})
    await stops(broker, f"plugin_opt_{name}: ", rule)
    assert "hunter2" not in broker.log
    assert "/nowhere" not in broker.log


@pytest.mark.parametrize(
    ("content", "mode", "rule"),
    [
        ("", 0o600, "is empty"),
        ("two\nlines", 0o600, "one line"),
        ("x" * 513, 0o600, "too large"),
        ("secret\r", 0o600, "one line"),
        ("secret", 0o604, "no access to others"),
        ("secret", 0o666, "no access to others"),
    ],
)
async def test_secret_file(new_broker: NewBroker, content: str, mode: int, rule: str) -> None:
    """What the file must be."""
    broker = new_broker()
    broker.write_secret(content, mode)
    await stops(broker, "plugin_opt_secret_file: ", rule)


async def test_secret_that_mosquitto_may_not_read(new_broker: NewBroker) -> None:
    """Mosquitto gives up root's rights before it loads plugins, so a file of root's is of no use to it."""
    broker = new_broker()
    if service_user() is None:
        broker.secret_file.chmod(0)
    else:
        os.chown(broker.secret_file, 0, 0)
    await stops(broker, "plugin_opt_secret_file: ", "Permission denied")


async def test_secret_that_the_group_may_read(start_broker: StartBroker, new_broker: NewBroker) -> None:
    """0640 is the way for a broker and an administrator's group."""
    broker = new_broker()
    broker.secret_file.chmod(0o640)
    await broker.start()


async def test_loaded_twice(new_broker: NewBroker) -> None:
    """Two of it in one broker would ask everything twice; the second one is refused."""
    broker = new_broker()
    plugin = str(broker.folder / "plugin.so")
    broker.settings = [
        ("plugin", plugin),
        ("plugin_opt_url", broker.url),
        ("plugin_opt_broker", NAME),
        ("plugin_opt_secret_file", str(broker.secret_file)),
    ]
    await stops(broker, "loaded twice?")


async def test_401_stops_the_broker(new_broker: NewBroker, hooks: Hooks) -> None:
    """A wrong name or secret would turn every device away."""
    hooks.judge = lambda _: answer(401, b"", "WWW-Authenticate: Basic")
    await stops(new_broker(), "the hooks answer 401", "plugin_opt_broker", "plugin_opt_secret_file")
    assert len(hooks.questions) == 1


@pytest.mark.parametrize(
    ("reply", "warning"),
    [
        (TROUBLE, "503 where"),
        (answer(404, b""), "404 where"),
        (answer(302, b"", "Location: /hooks/user"), "302 where"),
        (ALLOW, "200 where"),
        (Reply(then="close"), "not reachable"),
        (Reply(b"garbage\r\n", "close"), "not reachable"),
        (HANG, "not reachable: no answer in time"),
    ],
)
async def test_other_trouble_does_not(start_broker: StartBroker, hooks: Hooks, reply: Reply, warning: str) -> None:
    """Brokers and hooks start in any order."""
    hooks.judge = lambda _: reply
    broker = await start_broker(options={"timeout_ms": "300"})
    assert warning in broker.log
    hooks.judge = lambda _: ALLOW
    await broker.client("c1")


async def test_hooks_that_are_away(start_broker: StartBroker, hooks: Hooks) -> None:
    """The broker starts, lets nobody in, and finds the hooks when they come."""
    await hooks.stop()
    broker = await start_broker()
    assert "not reachable: cannot connect" in broker.log
    await hooks.start()
    await broker.client("c1")


async def test_good_probe_is_silent(start_broker: StartBroker) -> None:
    """With everything in order the plugin writes nothing."""
    broker = await start_broker()
    assert "provisioning:" not in broker.log
    assert await broker.stop() == 0


async def test_path_and_slash_in_the_url(start_broker: StartBroker, hooks: Hooks) -> None:
    """A base with a path, for hooks behind a common front."""
    await start_broker(options={"url": hooks.url + "/base//"})
    assert hooks.questions[0].line == "POST /base/hooks/superuser HTTP/1.1"


async def test_per_listener_settings(start_broker: StartBroker, hooks: Hooks) -> None:
    """The plugin belongs to its listener then; it works all the same."""
    broker = await start_broker(settings=[("per_listener_settings", "true")])
    await broker.client("c1")


async def test_name_that_cannot_be_resolved(start_broker: StartBroker) -> None:
    """Trouble like any other, within the time limit."""
    broker = await start_broker(options={"url": "http://hooks.invalid", "timeout_ms": "500"})
    assert "not reachable" in broker.log
    assert await broker.stop() == 0


async def test_port_that_accepts_nothing(start_broker: StartBroker) -> None:
    """A full backlog: the connection is never made."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        broker = await start_broker(options={"url": url, "timeout_ms": "300"})
        assert "not reachable: no answer in time" in broker.log
