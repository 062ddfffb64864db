"""
Our processes, that die by SIGKILL at a named point: `python -m tests.crash.dying hooks | responder | cli ...`.

A point is (operation or *, kind, moment, number): before or after a commit, a statement of its own, a publication, an
acknowledgement, a call to another process. It is read from the file that CRASH_FILE names, at each boundary, and the
file is gone before the process is: whoever is started again dies no second time. CRASH_SEEN names a file where each
boundary is noted once, with the place in the code that it was crossed at.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from gmqtt.mqtt.handler import MqttPackageHandler

from service.db import hooks as hook_store
from service.db import pool
from service.mqtt import client, listener, responder, takeover
from service.operations import administration, asks, cases, leak_watch, lifecycle, sweep

SERVICE = Path(pool.__file__).resolve().parents[1]
# Everybody who has `transaction` by name.
WITH_TRANSACTION: list[Any] = [administration, asks, cases, leak_watch, lifecycle, sweep]


class Reaper:
    """Who dies, and when."""

    def __init__(self) -> None:
        self._file = Path(os.environ["CRASH_FILE"])
        self._seen_file = Path(os.environ["CRASH_SEEN"])
        self._seen: set[str] = set()
        self._crossed: dict[str, int] = {}

    def cross(self, operation: str, kind: str, moment: str, place: str) -> None:
        """A boundary. Does not return where it is the one to die at."""
        line = f"{operation}, {kind}, {place}"
        if line not in self._seen:
            self._seen.add(line)
            with self._seen_file.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        try:
            wanted, _, number = self._file.read_text(encoding="utf-8").rpartition(", ")
        except FileNotFoundError:
            self._crossed.clear()
            return
        if wanted not in (f"{operation}, {kind}, {moment}", f"*, {kind}, {moment}"):
            return
        self._crossed[wanted] = self._crossed.get(wanted, 0) + 1
        if self._crossed[wanted] == int(number):
            self._file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def _place(frame: FrameType) -> str:
    """Such as operations/cases.py:open_case."""
    path = Path(frame.f_code.co_filename)
    return f"{path.relative_to(SERVICE)}:{frame.f_code.co_qualname}"


def _frames(frame: FrameType | None) -> list[FrameType]:
    """Ours, from the innermost to the outermost."""
    found = []
    while frame is not None:
        if Path(frame.f_code.co_filename).is_relative_to(SERVICE):
            found.append(frame)
        frame = frame.f_back
    return found


def _kind(of: listener.Listener, incoming: listener.Incoming) -> str:
    """A birth at an account broker is told apart from one that asks."""
    return f"life {incoming.kind}" if isinstance(of._desk, responder.AccountDesk) else incoming.kind


def _operation(frames: list[FrameType]) -> str:
    """The kind of message that is handled, or the outermost operation."""
    for frame in frames:
        if frame.f_code.co_qualname in ("Listener._handle", "Listener._settle"):
            return _kind(frame.f_locals["self"], frame.f_locals["incoming"])
    operations = [_place(frame) for frame in frames if _place(frame).startswith("operations/")]
    return operations[-1].removeprefix("operations/").replace(".py:", ".")


def watch_transactions(reaper: Reaper) -> None:
    """Before and after each COMMIT."""
    original = pool.transaction

    def transaction(of: Any, **options: Any) -> Any:
        frames = _frames(sys._getframe(1))
        return crossing(_operation(frames), _place(frames[0]), of, options)

    @asynccontextmanager
    async def crossing(operation: str, place: str, of: Any, options: Any) -> AsyncIterator[pool.Connection]:
        async with original(of, **options) as connection:
            yield connection
            reaper.cross(operation, "transaction", "before", place)
        reaper.cross(operation, "transaction", "after", place)

    for module in WITH_TRANSACTION:
        module.transaction = transaction


def watch_hook_statements(reaper: Reaper) -> None:
    """Each function that the hooks call is a transaction of its own."""
    original = hook_store.HookStore._fetch

    async def fetch(self: Any, name: str, *arguments: Any) -> Any:
        reaper.cross(name, "statement", "before", "db/hooks.py:HookStore._fetch")
        found = await original(self, name, *arguments)
        reaper.cross(name, "statement", "after", "db/hooks.py:HookStore._fetch")
        return found

    hook_store.HookStore._fetch = fetch  # type: ignore[method-assign]


def watch_messages(reaper: Reaper) -> None:
    """Publications and acknowledgements of the responder."""
    handle, publish = listener.Listener._handle, client.Connection.publish
    kinds: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    async def handling(self: Any, connection: Any, topic: str, payload: bytes) -> None:
        incoming = self._desk.read(topic)
        task = asyncio.current_task()
        assert task is not None
        if incoming is not None:
            kinds[task] = _kind(self, incoming)
        await handle(self, connection, topic, payload)

    async def publishing(self: Any, *arguments: Any, **options: Any) -> None:
        frames = _frames(sys._getframe(1))
        operation, place = _operation(frames), _place(frames[0])
        reaper.cross(operation, "publish", "before", place)
        await publish(self, *arguments, **options)
        reaper.cross(operation, "publish", "after", place)

    name = "_MqttPackageHandler__handle_publish_callback"
    acknowledge: Callable[..., None] = getattr(MqttPackageHandler, name)

    def acknowledging(self: Any, task: Any, **options: Any) -> None:
        kind = kinds.get(task)
        if kind is not None:
            reaper.cross(kind, "acknowledge", "before", "mqtt/client.py:Connection._listen")
        acknowledge(self, task, **options)
        if kind is not None:
            reaper.cross(kind, "acknowledge", "after", "mqtt/client.py:Connection._listen")

    listener.Listener._handle = handling  # type: ignore[method-assign]
    client.Connection.publish = publishing  # type: ignore[method-assign]
    setattr(MqttPackageHandler, name, acknowledging)


def watch_takeovers(reaper: Reaper) -> None:
    """A one-time password is made, and somebody logs in with it."""
    module: Any = takeover
    take_over, session = module.Takeovers._take_over, module.Session.open
    place = "mqtt/takeover.py:Takeovers._take_over"

    async def taking_over(self: Any, *arguments: Any) -> None:
        reaper.cross("takeover", "statement", "before", place)
        await take_over(self, *arguments)

    class Opening:
        @staticmethod
        async def open(*arguments: Any, **options: Any) -> Any:
            reaper.cross("takeover", "statement", "after", place)
            reaper.cross("takeover", "call", "before", place)
            opened = await session(*arguments, **options)
            reaper.cross("takeover", "call", "after", place)
            return opened

    module.Takeovers._take_over = taking_over
    module.Session = Opening


def watch_chores(reaper: Reaper) -> None:
    """What prunes tables has nothing to keep together: each statement is its own."""
    module: Any = sweep
    prune = module.prune

    async def pruning(*arguments: Any) -> None:
        reaper.cross("sweep.prune", "statement", "before", "operations/sweep.py:prune")
        await prune(*arguments)
        reaper.cross("sweep.prune", "statement", "after", "operations/sweep.py:prune")

    module.prune = pruning


def give_commands(run: Callable[[], int]) -> int:
    """
    Commands, one a line of JSON: {"arguments", "environment"}; each in a process of its own that is ready at once.

    Answers each with a line of JSON: {"status": that of the process, negative where a signal ended it, "out": text}.
    """
    for line in sys.stdin:
        command = json.loads(line)
        with tempfile.TemporaryFile() as out:
            child = os.fork()
            if child == 0:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
                os.environ.update(command["environment"])
                sys.argv = ["service", "cli", *command["arguments"]]
                _end(run)
            _, waited = os.waitpid(child, 0)
            out.seek(0)
            said = out.read().decode()
        print(json.dumps({"status": os.waitstatus_to_exitcode(waited), "out": said}), flush=True)
    return 0


def _end(run: Callable[[], int]) -> NoReturn:
    try:
        status = run()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> int:
    """As `python -m service`; `commands` gives many."""
    reaper = Reaper()
    for watch in (watch_transactions, watch_hook_statements, watch_messages, watch_takeovers, watch_chores):
        watch(reaper)
    # What happens once a minute, or every ten seconds, happens every second: nobody waits for it to die.
    responder.ResponderProcess.PRUNE_EVERY = responder.ResponderProcess.WATCH_EVERY = 1.0
    from service.__main__ import main as run
    from service.cli.main import main as _cli  # noqa: F401  (loaded once, for all commands)

    return give_commands(run) if sys.argv[1] == "commands" else run()


if __name__ == "__main__":
    sys.exit(main())
