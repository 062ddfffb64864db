"""Provision requests over the administrators' API: their whole life, versions, keys of creations, lists."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service import keys
from service.operations import accounts
from tests.support.api import Api, serving
from tests.support.database import PASSWORD
from tests.support.scene import Scene

REQUESTS = "/accounts/acme/provision-requests"


@pytest.fixture
async def api(scene: Scene) -> AsyncIterator[Api]:
    async with serving(scene.admin) as served:
        yield served


def body(client_id: str = "gw-1", **changes: object) -> dict[str, object]:
    return {
        "client_id": client_id,
        "provision_username": f"factory-{client_id}".replace(".", "-").replace(":", "-"),
        "provision_password": PASSWORD,
        **changes,
    }


async def test_the_life_of_a_request(api: Api, scene: Scene) -> None:
    """Created, changed, disabled, enabled, previewed, explained, deleted; the key is shown once."""
    made = await api("POST", REQUESTS, body(generate_activation_key=True))
    assert made.status == 201
    key = made.document["activation_key_shown_once"]
    stored = await scene.database.value("SELECT activation_key_sha256 FROM provision_requests")
    assert keys.matches(stored, keys.ACTIVATION_KEY, key)
    shown = await api("GET", f"{REQUESTS}/gw-1")
    assert (shown.status, shown.document["activation_key"], shown.document["status"]) == (200, True, "OPEN")
    assert key not in shown.text
    assert PASSWORD not in shown.text
    changed = await api("PATCH", f"{REQUESTS}/gw-1", {"maximum_attempts": 9, "remove_activation_key": True})
    assert (changed.status, changed.document["maximum_attempts"], changed.document["activation_key"]) == (200, 9, False)
    assert (await api("POST", f"{REQUESTS}/gw-1/disable")).document["status"] == "DISABLED"
    assert (await api("POST", f"{REQUESTS}/gw-1/enable")).document["status"] == "OPEN"
    preview = await api("GET", f"{REQUESTS}/gw-1/preview?wire=kura")
    assert preview.document["answer"].startswith("<?xml")
    explained = (await api("GET", "/accounts/acme/client-ids/gw-1/explain")).document["items"]
    assert {(row["what"], row["by"]) for row in explained} >= {("request_created", "token root")}
    assert (await api("POST", f"{REQUESTS}/gw-1/stop")).problems == {("state", "not_running")}
    assert (await api("POST", f"{REQUESTS}/gw-1/reopen")).status == 409
    gone = await api("DELETE", f"{REQUESTS}/gw-1")
    assert (gone.status, gone.text) == (204, "")
    assert (await api("GET", f"{REQUESTS}/gw-1")).status == 404


async def test_every_problem_at_once(api: Api, scene: Scene) -> None:
    """Of the page's rules together, and nothing is made."""
    wrong = body("a b", provision_password="PassWord-", provision_username="x", maximum_attempts=0)
    refused = await api("POST", REQUESTS, wrong)
    assert refused.status == 422
    assert {field for field, _ in refused.problems} == {
        "client_id", "provision_password", "provision_username", "maximum_attempts"
    }  # fmt: skip
    assert "PassWord-" not in refused.text
    assert await scene.database.value("SELECT count(*) FROM provision_requests") == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b'{"client_id": "a", "client_id": "b"}', 400),
        (b"[]", 422),
        (b'{"client_id": 5}', 422),
        (b'{"surprise": 1}', 422),
        (b"[" * 100_000, 400),
        (b'{"client_id": "' + b"x" * 3_000_000 + b'"}', 413),
    ],
)
async def test_a_body_that_is_not_understood(api: Api, data: bytes, status: int) -> None:
    reply = await api("POST", REQUESTS, data)
    assert reply.status == status
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.document["status"] == status


async def test_what_else_is_a_problem_document(api: Api) -> None:
    assert (await api("GET", "/nothing")).status == 404
    refused = await api("PUT", REQUESTS)
    assert (refused.status, refused.headers["Allow"]) == (405, "GET,POST")
    assert (await api("POST", REQUESTS, b"client_id=x", Content_Type="text/plain")).status == 415
    assert (await api("GET", f"{REQUESTS}?surprise=1")).problems == {("surprise", "type")}
    assert (await api("GET", f"{REQUESTS}?limit=0")).status == 422
    assert (await api("GET", f"{REQUESTS}?sort=password")).problems == {("sort", "sort")}
    assert (await api("GET", f"{REQUESTS}?after=x")).problems == {("after", "after")}
    assert (await api("GET", f"{REQUESTS}?text=%00")).status == 400
    assert (await api.as_(None)("GET", REQUESTS)).headers["WWW-Authenticate"] == "Bearer"
    assert (await api.as_("pt_" + "x" * 43)("GET", REQUESTS)).status == 401
    assert (await api("GET", "/openapi.json")).document["openapi"] == "3.1.0"


