"""
The journal of who may come in, in a file outside of the database: what a restored database has forgotten stands there.

One JSON document a line: a change (`core.recovery.Word`), or after each batch the cluster and the position it was read
up to. It may be moved away at any time: a new file begins with everything that the database still has of it.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from service import log
from service.db import queries
from service.db.pool import Pool

_SQL = queries.load("recovery")
_log = log.get("access_journal")

# The end of the file that the last position is looked for in: a batch may be as long.
BLOCK = 1024 * 1024


class AccessJournal:
    """Writes what became visible since the last time. One at a time writes a file: the active responder."""

    def __init__(self, pool: Pool, path: Path) -> None:
        self._pool = pool
        self._path = path
        # Where it was read up to, (cluster, position); None: the file says.
        self._place: tuple[str, str] | None = None

    async def write(self) -> int:
        """Append what there is, through to the disk; returns how many changes. Raises OSError and the database's."""
        place = await asyncio.to_thread(self._begin)
        cluster, position = place if place is not None else (None, None)
        found = json.loads(await self._pool.fetchval(_SQL["read_journal"], cluster, position))
        if found["held"]:  # restored and not accepted: the journal still says what was before
            return 0
        changes = found["changes"]
        if changes:
            await asyncio.to_thread(self._append, [*changes, {key: found[key] for key in ("cluster", "position")}])
        self._place = (found["cluster"], found["position"])
        return len(changes)

    def _begin(self) -> tuple[str, str] | None:
        """Where to go on; from the beginning where the file is new or was moved away."""
        if not self._path.exists():
            return None
        if self._place is None:
            self._place = _last_place(self._path)
        return self._place

    def _append(self, documents: list[dict[str, Any]]) -> None:
        new = not self._path.exists()
        data = "".join(json.dumps(document) + "\n" for document in documents).encode()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _drop_unfinished(descriptor)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            _sync_folder(self._path.parent)
            _log.info("access_journal_begun", path=str(self._path))


def _drop_unfinished(descriptor: int) -> None:
    """A line whose writer died in it is written again as a whole."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, BLOCK, max(0, size - BLOCK))
    if tail and not tail.endswith(b"\n"):
        os.ftruncate(descriptor, max(0, size - BLOCK) + tail.rfind(b"\n") + 1)


def _last_place(path: Path) -> tuple[str, str] | None:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - BLOCK))
        *lines, _unfinished = file.read().split(b"\n")
    for line in reversed(lines):
        if line.startswith(b'{"cluster": '):
            document = json.loads(line)
            return document["cluster"], document["position"]
    return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
