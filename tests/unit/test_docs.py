"""Docs that say what the code says: every setting, reason, code and state is where readers look for it."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from embedded.state import PORTS
from service.cli import reference
from service.core import messages, states
from service.settings import AdministratorSettings, HooksSettings, MigrateSettings, ResponderSettings

ROOT = Path(__file__).resolve().parents[2]


def doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("settings", [HooksSettings, ResponderSettings, AdministratorSettings, MigrateSettings])
def test_every_setting_is_documented(settings: type[HooksSettings]) -> None:
    text = doc("settings.md")
    for field in dataclasses.fields(settings):
        row = next((line for line in text.splitlines() if f"`PROVISION_{field.name.upper()}`" in line), "")
        assert field.metadata["text"] in row, field.name
        if field.default not in (dataclasses.MISSING, ""):
            assert f"`{field.default}`" in row, field.name
        assert ("secret" in row.split("|")[3]) == field.metadata["secret"], field.name


def test_every_port_of_make_up_is_documented() -> None:
    assert all(f"`{name}`" in doc("settings.md") for name in PORTS)


def test_every_code_and_state_is_documented() -> None:
    protocol, life = doc("protocol.md"), doc("states.md")
    assert all(f"| `{code}` |" in protocol for code in messages.CODES)
    assert all(f"| `{state}` |" in protocol for state in messages.STATUS_STATES)
    assert all(state in life for state in (*states.RequestState, *states.RunState))


def reasons_in_code() -> set[str]:
    """Every `reason="..."`, and every Malformed("..."), of the core and the operations."""
    found: set[str] = set()
    for path in [*ROOT.glob("service/core/*.py"), *ROOT.glob("service/operations/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            values = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            if isinstance(node.func, ast.Name) and node.func.id in ("Malformed", "_Unreadable", "Verdict"):
                values += node.args
            found |= {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)}
    return found


def test_every_reason_is_documented() -> None:
    """Readers of `request explain` find each word in docs/access.md."""
    text = doc("access.md")
    undocumented = {reason for reason in reasons_in_code() if f"`{reason}`" not in text}
    assert undocumented == set()


def test_links_lead_somewhere() -> None:
    """Relative links in every page name a file or folder that is there."""
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("mosquitto/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_commands_are_the_documented_ones() -> None:
    assert doc("commands.md") == reference.render(), "run `make docs`"
