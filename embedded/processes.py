"""
Processes that outlive the command that started them: begun, told apart from strangers with the same number, ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FREE_PORTS = range(12_000, 32_000)
_ports_left: list[int] = []


class DidNotStart(Exception):
    """A process ended, or was not ready in time; the message has the end of its log."""


def free_port() -> int:
    """
    A port that nothing listens on at this moment.

    From below those that the system gives to outgoing connections, any of which could take it before its user listens;
    by chance, so that others who look at the same time find another; and none twice, until all were given.
    """
    while True:
        if not _ports_left:
            _ports_left.extend(secrets.SystemRandom().sample(FREE_PORTS, len(FREE_PORTS)))
        port = _ports_left.pop()
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def answers(url: str) -> bool:
    """Whether an HTTP GET there gets 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  (our own address)
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a TCP connection there is accepted."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
        return True
    return False


def started_at(pid: int) -> str | None:
    """When a process began (in ticks since boot): with its number it is known for sure. None: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else rest[18]


@dataclass(kw_only=True)
class Managed:
    """One process. `folder` keeps its log and its identity; `is_ready` says when it does its work."""

    name: str
    command: Sequence[str]
    folder: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None

    @property
    def log(self) -> Path:
        """Its standard output and error."""
        return self.folder / f"{self.name}.log"

    @property
    def _identity(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def pid(self) -> int | None:
        """Its number while it runs."""
        try:
            known = json.loads(self._identity.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        return int(known["pid"]) if started_at(known["pid"]) == known["started_at"] else None

    def start(self) -> None:
        """Begin it and wait until it is ready. Raises DidNotStart."""
        self.begin()
        self.wait_ready()

    def begin(self) -> None:
        """Begin it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                list(self.command),
                cwd="/",
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user,
            )
        finally:
            os.close(handle)
        # We go by number and time of birth, as whoever stops it does not know this object.
        process.returncode = 0
        self._identity.write_text(json.dumps({"pid": process.pid, "started_at": started_at(process.pid)}))

    def wait_ready(self, patience: float = 30.0) -> None:
        """Wait until it does its work. Raises DidNotStart."""
        deadline = time.monotonic() + patience
        while not self.is_ready():
            if self.pid() is None or time.monotonic() > deadline:
                ended = "ended at once" if self.pid() is None else "is not ready"
                self.stop()
                raise DidNotStart(f"{self.name} {ended}:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        return ""

    def signal(self, number: int) -> bool:
        """Send a signal; False where it does not run."""
        pid = self.pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def stop(self, *, patience: float = 10.0) -> bool:
        """End it, in order if it can; False where it did not run."""
        pid = self.pid()
        if pid is None:
            self._identity.unlink(missing_ok=True)
            return False
        self.signal(signal.SIGTERM)
        if not self._gone(pid, patience):
            self.signal(signal.SIGKILL)
            self._gone(pid, patience)
        self._identity.unlink(missing_ok=True)
        return True

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone: a crash."""
        pid = self.pid()
        if pid is not None:
            self.signal(signal.SIGKILL)
            self._gone(pid, 10.0)

    def _gone(self, pid: int, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            with contextlib.suppress(ChildProcessError):  # reap it where it is our own child
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)
        return True
