"""
Where the embedded default keeps its things, and on which ports it listens.

As root the state lives in /var/lib, where Postgres' and Mosquitto's users can read it (a clone may sit in a folder of
mode 0700); `.run` in the clone links there. Otherwise `.run` is the folder itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded.processes import accepts

ROOT = Path(__file__).resolve().parent.parent
LINK = ROOT / ".run"
SYSTEM = Path("/var/lib/mosquitto-provisioning")

# Setting → default. Chosen at the first `make up` and kept from then on.
PORTS = {
    "UP_POSTGRES_PORT": 54329,
    "UP_PROVISION_PORT": 18831,
    "UP_ACCOUNT_PORT": 18832,
    "UP_PROVISION_TLS_PORT": 18883,
    "UP_ACCOUNT_TLS_PORT": 18884,
    "UP_HOOKS_PORT": 18081,
    "UP_HOOKS_METRICS_PORT": 18082,
    "UP_RESPONDER_METRICS_PORT": 18083,
    "UP_API_PORT": 18084,
    "UP_API_METRICS_PORT": 18085,
}


class CannotGoOn(Exception):
    """Something that the person has to change; the message says what."""


@dataclass(frozen=True)
class State:
    """Paths and ports of one embedded installation."""

    folder: Path
    ports: Mapping[str, int]

    @property
    def secrets(self) -> Path:
        """Keys, passwords and database URLs: a file each, for us alone."""
        return self.folder / "secrets"

    @property
    def processes(self) -> Path:
        """Logs and identities of what runs."""
        return self.folder / "processes"

    @property
    def mosquitto(self) -> Path:
        """What Mosquitto's user reads: plugin, configuration, its own secrets."""
        return self.folder / "mosquitto"

    @property
    def ca(self) -> Path:
        """The development CA: ca.pem for everybody, its key for us alone."""
        return self.folder / "ca"

    def certificates(self, role: str) -> Path:
        """A broker's certificate and key."""
        return self.mosquitto / f"{role}-tls"

    @property
    def environment(self) -> Path:
        """What a shell sources to use `provision`."""
        return self.folder / "env"

    def url(self, setting: str, path: str = "") -> str:
        """An HTTP address of ours."""
        return f"http://127.0.0.1:{self.ports[setting]}{path}"


def write_private(path: Path, text: str) -> None:
    """A file of mode 0600, whole or not there at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def folder_of(root: Path) -> Path:
    """The state's folder for a clone: its own for each, by its path."""
    if os.geteuid() != 0:
        return root / ".run"
    return SYSTEM / hashlib.sha256(str(root).encode()).hexdigest()[:12]


def find(root: Path = ROOT) -> State | None:
    """The state that an earlier `make up` made."""
    folder = folder_of(root)
    try:
        ports = json.loads((folder / "ports.json").read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    return State(folder, ports)


def make(environ: Mapping[str, str], root: Path = ROOT) -> State:
    """The state, made where there is none. Raises CannotGoOn, which names a setting that is wrong or a busy port."""
    found = find(root)
    if found is not None:
        _refuse_older(found)
        _refuse_other_ports(found, environ)
        return found
    ports = _ports(environ)
    folder = folder_of(root)
    folder.mkdir(parents=True, exist_ok=True)
    for part in (folder.parent if os.geteuid() == 0 else folder, folder):
        part.chmod(0o755)
    state = State(folder, ports)
    state.secrets.mkdir(mode=0o700, exist_ok=True)
    state.processes.mkdir(mode=0o700, exist_ok=True)
    state.mosquitto.mkdir(mode=0o755, exist_ok=True)
    (folder / "ports.json").write_text(json.dumps(ports), encoding="ascii")
    if folder != LINK:
        with contextlib.suppress(FileNotFoundError):
            (root / ".run").unlink()
        (root / ".run").symlink_to(folder)
    return state


def _ports(environ: Mapping[str, str]) -> dict[str, int]:
    ports: dict[str, int] = {}
    for setting, default in PORTS.items():
        text = environ.get(setting) or str(default)
        if not text.isdecimal() or not 1024 <= int(text) <= 65535:
            raise CannotGoOn(f"{setting} must be a port from 1024 to 65535, not {text!r}")
        ports[setting] = int(text)
    for setting, port in ports.items():
        if accepts(port):
            raise CannotGoOn(f"port {port} is in use: choose another one, such as `make up {setting}={port + 1000}`")
    if len(set(ports.values())) != len(ports):
        raise CannotGoOn(f"each of {', '.join(PORTS)} needs a port of its own")
    return ports


def _refuse_older(state: State) -> None:
    missing = [setting for setting in PORTS if setting not in state.ports]
    if missing:
        raise CannotGoOn(
            f"this installation was made by an older version, without {', '.join(missing)}: "
            "`make clean` forgets it (and everything), then `make up` again"
        )


def _refuse_other_ports(state: State, environ: Mapping[str, str]) -> None:
    for setting, port in state.ports.items():
        wanted = environ.get(setting)
        if wanted and wanted != str(port):
            raise CannotGoOn(f"{setting} is {port} since the first `make up`; `make clean` forgets it (and everything)")
