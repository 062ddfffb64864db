"""
A responder that dies by SIGKILL at a named point: `python -m tests.support.crashing_responder POINT [N]`, of its N-th
message, or publication (default: the first).

    before_commit   the run is written, its transaction is not committed
    after_commit    committed, nothing published
    after_publish   the reply is with the broker, the ask is not acknowledged
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from service import log
from service.db.pool import Connection, Pool
from service.mqtt import client
from service.mqtt.responder import ResponderProcess
from service.operations import cases
from service.settings import ResponderSettings


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_in_transaction(point: str, number: int) -> None:
    module: Any = cases
    original = module.transaction
    count = itertools.count(1)

    @asynccontextmanager
    async def transaction(pool: Pool, **options: Any) -> AsyncIterator[Connection]:
        last = next(count) == number
        async with original(pool, **options) as connection:
            yield connection
            if last and point == "before_commit":
                die()
        if last and point == "after_commit":
            die()

    module.transaction = transaction


def crash_after_publish(number: int) -> None:
    original = client.Connection.publish
    count = itertools.count(1)

    async def publish(self: client.Connection, *arguments: Any, **options: Any) -> None:
        await original(self, *arguments, **options)
        # The bytes are with the kernel, and the acknowledgement comes after this returns.
        if next(count) == number:
            die()

    client.Connection.publish = publish  # type: ignore[method-assign]


def main(point: str, number: int) -> None:
    if point == "after_publish":
        crash_after_publish(number)
    else:
        crash_in_transaction(point, number)
    log.configure("info")
    asyncio.run(ResponderProcess(ResponderSettings.from_env(os.environ)).run())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
