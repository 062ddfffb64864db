"""What the tests of the plugin stand on: the plugin, hooks that obey, and brokers."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plugin.broker import MOSQUITTO, NAME, SECRET, Broker, speaks_api_5
from tests.e2e.plugin.hooks_stub import Hooks

SOURCE = Path(__file__).resolve().parents[3] / "mosquitto" / "plugin"
PACKAGES = "mosquitto mosquitto-dev libcurl4-openssl-dev libcjson-dev gcc make"

StartBroker = Callable[..., Awaitable[Broker]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With PLUGIN set to go-auth's file the tests of our own additions do not apply."""
    given = os.environ.get("PLUGIN")
    if given and not speaks_api_5(Path(given)):
        for item in items:
            if item.get_closest_marker("own_plugin"):
                item.add_marker(pytest.mark.skip(reason="PLUGIN is not the project's own plugin"))


def build(target: str, folder: Path) -> None:
    """Runs the plugin's Makefile, its results going to a folder."""
    if shutil.which("make") is None or shutil.which("cc") is None:
        pytest.fail(f"no compiler: apt-get install {PACKAGES}")
    done = subprocess.run(
        ["make", "-C", str(SOURCE), f"BUILD={folder}", target], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.fail(f"the plugin does not build (apt-get install {PACKAGES})\n{done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def build_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plugin is built."""
    return tmp_path_factory.mktemp("plugin-build")


@pytest.fixture(scope="session")
def plugin(build_folder: Path) -> Path:
    """The plugin under test: PLUGIN from the environment, or ours, built now."""
    if MOSQUITTO is None:
        pytest.fail(f"no mosquitto: apt-get install {PACKAGES}")
    given = os.environ.get("PLUGIN")
    if given:
        if not Path(given).is_file():
            pytest.fail(f"PLUGIN names no file: {given}")
        return Path(given)
    build("all", build_folder)
    return build_folder / "provisioning.so"


@pytest.fixture
async def hooks() -> AsyncIterator[Hooks]:
    """Hooks that allow everything until a test says otherwise."""
    stub = Hooks()
    await stub.start()
    yield stub
    await stub.stop()


@pytest.fixture
async def new_broker(plugin: Path, hooks: Hooks) -> AsyncIterator[Callable[..., Broker]]:
    """Makes brokers that are not started yet; they are ended and removed after the test, and their logs searched."""
    async with AsyncExitStack() as stack:
        brokers: list[Broker] = []

        def make(**arguments: Any) -> Broker:
            broker = Broker(**{"plugin": plugin, "url": hooks.url, **arguments})
            stack.push_async_callback(broker.remove)
            brokers.append(broker)
            return broker

        yield make
        encoded = base64.b64encode(f"{NAME}:{SECRET}".encode()).decode()
        for broker in brokers:
            assert not any(secret in broker.log for secret in (SECRET, encoded)), "the secret stands in the log"


@pytest.fixture
def start_broker(new_broker: Callable[..., Broker]) -> StartBroker:
    """Makes and starts brokers."""

    async def start(**arguments: Any) -> Broker:
        broker = new_broker(**arguments)
        await broker.start()
        return broker

    return start


@pytest.fixture
async def broker(start_broker: StartBroker, hooks: Hooks) -> Broker:
    """A running broker; what it asked while it started is forgotten."""
    running = await start_broker()
    hooks.questions.clear()
    return running