async def test_a_client_id_may_hold_any_character_it_may(api: Api) -> None:
    assert (await api("POST", REQUESTS, body("00:ab.c_D-1"))).status == 201
    assert (await api("GET", f"{REQUESTS}/00%3Aab.c_D-1")).document["client_id"] == "00:ab.c_D-1"
    assert (await api("GET", f"{REQUESTS}/00:ab.c_D-1")).status == 200


async def test_a_change_of_what_somebody_else_changed(api: Api) -> None:
    """The ETag of the look before; `*` and none are taken as they come."""
    tag = (await api("POST", REQUESTS, body())).headers["ETag"]
    path = f"{REQUESTS}/gw-1"
    changed = await api("PATCH", path, {"maximum_attempts": 9}, If_Match=tag)
    assert changed.status == 200
    assert changed.headers["ETag"] != tag
    for call in (
        api("PATCH", path, {"maximum_attempts": 3}, If_Match=tag),
        api("PATCH", path, {"maximum_attempts": 3}, If_Match="W/x"),
        api("POST", f"{path}/disable", If_Match=tag),
        api("DELETE", path, If_Match=tag),
    ):
        assert (await call).status == 412
    assert (await api("GET", path)).document["maximum_attempts"] == 9
    assert (await api("PATCH", path, {"applications": []}, If_Match=changed.headers["ETag"])).status == 200
    assert (await api("PATCH", path, {"maximum_attempts": 4}, If_Match="*")).status == 200


async def test_ten_changes_at_once_on_one_look(api: Api) -> None:
    """One is made, nine are told."""
    tag = (await api("POST", REQUESTS, body())).headers["ETag"]
    calls = [api("PATCH", f"{REQUESTS}/gw-1", {"maximum_attempts": 10 + n}, If_Match=tag) for n in range(10)]
    statuses = sorted(reply.status for reply in await asyncio.gather(*calls))
    assert statuses == [200] + [412] * 9


async def test_a_creation_is_done_once(api: Api, scene: Scene) -> None:
    """Ten times at once, and again later: one request, and the key is shown once."""
    wanted = body(generate_activation_key=True)
    replies = await asyncio.gather(*(api("POST", REQUESTS, wanted, Idempotency_Key="k1") for _ in range(10)))
    assert {reply.status for reply in replies} == {201}
    shown = [reply for reply in replies if "activation_key_shown_once" in reply.document]
    assert len(shown) == 1
    assert [reply.headers.get("Idempotency-Replayed") for reply in replies].count("true") == 9
    again = await api("POST", REQUESTS, wanted, Idempotency_Key="k1")
    assert (again.status, again.document["client_id"]) == (201, "gw-1")
    assert shown[0].document["activation_key_shown_once"] not in again.text
    assert await scene.database.value("SELECT count(*) FROM provision_requests") == 1
    other = await api("POST", REQUESTS, body("gw-2"), Idempotency_Key="k1")
    assert other.status == 409
    assert (await api("POST", REQUESTS, body("gw-2"), Idempotency_Key="")).status == 400
    refused = await api("POST", REQUESTS, body("gw-3", maximum_attempts=0), Idempotency_Key="k2")
    assert refused.status == 422
    assert (await api("POST", REQUESTS, body("gw-3"), Idempotency_Key="k2")).status == 201


