"""Programs that find another schema than theirs say which command to run, and end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from embedded.processes import free_port
from service.db.levels import files
from service.keys import new_key
from tests.integration.conftest import Blank

ROOT = Path(__file__).resolve().parents[2]
ALL = [path.stem for path in files()]
COMMANDS = (["hooks"], ["responder"], ["cli", "request", "list"])


def run(blank: Blank, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of ours on this database."""
    environment = {
        "PATH": "/usr/bin:/bin",
        **{
            f"PROVISION_{role.upper()}_DATABASE_URL": blank.url(role)
            for role in ("hooks", "responder", "admin", "platform")
        },
        "PROVISION_EVENT_KEY": new_key(),
        "PROVISION_DERIVATION_KEY": new_key(),
        "PROVISION_SEALING_KEYS": f"k1:{new_key()}",
        "PROVISION_PROVISION_BROKER": "mqtt://127.0.0.1:1",
        "PROVISION_RESPONDER_PASSWORD": "unused",
        **{f"PROVISION_{name}_PORT": str(free_port()) for name in ("HOOKS", "HOOKS_METRICS", "RESPONDER_METRICS")},
    }
    return subprocess.run(
        [sys.executable, "-m", "service", *command],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids="-".join)
def test_one_migration_back(blank: Blank, command: list[str]) -> None:
    blank.migrator().up(to=ALL[-2])
    done = run(blank, *command)
    assert done.returncode == 1
    assert (
        f"the database's schema is at {ALL[-2]}, this program needs {ALL[-1]}: run `python -m service migrate up`"
    ) in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_no_schema_at_all(blank: Blank) -> None:
    done = run(blank, "hooks")
    assert done.returncode == 1
    assert "schema is at nothing" in done.stderr
    assert "python -m service migrate up" in done.stderr


def test_a_later_schema(blank: Blank) -> None:
    blank.migrator().up()
    blank.fetch("CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql AS $$ SELECT '9999_later' $$")
    done = run(blank, "hooks")
    assert done.returncode == 1
    assert f"`python -m service migrate down --to {ALL[-1]}`" in done.stderr
