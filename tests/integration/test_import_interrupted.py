"""An import that ends at any moment and is run again: no key is lost, none is given twice."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import web

from service.cli.server import TRIES
from service.operations import imports
from service.operations.administration import Administration
from tests.integration.test_import import (
    Write,
    check_keys,
    command,
    counts,
    held,
    keys_in,
    result,
    rows,
    some,
    write,
)
from tests.support.command import DONE, INVALID, UNREACHABLE, Program
from tests.support.database import Database
from tests.support.faces import DATABASE, SERVER, asked, by_server, on_database
from tests.support.scene import until

__all__ = ["command", "result", "write"]

BARE = Program(name="cli", environment={})
COUNT = "SELECT count(*) FROM provision_requests"


class Killed(BaseException):
    """The process is gone here, as far as the file and the database can tell."""


def tear(path: str, more: bytes, *, truncate: bool = False) -> None:
    """A file as a crash leaves it: with `more` at its end, or with nothing else."""
    with open(path, "wb" if truncate else "ab") as file:
        file.write(more)


async def written(database: Database, least: int) -> None:
    async def enough() -> bool:
        return int(await database.value(COUNT)) >= least

    await until(enough)


@pytest.mark.parametrize(
    ("program", "number"),
    [(DATABASE, signal.SIGKILL), (DATABASE, signal.SIGINT), (DATABASE, signal.SIGTERM), (SERVER, signal.SIGKILL)],
    indirect=["program"],
)
async def test_ended_at_half_and_run_again(
    command: Program, database: Database, write: Write, result: str, number: signal.Signals
) -> None:
    # So many that the other half is not written before a busy machine sees the first.
    await _ended_at_half(command, database, write(*rows(6000)), result, number, 6000, batch="50")


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_hundred_thousand_rows_killed_at_half(
    command: Program, database: Database, write: Write, result: str
) -> None:
    await _ended_at_half(command, database, write(*rows(100_000)), result, signal.SIGKILL, 100_000, batch="1000")


async def _ended_at_half(
    command: Program, database: Database, file: str, result: str, number: signal.Signals, total: int, *, batch: str
) -> None:
    arguments = ("request", "import", file, "--result", result, "--batch", batch, "--json")
    process = command.started(*arguments)
    try:
        await written(database, total // 2)
    finally:
        process.send_signal(number)
        await asyncio.to_thread(process.communicate)
    there = await database.value(COUNT)
    assert total // 2 <= there < total
    await check_keys(database, result)
    done = counts(await command.process(*arguments))
    # A server may have gone on for a batch after its caller was gone.
    late = total - there - done["created"]
    assert 0 <= late <= (int(batch) if "PROVISION_SERVER" in command.environment else 0)
    assert done == some(created=total - there - late, unchanged=there + late)
    assert await check_keys(database, result) == total
    assert all(len(given) == 1 for given in keys_in(result).values())
    before = held(result)
    assert counts(await command(*arguments)) == some(unchanged=total)
    assert held(result) == before
    await database.check_invariants()


@on_database
@pytest.mark.parametrize("committed", [False, True])
async def test_the_key_of_a_row_that_never_came_to_be_is_given_again(
    command: Program, database: Database, write: Write, result: str, committed: bool
) -> None:
    """Gone right before the commit, or right after it: before what became of the rows was written down."""
    arguments = ("request", "import", write(*rows(20)), "--result", result, "--batch", "10", "--json")
    real = imports.write_batch

    async def last(*given: Any, **options: Any) -> Any:
        if committed:
            await real(*given, **options)
        raise Killed

    with patch.object(imports, "write_batch", last), pytest.raises(Killed):
        await command(*arguments)
    first = keys_in(result)
    assert len(first) == 10
    done = await command(*arguments)
    assert counts(done) == (some(created=10, unchanged=10) if committed else some(created=20))
    assert done.json()["keys_reused"] == (0 if committed else 10)
    assert await check_keys(database, result) == 20
    assert first.items() <= keys_in(result).items()
    labels = str(Path(result).with_suffix(".html"))
    assert (await command("request", "labels", result, "--output", labels, "--json")).json() == {
        "labels": 20, "pending": 0, "output": labels,
    }  # fmt: skip


@by_server
@pytest.mark.parametrize("cuts", [1, TRIES])
@pytest.mark.parametrize("committed", [False, True])
async def test_a_connection_that_dies_loses_no_key(
    command: Program, admin: Administration, database: Database, write: Write, result: str, committed: bool, cuts: int
) -> None:
    """Before the server did it, or after the commit and before its answer; once, or until the command gives up."""
    arguments = ("request", "import", write(*rows(20)), "--result", result, "--batch", "10", "--json")
    left = cuts

    @web.middleware
    async def cut(request: web.Request, handler: Any) -> web.StreamResponse:
        nonlocal left
        cutting = request.path.endswith("/imports/rows") and left > 0
        left -= cutting
        answer: web.StreamResponse = web.Response() if cutting and not committed else await handler(request)
        if cutting:
            assert request.transport is not None
            request.transport.abort()
        return answer

    gives_up = cuts == TRIES
    async with asked(admin, before=cut) as program:
        named = program.with_(PROVISION_ACCOUNT="acme")
        done = await named(*arguments, status=UNREACHABLE if gives_up else DONE)
    if gives_up:
        assert len(keys_in(result)) == 10
        done = await command(*arguments)
        assert done.json()["keys_reused"] == (0 if committed else 10)
    assert counts(done) == (some(created=10, unchanged=10) if committed else some(created=20))
    assert await check_keys(database, result) == 20
    assert all(len(given) == 1 for given in keys_in(result).values())
    sheet = (await BARE("request", "labels", result, "--output", f"{result}.html", "--json")).json()
    assert (sheet["labels"], sheet["pending"]) == (20, 0)


async def test_a_torn_last_line_is_repaired(command: Program, database: Database, write: Write, result: str) -> None:
    arguments = ("request", "import", write(*rows(4)), "--result", result, "--json")
    await command(*arguments)
    whole = held(result) or b""
    tear(result, b'{"line": 9, "client_id": "gw-9", "outco')
    assert counts(await command(*arguments)) == some(unchanged=4)
    assert held(result) == whole
    tear(result, whole[:20], truncate=True)
    await command(*arguments)
    assert (held(result) or b"").startswith(whole.splitlines(keepends=True)[0])


async def test_two_imports_do_not_share_a_result_file(command: Program, write: Write, result: str) -> None:
    arguments = ("request", "import", write(*rows(4)), "--result", result)
    real = imports.check_rows

    async def while_checking(*given: Any, **options: Any) -> Any:
        with patch.object(imports, "check_rows", real):
            assert "is in use" in (await command(*arguments, status=INVALID)).err
        return await real(*given, **options)

    with patch.object(imports, "check_rows", while_checking):
        await command(*arguments)


async def test_somebody_else_was_faster(command: Program, database: Database, write: Write, result: str) -> None:
    """Rows that were checked as new, and were written by somebody else before: their keys are void, and said to be."""
    arguments = ("request", "import", write(*rows(6)), "--batch", "3", "--json")
    real = imports.write_batch

    async def afterwards(*given: Any, **options: Any) -> Any:
        with patch.object(imports, "write_batch", real):
            await command(*arguments, "--result", result + ".other")
        return await real(*given, **options)

    with patch.object(imports, "write_batch", afterwards):
        assert counts(await command(*arguments, "--result", result)) == some(unchanged=6)
    assert await check_keys(database, result + ".other") == 6
    labels = str(Path(result).with_suffix(".svg"))
    done = await command("request", "labels", result, "--output", labels, "--json")
    assert done.json()["labels"] == 0


async def test_a_file_that_changes_while_it_is_read_is_refused(
    command: Program, database: Database, write: Write, result: str
) -> None:
    file = write(*rows(4))
    real = imports.check_rows

    async def meanwhile(*given: Any, **options: Any) -> Any:
        await asyncio.to_thread(write, *rows(5))
        return await real(*given, **options)

    with patch.object(imports, "check_rows", meanwhile):
        done = await command("request", "import", file, "--result", result, status=INVALID)
    assert "was written to" in done.err
    assert await database.value(COUNT) == 0
