"""Who may do what over the API, cell by cell; and that nobody sees or touches another account."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.api.routes import Route
from service.api.table import ROUTES
from service.core.access import OPERATIONS, Role, may
from service.operations import accounts, releases, tokens, users
from tests.support.api import Api, Reply, serving, token_of
from tests.support.database import PASSWORD, Database
from tests.support.scene import Scene

NEW_REQUEST = {"client_id": "new-1", "provision_username": "factory-new", "provision_password": PASSWORD}
IMPORT_ROW = {
    "line": 1,
    "given": ["enabled"],
    "client_id": "gw-import",
    "provision_username": "factory-import",
    "provision_password": PASSWORD,
    "activation_key": "a" * 32,
}
BODIES: dict[str, Any] = {
    "report_recovery": {"words": []},
    "revoke_again": {"words": []},
    "create_account": {"name": "third"},
    "change_account": {"mandatory_provisioning": False},
    "create_request": NEW_REQUEST,
    "change_request": {"maximum_attempts": 7},
    "release_device": {"to": "nobody"},
    "change_connection": {"allow_user_change": True},
    "create_user": {"name": "somebody"},
    "grant_user": {"permissions": ["broker:connect", "data:view"]},
    "rotate_credential": {"overlap_seconds": 60},
    "finish_credential_rotation": {"even_so": True},
    "watch_credential": {"wrong_keys": 5},
    "create_token": {"name": "made", "role": "auditor"},
    "create_platform_token": {"name": "made"},
    "create_broker": {"name": "other-broker", "role": "account"},
    "change_broker": {"endpoints": []},
    "serve_account": {"account": "acme"},
    "fit_checkpoint_lines": {"lines": []},
    "drop_events": {"before": "2020-01"},
    "check_import_rows": {"rows": [IMPORT_ROW]},
    "write_import_rows": {"rows": [IMPORT_ROW]},
}


@pytest.fixture
async def api(scene: Scene) -> AsyncIterator[Api]:
    await accounts.create_account(scene.admin, "globex")
    async with serving(scene.admin) as served:
        yield served


def fill(route: Route, **names: str) -> str:
    """The route's path with these names in it, and what nobody has for the others."""
    return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], "nobody-1"), route.path)


async def ask(api: Api, route: Route, **names: str) -> Reply:
    return await api(route.method, fill(route, **names), BODIES.get(route.name))


def test_the_table_has_each_route_once() -> None:
    assert sorted(route.name for route in ROUTES) == sorted(OPERATIONS)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert {route.name for route in ROUTES if route.body is not None} == set(BODIES)


def test_what_is_not_in_the_table_nobody_may() -> None:
    for role in Role:
        assert not may(role, "format_the_disk")
        assert may(role, "format_the_disk") == may(role, "")


@pytest.mark.parametrize("role", list(Role))
async def test_each_cell_of_the_table(api: Api, scene: Scene, role: Role) -> None:
    """403 where the table says no, and where it says yes whatever else comes of names that nobody has."""
    caller = api.as_(await token_of(scene.admin, role))
    for route in ROUTES:
        reply = await ask(caller, route, account="acme")
        assert (reply.status == 403) == (role not in OPERATIONS[route.name]), (route.name, reply.status)
        assert reply.status not in (401, 500), (route.name, reply.text)
        if route.name in ("revoke_token", "disable_account"):
            await scene.database.execute("UPDATE accounts SET enabled = true WHERE NOT enabled")


SECRET_WORDS = ("factory-gw-1", "activation_key", "configuration", "applications", "endpoint", "d-", "apn-canary")


