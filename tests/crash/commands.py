"""Administrators' changes as commands, each with what must be there before, and a way to see that it was done once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.operations import accounts, credentials, moves, releases, tokens, users
from service.operations import issuing as switch
from tests.support.command import ROOT
from tests.support.scene import Scene

Before = Callable[[Scene, str], Awaitable[object]]


async def nothing(_scene: Scene, _name: str) -> None:
    """It stands alone."""


async def a_request(scene: Scene, name: str) -> None:
    await scene.request(name)


async def a_run(scene: Scene, name: str) -> None:
    await scene.run(name)


async def a_provisioned_device(scene: Scene, name: str) -> None:
    await scene.provision(name)


async def a_device_without_request(scene: Scene, name: str) -> None:
    await scene.provision(name)
    await moves.delete_request(scene.admin, "acme", name)


async def a_disabled_request(scene: Scene, name: str) -> None:
    await scene.request(name)
    await moves.set_enabled(scene.admin, "acme", name, enabled=False)


async def a_person(scene: Scene, name: str) -> None:
    await users.create_person(scene.admin, "acme", name, ["broker:connect"])


async def an_account(scene: Scene, name: str) -> None:
    await accounts.create_account(scene.admin, name)


async def a_broker(scene: Scene, name: str) -> None:
    await accounts.create_broker(scene.admin, name, role="account", urls=[f"mqtt://{name}.example:1883"])


async def a_rotation_of_a_broker(scene: Scene, name: str) -> None:
    await a_broker(scene, name)
    await accounts.begin_rotation(scene.admin, name)


async def a_broker_that_serves(scene: Scene, name: str) -> None:
    await a_broker(scene, name)
    await accounts.serve_account(scene.admin, name, "other")


async def an_overlap(scene: Scene, name: str) -> None:
    await scene.request(name)
    await credentials.rotate(scene.admin, "acme", f"factory-{name}")


async def a_held_credential(scene: Scene, name: str) -> None:
    await scene.request(name)
    await credentials.hold(scene.admin, "acme", f"factory-{name}")


async def a_token(scene: Scene, name: str) -> None:
    await tokens.create_token(scene.admin, "acme", name, role="auditor")


async def a_release(scene: Scene, name: str) -> None:
    await scene.provision(name)
    await releases.release_device(scene.admin, "acme", name, to="other")


async def issuing(scene: Scene, _name: str) -> None:
    await switch.start(scene.admin)


async def no_issuing(scene: Scene, _name: str) -> None:
    await switch.stop(scene.admin)


@dataclass(frozen=True)
class Command:
    """
    `{}` in the arguments is a name that nobody else has, `{file}` a file that is not there, `{password}` one with a
    password. `repeats`: given again it is done again.
    """

    arguments: str
    before: Before = nothing
    repeats: bool = False

    def filled(self, name: str, folder: Path, time: str = "first") -> list[str]:
        """The arguments. A command that was killed may leave an empty file: the next one names another."""
        words = {"{}": name, "{file}": str(folder / f"{name}-{time}"), "{password}": str(folder / "password")}
        text = self.arguments
        for word, value in words.items():
            text = text.replace(word, value)
        return text.split()


COMMANDS = (
    Command("account create {}"),
    Command("account change {} --coupling LOOSE", an_account),
    Command("account disable {}", an_account),
    Command("broker create {} --role account --endpoint mqtt://{}.example:1883 --secret-file {file}"),
    Command("broker rotate {} --secret-file {file}", a_broker),
    Command("broker rotate {} --finish", a_rotation_of_a_broker),
    Command("broker serve {} other", a_broker),
    Command("broker unserve {} other --yes", a_broker_that_serves),
    Command("broker change {} --endpoint mqtt://{}-too.example:1883", a_broker),
    Command("user create {} --permission broker:connect --password-file {file}"),
    Command("user grant {} data:view", a_person, repeats=True),
    Command("user disable {}", a_person),
    Command("user delete {} --yes", a_person),
    Command(
        "request create {} --username f-{} --password-file {password} --activation-key --activation-key-file {file}"
    ),
    Command("request change {} --maximum-attempts 3", a_request, repeats=True),
    Command("request disable {}", a_run),
    Command("request enable {}", a_disabled_request),
    Command("request stop {}", a_run),
    Command("request reopen {} --yes", a_provisioned_device),
    Command("request delete {} --yes", a_provisioned_device),
    Command("device disable {}", a_provisioned_device, repeats=True),
    Command("device delete {} --yes", a_device_without_request),
    Command("device connection {} --coupling LOOSE", a_provisioned_device),
    Command("device connection-delete {} --yes", a_provisioned_device),
    Command("device release {} --to other", a_provisioned_device),
    Command("device release {} --cancel", a_release),
    Command("credential rotate factory-{} --password-file {password}", a_request),
    Command("credential finish factory-{}", an_overlap),
    Command("credential hold factory-{}", a_request),
    Command("credential lift factory-{}", a_held_credential),
    Command("credential watch factory-{} --unknown-client-ids 5", a_request, repeats=True),
    Command("token create {} --role auditor --token-file {file}"),
    Command("token revoke {}", a_token),
    Command("service responder-password --secret-file {file}", repeats=True),
    Command("events checkpoint --output {file}", repeats=True),
    Command("issuing stop", issuing),
    Command("issuing start", no_issuing),
)


@dataclass
class Desk:
    """Where commands are given."""

    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]

    async def give(self, *arguments: str) -> tuple[int, str]:
        """The status that it ended with, negative where it was killed; and what it said."""
        return await asyncio.to_thread(self._give, arguments)

    def _give(self, arguments: tuple[str, ...]) -> tuple[int, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"arguments": arguments, "environment": dict(self.environment)})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer["status"], answer["out"]


@contextmanager
def command_desk(folder: Path, environment: Mapping[str, str]) -> Iterator[Desk]:
    """A process that gives commands; those may die."""
    crash = {"CRASH_FILE": str(folder / "crash-at"), "CRASH_SEEN": str(folder / "crash-seen")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.dying", "commands"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **crash},
    )
    try:
        yield Desk(process, environment)
    finally:
        process.communicate()