async def test_lists_are_filtered_and_paged(api: Api, scene: Scene) -> None:
    """Every combination; the pages together are the list, in its order."""
    for number in range(7):
        changes = {"enabled": number % 2 == 0, "provision_username": "fleet" if number < 3 else f"f-{number}"}
        assert (await api("POST", REQUESTS, body(f"gw-{number}", **changes))).status == 201

    async def ids(query: str) -> list[str]:
        reply = await api("GET", f"{REQUESTS}?{query}")
        assert reply.status == 200, reply.text
        return [row["client_id"] for row in reply.document["items"]]

    every = [f"gw-{number}" for number in range(7)]
    assert await ids("") == every
    assert await ids("sort=-client_id") == every[::-1]
    assert await ids("status=DISABLED") == every[1::2]
    assert await ids("status=DISABLED&status=OPEN&client_id=gw-1&client_id=gw-2") == ["gw-1", "gw-2"]
    assert await ids("text=FLEET") == every[:3]
    assert await ids("text=%25") == []
    moment = await scene.database.value("SELECT created_at FROM provision_requests WHERE client_id = 'gw-4'")
    since = moment.isoformat().replace("+", "%2B")
    assert await ids(f"since={since}&status=OPEN") == ["gw-4", "gw-6"]
    assert await ids(f"until={since}") == every[:4]
    for sort in ("client_id", "-client_id", "created_at", "-created_at", "-modified_at"):
        found: list[str] = []
        after = ""
        while True:
            page = (await api("GET", f"{REQUESTS}?limit=3&sort={sort}{after}")).document
            assert len(page["items"]) <= 3
            found += [row["client_id"] for row in page["items"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert sorted(found) == every
        assert found == await ids(f"sort={sort}")
    assert (await api("GET", f"{REQUESTS}?status=GONE")).problems == {("status", "status")}


async def test_a_list_says_the_words_that_the_page_says(api: Api, scene: Scene) -> None:
    """The list's SQL and core's shown_status agree on every status."""
    await scene.provision("gw-1")
    await scene.run("gw-2")
    await scene.abandon("gw-3")
    await api("POST", REQUESTS, body("gw-4", enabled=False))
    await api("POST", REQUESTS, body("gw-5", activates_on="2999-01-01T00:00:00Z"))
    await api("POST", REQUESTS, body("gw-6"))
    await scene.database.execute(
        "UPDATE provision_requests SET activates_on = now() - interval '2 days', expires_on = now() - interval '1 day' "
        "WHERE client_id = 'gw-6'"
    )
    await api("POST", REQUESTS, body("gw-7"))
    listed = {row["client_id"]: row["status"] for row in (await api("GET", REQUESTS)).document["items"]}
    assert listed == {
        "gw-1": "PROVISIONED", "gw-2": "RUNNING", "gw-3": "ABANDONED", "gw-4": "DISABLED", "gw-5": "SCHEDULED",
        "gw-6": "EXPIRED", "gw-7": "OPEN",
    }  # fmt: skip
    for client_id, status in listed.items():
        assert (await api("GET", f"{REQUESTS}/{client_id}")).document["status"] == status
        [same] = (await api("GET", f"{REQUESTS}?status={status}")).document["items"]
        assert same["client_id"] == client_id


async def test_explain_by_period_and_by_correlation_id(api: Api, scene: Scene) -> None:
    """The part that is asked for; a device's correlation id leads to the reason."""
    device = await scene.request("gw-1", generate_activation_key=True)
    refused = await scene.ask(device, activation_key="wrong")
    path = "/accounts/acme/client-ids/gw-1/explain"
    every = (await api("GET", path)).document["items"]
    assert [row["what"] for row in (await api("GET", f"{path}?until={every[0]['at']}")).document["items"]] == []
    newest = (await api("GET", f"{path}?limit=1")).document["items"]
    assert every[-1]["what"] in {row["what"] for row in newest}
    assert (await api("GET", f"{path}?limit=0")).status == 422
    by_id = f"/accounts/acme/correlation-ids/{refused['correlation_id']}/explain"
    [row] = (await api("GET", by_id)).document["items"]
    assert row["reason"] == "wrong_activation_key"
    assert (await api("GET", "/accounts/acme/correlation-ids/nobodys/explain")).document["items"] == []


async def test_runs_with_their_states_and_times(api: Api, scene: Scene) -> None:
    await scene.provision("gw-1")
    [run] = (await api("GET", f"{REQUESTS}/gw-1/runs")).document["items"]
    assert (run["number"], run["state"], run["wire"]) == (1, "COMPLETED", "json")
    assert (await api("GET", f"{REQUESTS}/gw-9/runs")).status == 404


async def test_the_docs_lines_by_curl(scene: Scene, tmp_path: Path) -> None:
    """docs/api.md, copied and pasted into a shell: the whole life of a request."""
    await accounts.create_account(scene.admin, "demo")
    async with serving(scene.admin) as api:
        assert api.token is not None
        (tmp_path / "platform-token").write_text(f"{api.token}\n")
        (tmp_path / ".run").mkdir()
        (tmp_path / ".run" / "env").write_text(f"export PROVISION_EVENT_KEY_FILE={tmp_path}/event-key\n")
        text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
        lines = text.partition("```sh\n")[2].partition("```")[0]
        assert "http://127.0.0.1:18084/api/v1" in lines
        script = lines.replace("http://127.0.0.1:18084/api/v1", api.url)
        process = await asyncio.create_subprocess_exec(
            "bash", "-e", "-c", script, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode() + out.decode()[-2000:]
    assert sorted(os.listdir(tmp_path)) == [".run", "platform-token"]
    kinds = await scene.kinds("api-device")
    assert kinds == ["request_created", "request_changed", "request_disabled", "request_enabled", "request_deleted"]


async def test_a_nul_is_refused_by_name(api: Api) -> None:
    """Postgres stores none (found by the fuzzer: it was a 500)."""
    refused = await api("POST", "/accounts", {"name": "third", "brokers": ["account\0broker"]})
    assert refused.status == 422
    assert "brokers" in refused.text
