"""The machine that figures are from: what matters to them, and nothing that tells whose it is."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from embedded import brokers
from embedded.postgres import find_binaries


def _cpu_model() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    kibibytes = int(Path("/proc/meminfo").read_text().partition("MemTotal:")[2].split()[0])
    return f"{round(kibibytes / 1024 / 1024)} GiB"


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def describe() -> dict[str, str]:
    """Cores, CPU, memory, kernel, versions."""
    postgres = _said(str(find_binaries() / "postgres"), "--version")
    return {
        "cores": str(os.cpu_count()),
        "CPU": _cpu_model(),
        "memory": _memory(),
        "kernel": platform.release().partition("-")[0],
        "Mosquitto": _said(brokers.find_mosquitto(), "-h").removeprefix("mosquitto version "),
        "Postgres": postgres.partition("(PostgreSQL) ")[2].partition(" ")[0],
        "Python": platform.python_version(),
    }