async def test_a_deployment_operator_sees_progress_only(api: Api, scene: Scene) -> None:
    """Whether and when, and why not; never a credential, a key or a configuration."""
    configuration = {"org.example.Modem": {"apn": "apn-canary"}}
    wanted = {**NEW_REQUEST, "additional_device_configuration": configuration}
    await api("POST", "/accounts/acme/provision-requests", wanted)
    device = await scene.provision("gw-1")
    operator = api.as_(await token_of(scene.admin, Role.DEPLOYMENT_OPERATOR))
    for path in (
        "/accounts/acme/provision-requests",
        "/accounts/acme/provision-requests/gw-1",
        "/accounts/acme/provision-requests/gw-1/runs",
        "/accounts/acme/client-ids/gw-1/explain",
        "/accounts/acme/client-ids/new-1/explain",
    ):
        reply = await operator("GET", path)
        assert reply.status == 200
        assert not [word for word in (*SECRET_WORDS, device.username) if word in reply.text], reply.text
    shown = (await operator("GET", "/accounts/acme/provision-requests/gw-1")).document
    assert (shown["status"], shown["run"]["state"]) == ("PROVISIONED", "COMPLETED")
    explained = (await operator("GET", "/accounts/acme/client-ids/gw-1/explain")).document["items"]
    assert "confirmed" in {row["what"] for row in explained}


async def everything(database: Database) -> dict[str, list[str]]:
    """Every row of every table but what a look at the API may write."""
    tables = await database.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    left_out = {"api_tokens", "heartbeats"}
    return {
        name: [row[0] for row in await database.fetch(f"SELECT t::text FROM {name} t ORDER BY 1")]
        for (name,) in tables
        if name not in left_out
    }


async def test_two_accounts_are_apart(api: Api, scene: Scene) -> None:
    """Every route, every name of the other account: nothing is read, nothing is written, and the answers are equal."""
    await scene.provision("gw-1")
    await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    await tokens.create_token(scene.admin, "acme", "acme-token", role="auditor")
    await scene.request("gw-2")
    await releases.release_device(scene.admin, "acme", "gw-2", to="globex")
    theirs = {"client_id": "gw-1", "username": "ann", "token": "acme-token"}
    nobodys = {"client_id": "gw-9", "username": "ghost", "token": "nobodys-token"}
    await scene.request("gx-1", "globex")
    routes = [route for route in ROUTES if "{account}" in route.path]
    assert len(routes) > 30
    for role in (Role.ACCOUNT_ADMINISTRATOR, Role.DEVICE_MANAGER, Role.DEPLOYMENT_OPERATOR, Role.AUDITOR):
        stranger = api.as_(await token_of(scene.admin, role, "globex"))
        before = await everything(scene.database)
        for route in routes:
            foreign = await ask(stranger, route, account="acme", **theirs)
            missing = await ask(stranger, route, account="nosuch", **theirs)
            assert (foreign.status, foreign.text) == (missing.status, missing.text), route.name
            assert foreign.status in (403, 404)
            if "{client_id}" in route.path or "{username}" in route.path or "{token}" in route.path:
                inside = await ask(stranger, route, account="globex", **theirs)
                nowhere = await ask(stranger, route, account="globex", **nobodys)
                echoed = nowhere.text
                for name, own in nobodys.items():  # what was asked may be said again
                    echoed = echoed.replace(own, theirs[name])
                assert (inside.status, inside.text) == (nowhere.status, echoed), route.name
        assert await everything(scene.database) == before


async def test_filters_do_not_reach_another_account(api: Api, scene: Scene) -> None:
    await scene.provision("gw-1")
    await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    stranger = api.as_(await token_of(scene.admin, Role.ACCOUNT_ADMINISTRATOR, "globex"))
    for what, query in itertools.product(
        ("provision-requests", "devices", "events", "users", "releases"), ("", "?client_id=gw-1")
    ):
        reply = await stranger("GET", f"/accounts/globex/{what}{query}")
        assert reply.status == 200
        assert "gw-1" not in reply.text
        assert '"ann"' not in reply.text


