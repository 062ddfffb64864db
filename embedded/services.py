"""
The processes of the embedded default: how each is started, and when it is ready.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from embedded import brokers, postgres, tls
from embedded.processes import Managed, accepts, answers
from embedded.state import ROOT, CannotGoOn, State

PLUGIN_SOURCE = ROOT / "mosquitto" / "plugin"
DATABASE = "provisioning"


def build_plugin(state: State) -> bool:
    """Build our plugin and put it where Mosquitto's user reads it; whether that changed anything."""
    done = subprocess.run(["make", "-s", "-C", str(PLUGIN_SOURCE), "all"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotGoOn(f"the plugin cannot be built:\n{done.stderr[-2000:]}")
    built, installed = PLUGIN_SOURCE / "build" / "provisioning.so", state.mosquitto / "provisioning.so"
    if installed.exists() and installed.read_bytes() == built.read_bytes():
        return False
    # A new file under the old name: a running broker keeps the one it has mapped.
    temporary = installed.with_suffix(".new")
    shutil.copy(built, temporary)
    temporary.chmod(0o644)
    temporary.replace(installed)
    return True


def cluster(state: State) -> postgres.Cluster:
    """The private Postgres."""
    return postgres.Cluster(
        folder=state.folder / "postgres",
        port=state.ports["UP_POSTGRES_PORT"],
        binaries=postgres.find_binaries(state.folder / "postgres-programs"),
    )


def environment(state: State) -> dict[str, str]:
    """Settings of all our processes. Secrets come from files, so none shows in a process list."""
    files = {
        f"PROVISION_{name.upper()}_DATABASE_URL_FILE": state.secrets / f"{name}-database-url"
        for name in ("migrator", "hooks", "responder", "admin", "platform")
    }
    files |= {
        "PROVISION_EVENT_KEY_FILE": state.secrets / "event-key",
        "PROVISION_DERIVATION_KEY_FILE": state.secrets / "derivation-key",
        "PROVISION_SEALING_KEYS_FILE": state.secrets / "sealing-keys",
        "PROVISION_RESPONDER_PASSWORD_FILE": state.secrets / "responder-password",
    }
    return {
        **{name: str(path) for name, path in files.items()},
        "PROVISION_HOOKS_PORT": str(state.ports["UP_HOOKS_PORT"]),
        "PROVISION_HOOKS_METRICS_PORT": str(state.ports["UP_HOOKS_METRICS_PORT"]),
        "PROVISION_API_PORT": str(state.ports["UP_API_PORT"]),
        "PROVISION_API_METRICS_PORT": str(state.ports["UP_API_METRICS_PORT"]),
        "PROVISION_RESPONDER_METRICS_PORT": str(state.ports["UP_RESPONDER_METRICS_PORT"]),
        "PROVISION_PROVISION_BROKER": f"mqtt://127.0.0.1:{state.ports['UP_PROVISION_PORT']}",
        "PROVISION_ACCOUNT_BROKERS": f"account-broker=mqtt://127.0.0.1:{state.ports['UP_ACCOUNT_PORT']}",
    }


def _python(state: State, name: str, ready: str) -> Managed:
    return Managed(
        name=name,
        command=[sys.executable, "-m", "service", name],
        folder=state.processes,
        environment={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **environment(state)},
        is_ready=lambda: answers(ready),
    )


def hooks(state: State) -> Managed:
    """The brokers' questions."""
    return _python(state, "hooks", state.url("UP_HOOKS_METRICS_PORT", "/readyz"))


def responder(state: State) -> Managed:
    """The devices' messages."""
    return _python(state, "responder", state.url("UP_RESPONDER_METRICS_PORT", "/readyz"))


def admin(state: State) -> Managed:
    """The administrators' API."""
    return _python(state, "admin", state.url("UP_API_METRICS_PORT", "/readyz"))


def broker(state: State, role: str) -> Managed:
    """One of the two brokers."""
    ports = [state.ports.get(f"UP_{role.upper()}_{kind}") for kind in ("PORT", "TLS_PORT")]
    return Managed(
        name=f"{role}-broker",
        command=[brokers.find_mosquitto(), "-c", str(state.mosquitto / f"{role}.conf")],
        folder=state.processes,
        environment={"PATH": "/usr/bin:/bin"},
        is_ready=lambda: all(accepts(port) for port in ports if port is not None),
    )


def in_order(state: State) -> list[Managed]:
    """All of ours, in the order they start: a broker whose hooks do not answer starts all the same."""
    return [hooks(state), broker(state, "provision"), broker(state, "account"), responder(state), admin(state)]


def write_broker_files(state: State, role: str, secret: str) -> None:
    """The shipped configuration, filled in, and the broker's secret, for Mosquitto's user alone."""
    secret_file = state.mosquitto / f"{role}.secret"
    brokers.write_private(secret_file, secret + "\n")
    words = {
        "PORT": str(state.ports[f"UP_{role.upper()}_PORT"]),
        "ADDRESS": "127.0.0.1",
        "TLS_PORT": str(state.ports[f"UP_{role.upper()}_TLS_PORT"]),
        "TLS_ADDRESS": "127.0.0.1",
        **tls.words(state.certificates(role)),
        "PLUGIN": str(state.mosquitto / "provisioning.so"),
        "HOOKS_URL": state.url("UP_HOOKS_PORT"),
        "BROKER": f"{role}-broker",
        "SECRET_FILE": str(secret_file),
    }
    brokers.write_private(state.mosquitto / f"{role}.conf", brokers.render(f"{role}.conf", words))


def write_environment(state: State) -> None:
    """What a shell sources: `. .run/env`."""
    lines = [f"export {name}={value!r}" for name, value in environment(state).items()]
    lines += [f"export PATH={str(ROOT / '.venv' / 'bin')!r}:$PATH", "export PROVISION_ACCOUNT='demo'"]
    state.environment.write_text("\n".join(lines) + "\n", encoding="utf-8")


def install_command() -> None:
    """`provision` beside the interpreter that has our packages."""
    path = Path(sys.executable).parent / "provision"
    text = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m service cli "$@"\n'
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
