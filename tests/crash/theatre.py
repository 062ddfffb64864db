"""A whole product whose processes die where they are told to, and are started again."""

from __future__ import annotations

import asyncio
import itertools
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedded.processes import Managed
from tests.crash.points import Point
from tests.crash.stories import STORIES, Stage
from tests.support.devices import eventually

# Seconds that a story may take, with a process that dies in it.
PATIENCE = 110
# And when it is over, seconds until a process must have died.
AFTERWARDS = 10
FIRST: Any = {"return_when": asyncio.FIRST_COMPLETED}


@dataclass(kw_only=True)
class Theatre:
    """Tells stories, and kills in them."""

    stage: Stage
    _names: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def _file(self) -> Path:
        return self.stage.world.folder / "crash-at"

    @property
    def seen(self) -> set[tuple[str, str, str]]:
        """(operation, kind, place in the code) of every boundary that was crossed."""
        lines = (self.stage.world.folder / "crash-seen").read_text(encoding="utf-8").splitlines()
        return {(parts[0], parts[1], parts[2]) for parts in (line.split(", ") for line in lines)}

    def open(self) -> None:
        """Everything runs, hooks and responder as those that can die."""
        world = self.stage.world
        for process, name in ((world.hooks, "hooks"), (world.responder, "responder")):
            process.command = [sys.executable, "-m", "tests.crash.dying", name]
            process.environment = {
                **process.environment,
                "CRASH_FILE": str(self._file),
                "CRASH_SEEN": str(world.folder / "crash-seen"),
                "PROVISION_SWEEP_INTERVAL": "0.5",
                # A Kura step that a crash left unsaid is said at the next sign of life after this.
                "PROVISION_STEP_TIMEOUT": "1",
            }
        world.start()

    async def tell(self, point: Point) -> None:
        """One story, in which a process dies; all is well in the end."""
        process: Managed = getattr(self.stage.world, point.process)
        self._file.write_text(point.named, encoding="utf-8")
        client_id = f"gw-{next(self._names)}"
        try:
            async with asyncio.timeout(PATIENCE):
                told = asyncio.create_task(_story(self.stage, point.story, client_id))
                await self._restart(process, told)
                await told
        except Exception as error:
            raise AssertionError(f"{point}: {error!r}\n{process.tail()}") from error
        assert await self.stage.world.database.broken_invariants() == [], str(point)

    async def _restart(self, process: Managed, told: asyncio.Task[None]) -> None:
        async def died() -> bool:
            return process.pid() is None

        await asyncio.wait({told, asyncio.ensure_future(eventually(died, patience=PATIENCE))}, **FIRST)
        if told.done():
            told.result()
        # What hooks write, they write up to two seconds later.
        await eventually(died, patience=PATIENCE if not told.done() else AFTERWARDS)
        assert not self._file.exists()
        process.begin()


async def _story(stage: Stage, name: str, client_id: str) -> None:
    await STORIES[name](stage, client_id)