async def test_tokens_are_good_for_what_they_say(api: Api, scene: Scene) -> None:
    """Shown once; no more after their time, their revocation, or while their account is disabled."""
    made = await api("POST", "/accounts/acme/tokens", {"name": "ci-1", "role": "auditor", "days": 1})
    token = made.document["token"]
    auditor = api.as_(token)
    path = "/accounts/acme/events"
    assert (await auditor("GET", path)).status == 200
    listed = await api("GET", "/accounts/acme/tokens")
    assert token not in listed.text
    assert listed.document["items"][0]["last_used_at"] is not None
    assert await scene.database.value("SELECT count(*) FROM api_tokens WHERE token_sha256 = $1", token.encode()) == 0
    await api("POST", "/accounts/acme/disable")
    assert (await auditor("GET", path)).status == 401
    await api("POST", "/accounts/acme/enable")
    assert (await auditor("GET", path)).status == 200
    await scene.database.execute("UPDATE api_tokens SET expires_on = now() WHERE name = 'ci-1'")
    assert (await auditor("GET", path)).status == 401
    assert (await api("DELETE", "/accounts/acme/tokens/ci-1")).status == 204
    assert (await api("DELETE", "/accounts/acme/tokens/ci-1")).status == 404
    wrong = await api("POST", "/accounts/acme/tokens", {"name": "x", "role": "platform_administrator", "days": 999})
    assert wrong.problems == {("name", "username"), ("role", "role"), ("days", "days")}


async def test_what_a_token_does_is_in_its_name(api: Api, scene: Scene) -> None:
    manager = api.as_(await token_of(scene.admin, Role.DEVICE_MANAGER))
    assert (await manager("POST", "/accounts/acme/provision-requests", NEW_REQUEST)).status == 201
    [event] = await scene.database.fetch("SELECT actor, source FROM events WHERE kind = 'request_created'")
    assert tuple(event) == ("token device_manager-acme", "api")


async def test_an_auditor_sees_that_an_event_is_gone(api: Api, scene: Scene) -> None:
    await scene.provision("gw-1")
    auditor = api.as_(await token_of(scene.admin, Role.AUDITOR))
    path = "/accounts/acme/events/verify"
    whole = (await auditor("GET", path)).document
    assert (whole["broken"], whole["named"]) == (0, [])
    assert whole["events"] > 5
    where = "client_id = 'gw-1' AND number = 2"
    await scene.database.execute(f"CREATE TABLE kept AS SELECT * FROM events WHERE {where}")
    await scene.database.execute(f"DELETE FROM events WHERE {where}")
    broken = (await auditor("GET", f"{path}?client_id=gw-1")).document
    [named] = broken["named"]
    assert (broken["broken"], named["client_id"], named["number"], named["fault"]) == (1, "gw-1", 2, "removed")
    assert (await auditor("GET", f"{path}?client_id=gw-9")).document["chains"] == 0
    await scene.database.execute("INSERT INTO events OVERRIDING SYSTEM VALUE SELECT * FROM kept")
    await scene.database.execute("DROP TABLE kept")
    assert (await auditor("GET", path)).document["broken"] == 0


async def test_too_many_wrong_tokens_from_an_address(api: Api, scene: Scene) -> None:
    """429 beyond a burst, by address; a right token is never held back, and no token at all is no guess."""
    wrong = api.as_("pt_" + "x" * 43)
    there = {"X_Forwarded_For": "192.0.2.1"}
    statuses = [(await wrong("GET", "/whoami", **there)).status for _ in range(25)]
    assert statuses[:20] == [401] * 20
    assert statuses[-1] == 429
    refused = await wrong("GET", "/whoami", **there)
    assert 1 <= int(refused.headers["Retry-After"]) <= 6
    assert refused.headers["Content-Type"] == "application/problem+json"
    for token in ("Basic abc", "Bearer x"):
        assert (await api.as_(None)("GET", "/whoami", Authorization=token, **there)).status == 429
    auditor = api.as_(await token_of(scene.admin, Role.AUDITOR))
    for right in (api, auditor):
        assert (await right("GET", "/whoami", **there)).status == 200
    assert (await auditor("GET", "/whoami", **there)).document == {
        "name": "auditor-acme", "role": "auditor", "account": "acme",
    }  # fmt: skip
    assert (await api.as_(None)("GET", "/whoami", **there)).status == 401
    assert (await wrong("GET", "/whoami", X_Forwarded_For="192.0.2.2")).status == 401
