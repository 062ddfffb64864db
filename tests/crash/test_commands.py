"""
Administrators' changes, killed before and after each commit that they make: given again, they are done, and done once.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.core.problems import InvalidInput
from service.operations import accounts
from tests.crash.commands import COMMANDS, Command, Desk, command_desk
from tests.support.command import settings
from tests.support.database import Database
from tests.support.figures import record
from tests.support.scene import Scene, open_scene

KILLED = -9
DONE, INVALID = 0, 2
# `make test` takes every so many, another selection each time that the list changes.
SAMPLE = COMMANDS[2::9]


@dataclass(kw_only=True)
class Office:
    """Where commands are given and killed."""

    scene: Scene
    desk: Desk
    folder: Path
    points: int = 0
    _names: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def kinds(self) -> Counter[str]:
        """The events so far, by kind."""
        rows = await self.scene.database.fetch("SELECT kind, count(*) AS count FROM events GROUP BY kind")
        return Counter({row["kind"]: row["count"] for row in rows})

    async def prepare(self, command: Command) -> tuple[str, Counter[str]]:
        """A name of the command's own, and the events before it."""
        name = f"gw-{next(self._names)}"
        await command.before(self.scene, name)
        return name, await self.kinds()

    async def undisturbed(self, command: Command) -> Counter[str]:
        """What it writes down when nothing happens to it."""
        name, before = await self.prepare(command)
        status, said = await self.desk.give(*command.filled(name, self.folder))
        assert status == DONE, said
        return await self.kinds() - before

    async def killed_at(self, command: Command, point: str, expected: Counter[str]) -> bool:
        """Killed there, and given again. False: it never came there."""
        name, before = await self.prepare(command)
        (self.folder / "crash-at").write_text(point)
        status, said = await self.desk.give(*command.filled(name, self.folder))
        (self.folder / "crash-at").unlink(missing_ok=True)
        if status != KILLED:
            assert status == DONE, said
            return False
        self.points += 1
        assert await self.scene.database.broken_invariants() == [], point
        status, said = await self.desk.give(*command.filled(name, self.folder, "again"))
        assert status in (DONE, INVALID), (point, said)
        done = await self.kinds() - before
        assert done == expected or (command.repeats and set(done) == set(expected)), (point, said)
        return True

    async def kill_everywhere(self, command: Command) -> None:
        """Before and after each of its commits."""
        expected = await self.undisturbed(command)
        assert expected
        for moment in ("before", "after"):
            for number in itertools.count(1):
                if not await self.killed_at(command, f"*, transaction, {moment}, {number}", expected):
                    assert number > 1, "it commits nothing"
                    break


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    (tmp_path / "password").write_text("Another-Password-1\n")
    (tmp_path / "password").chmod(0o600)
    async with open_scene(database) as scene:
        await accounts.create_account(scene.admin, "other")
        with command_desk(tmp_path, settings(database)) as desk:
            yield Office(scene=scene, desk=desk, folder=tmp_path)


async def give_all(office: Office, commands: Sequence[Command], command: str) -> None:
    failed = []
    for each in commands:
        try:
            await office.kill_everywhere(each)
        except (AssertionError, InvalidInput) as error:
            failed.append(f"{each.arguments}: {error}")
    assert not failed, "\n".join(failed)
    record(
        goal="G2",
        what=f"{office.points} points of {len(commands)} administrators' commands, each killed and given again",
        asked="0 violations",
        reached="0",
        command=command,
        good=True,
    )


async def test_some_commands(office: Office) -> None:
    await give_all(office, SAMPLE, "make test")


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_every_command(office: Office) -> None:
    await give_all(office, COMMANDS, "make test-long")
