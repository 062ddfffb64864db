"""`python -m embedded up | down | clean | logs | environment`: what the Makefile calls."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable

from embedded import services, state
from embedded.setup import console
from embedded.up import run as up
from embedded.up import step


def down() -> int:
    """End everything that runs, in the other order."""
    current = state.find()
    if current is None:
        console.print("nothing was started here")
        return 0
    for process in reversed(services.in_order(current)):
        with step(process.name) as done:
            done("stopped" if process.stop() else "did not run")
    with step("Postgres") as done:
        cluster = services.cluster(current)
        if cluster.exists() and cluster.is_running():
            cluster.stop()
            done("stopped")
        else:
            done("did not run")
    return 0


def clean() -> int:
    """`down`, and forget everything: databases, keys, secrets."""
    down()
    current = state.find()
    if current is not None:
        shutil.rmtree(current.folder)
        with contextlib.suppress(FileNotFoundError):
            if state.LINK.is_symlink():
                state.LINK.unlink()
        console.print(f"[green]✓[/] {current.folder} is gone")
    return 0


def logs() -> int:
    """Follow what every process writes, until interrupted."""
    current = state.find()
    if current is None:
        console.print("nothing was started here")
        return 1
    files = [str(path) for path in sorted(current.processes.glob("*.log"))]
    files.append(str(current.folder / "postgres" / "postgres.log"))
    with contextlib.suppress(KeyboardInterrupt):
        return subprocess.run(["tail", "-n", "20", "-F", *files], check=False).returncode
    return 0


def main() -> int:
    """Exit status."""
    commands: dict[str, Callable[[], int]] = {"up": up, "down": down, "clean": clean, "logs": logs}
    command = commands.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if command is None:
        print(__doc__, file=sys.stderr)
        return 2
    return command()


if __name__ == "__main__":
    sys.exit(main())
