"""
A responder that dies by SIGKILL at a named point of its first ask: `python -m tests.support.crashing_responder POINT`.

    before_commit   the run is written, its transaction is not committed
    after_commit    committed, nothing published
    after_publish   the reply is with the broker, the ask is not acknowledged
"""

from __future__ import annotations

import asyncio
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


def crash_in_transaction(point: str) -> None:
    module: Any = cases
    original = module.transaction

    @asynccontextmanager
    async def transaction(pool: Pool, **options: Any) -> AsyncIterator[Connection]:
        async with original(pool, **options) as connection:
            yield connection
            if point == "before_commit":
                die()
        if point == "after_commit":
            die()

    module.transaction = transaction


def crash_after_publish() -> None:
    original = client.Connection.publish

    async def publish(self: client.Connection, *arguments: Any, **options: Any) -> None:
        await original(self, *arguments, **options)
        # The bytes are with the kernel, and the acknowledgement comes after this returns.
        die()

    client.Connection.publish = publish  # type: ignore[method-assign]


def main(point: str) -> None:
    if point == "after_publish":
        crash_after_publish()
    else:
        crash_in_transaction(point)
    log.configure("info")
    asyncio.run(ResponderProcess(ResponderSettings.from_env(os.environ)).run())


if __name__ == "__main__":
    main(sys.argv[1])
