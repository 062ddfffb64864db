"""Docs that say what the code says: every setting, reason, code and state is where readers look for it."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest

from embedded.state import PORTS
from service.api import reference as roles
from service.cli import reference
from service.core import grants, kura_messages, lifecycle, messages, states, steps
from service.operations import devices
from service.settings import AdminSettings, HooksSettings, MigrateSettings, ResponderSettings

ROOT = Path(__file__).resolve().parents[2]


def doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("settings", [HooksSettings, ResponderSettings, AdminSettings, MigrateSettings])
def test_every_setting_is_documented(settings: type[HooksSettings]) -> None:
    text = doc("settings.md")
    for field in dataclasses.fields(settings):
        row = next((line for line in text.splitlines() if f"`PROVISION_{field.name.upper()}`" in line), "")
        assert field.metadata["text"] in row, field.name
        if field.default not in (dataclasses.MISSING, "", ()):
            assert f"`{field.default}`" in row, field.name
        assert ("secret" in row.split("|")[3]) == field.metadata["secret"], field.name


def test_the_roles_are_the_documented_ones() -> None:
    assert roles.with_table(doc("access.md")) == doc("access.md"), "run `make docs`"


def test_every_port_of_make_up_is_documented() -> None:
    assert all(f"`{name}`" in doc("settings.md") for name in PORTS)


def test_every_code_and_state_is_documented() -> None:
    protocol, life = doc("protocol.md"), doc("states.md")
    assert all(f"| `{code}` |" in protocol for code in messages.CODES)
    assert all(f"| `{state}` |" in protocol for state in messages.STATUS_STATES)
    assert all(state in life for state in (*states.RequestState, *states.RunState))
    assert all(state in life for state in (*steps.StepState, *devices.STATUSES, *lifecycle.Said))


def test_the_kura_wire_is_documented() -> None:
    """Every topic that is written or read, every metric that is sent, and every word that devices may use."""
    protocol = doc("protocol.md")
    application = {"name": "a", "version": "1", "url": "https://x/y", "sha256": "0" * 64, "size": 1}
    step = steps.Step(position=1, kind=steps.StepKind.APPLICATION, state=steps.StepState.SENT, request_id="r", job_id=1)
    requests = (
        kura_messages.download_request("{p}", "{c}", step, application),
        kura_messages.ca_request("{p}", "{c}", step, "PEM", kura_messages.KEYSTORE),
        kura_messages.configuration_request("{p}", "{c}", step, b""),
    )
    for request in requests:
        assert f"| `{request.topic}` | platform |" in protocol
        assert all(f"`{metric}`" in protocol for metric in request.metrics)
    assert all(f"`{word}`" in protocol for word in json.loads(requests[1].body))
    for word in (*steps.COMPLETED - {"ALREADY_DONE"}, *steps.FAILED, "IN_PROGRESS"):
        assert f"`{word}`" in protocol
    for metric in ("activationKey", "username", "password", "provisioningCertificateVersion"):
        assert f"| `{metric}` |" in protocol
    for kind in ("PROV", "BIRTH", "REPLY", "NOTIFY"):
        assert kind in protocol


def test_every_grant_is_documented() -> None:
    """As it stands in docs/access.md, whoever holds it."""
    access = doc("access.md")
    held = [
        *grants.provision_grants("{c}", "{p}"),
        *grants.account_grants("{a}", "{c}", ["broker:connect"]),
        *grants.account_grants("{a}", "{c}", ["broker:connect"], narrow_reply=True),
        *grants.service_grants("~responder", "{p}", broker_role="provision"),
    ]
    for grant in held:
        written = grant.filter.removesuffix("#") if grant.filter in ("$EDC/{a}/{c}/#", "{a}/{c}/#") else grant.filter
        reads_it = grant.filter.startswith(("prov/v1/+/re", "prov/v1/+/st", "$EDC/{p}/+/"))
        assert f"`{written}`" in access or (reads_it and grant.accesses == grants.READ_AND_SUBSCRIBE), grant.filter


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
