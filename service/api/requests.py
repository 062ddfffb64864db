"""Provision requests: everything that `provision request` does."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import UNSET

from service import configuration_file
from service.api.accounts import ACCOUNT
from service.api.documents import ExplainQuery, NewRequestBody, PreviewQuery, RequestChanges, RequestsQuery
from service.api.listing import list_page
from service.api.routes import Call, Route
from service.core import device_config
from service.core.preview import WIRES, differences
from service.core.problems import InvalidInput, NotFound, Problem
from service.core.requests import Changes, NewRequest
from service.operations import explain, moves, preview, requests, runs_list
from service.operations.administration import Administration
from service.operations.explain import Period

REQUESTS = f"{ACCOUNT}/provision-requests"
REQUEST = f"{REQUESTS}/{{client_id}}"
STATUSES = ("PROVISIONED", "RUNNING", "ABANDONED", "DISABLED", "EXPIRED", "SCHEDULED", "OPEN")

# What whoever follows a deployment sees of a request: whether and when, never what the device is given.
PROGRESS = (
    "account", "client_id", "status", "state", "enabled", "activates_on", "expires_on", "attempts", "maximum_attempts",
    "created_at", "modified_at", "version",
)  # fmt: skip
RUN_PROGRESS = ("number", "state", "wire", "created_at", "ended_at", "failure", "confirm_by")


def _cut(document: dict[str, Any], call: Call) -> dict[str, Any]:
    if not call.reduced:
        return document
    run = document["run"]
    shown = {name: document[name] for name in PROGRESS}
    return {**shown, "run": {name: run[name] for name in RUN_PROGRESS} if run is not None else None}


def _from_list(row: dict[str, Any]) -> dict[str, Any]:
    """As the page shows one, less configuration and applications, which a list has no room for."""
    run = {name.removeprefix("run_"): row.pop(name) for name in list(row) if name.startswith("run_")}
    run["confirm_by"] = row.pop("confirm_by")
    return {**row, "run": run if run["number"] is not None else None}


async def _list(admin: Administration, call: Call) -> Any:
    query: RequestsQuery = call.query
    page = await list_page(admin, call, "requests", lambda row: _cut(_from_list(row), call), statuses=STATUSES)
    if not query.whole or call.reduced:
        return page
    names = [row["client_id"] for row in page["items"]]
    rows = await requests.list_requests(admin, call.path.get("account"), names)
    found = {(row["account"], row["client_id"]): row for row in rows}
    # One that was deleted meanwhile is left out.
    kept = [found[key] for row in page["items"] if (key := (row["account"], row["client_id"])) in found]
    return {**page, "items": kept}


async def _show(admin: Administration, call: Call, client_id: str | None = None) -> dict[str, Any]:
    name = client_id or call.path["client_id"]
    rows = await requests.list_requests(admin, call.path["account"], [name])
    if not rows:
        raise NotFound("client_id", f"there is no provision request for {name!r}")
    return _cut(rows[0], call)


def _configuration(given: Any) -> Any:
    """An object as JSON has it, or a file's text: Kura's XML. Raises InvalidInput."""
    if isinstance(given, str):
        configuration, problems = configuration_file.read(given.encode("utf-8", "surrogatepass"))
    else:
        configuration, problems = device_config.parse(json.dumps(given))
    if problems:
        raise InvalidInput(problems)
    return configuration


async def _create(admin: Administration, call: Call) -> Any:
    body: NewRequestBody = call.body
    values = msgspec.structs.asdict(body)
    values["additional_device_configuration"] = _configuration(body.additional_device_configuration)
    created = await requests.create_request(admin, call.path["account"], NewRequest(**values))
    return {
        **await _show(admin, call, body.client_id), "activation_key_shown_once": created.activation_key,
        "notices": created.notices,
    }  # fmt: skip


async def _change(admin: Administration, call: Call) -> Any:
    given = {name: value for name, value in msgspec.structs.asdict(call.body).items() if value is not UNSET}
    if "additional_device_configuration" in given:
        given["additional_device_configuration"] = _configuration(given["additional_device_configuration"])
    changed = await requests.change_request(admin, call.path["account"], call.path["client_id"], Changes(**given))
    return {**await _show(admin, call), "activation_key_shown_once": changed.activation_key, "notices": changed.notices}


async def _enable(admin: Administration, call: Call) -> Any:
    await moves.set_enabled(admin, call.path["account"], call.path["client_id"], enabled=True)
    return await _show(admin, call)


async def _disable(admin: Administration, call: Call) -> Any:
    await moves.set_enabled(admin, call.path["account"], call.path["client_id"], enabled=False)
    return await _show(admin, call)


async def _stop(admin: Administration, call: Call) -> Any:
    await moves.stop_request(admin, call.path["account"], call.path["client_id"])
    return await _show(admin, call)


async def _reopen(admin: Administration, call: Call) -> Any:
    deleted = await moves.reopen_request(admin, call.path["account"], call.path["client_id"])
    return {**await _show(admin, call), "deleted_users": deleted}


async def _delete(admin: Administration, call: Call) -> Any:
    await moves.delete_request(admin, call.path["account"], call.path["client_id"])
    return None


async def _preview(admin: Administration, call: Call) -> Any:
    query: PreviewQuery = call.query
    if query.wire not in WIRES:
        raise InvalidInput([Problem(field="wire", rule="wire", text=f"must be one of {', '.join(WIRES)}")])
    account = call.path["account"]
    made = await preview.preview_request(admin, account, call.path["client_id"], wire=query.wire)
    if query.diff is None:
        return preview.as_document(made)
    if call.caller.account is not None and query.diff_account not in (None, account):
        raise NotFound("diff_account", "is another account")
    other = await preview.preview_request(admin, query.diff_account or account, query.diff, wire=query.wire)
    differ, untold = differences(made.preview, other.preview)
    return {
        "account": account,
        "client_id": call.path["client_id"],
        "wire": query.wire,
        "other": query.diff,
        "differences": [vars(difference) for difference in differ],
        "secret_on_both_sides": [{"component": component, "parameter": parameter} for component, parameter in untold],
    }


async def _explain(admin: Administration, call: Call) -> Any:
    account, period = call.path.get("account"), _period(call.query)
    return {"items": await explain.explain(admin, call.path["client_id"], account, period, reduced=call.reduced)}


async def _explain_correlation(admin: Administration, call: Call) -> Any:
    account, period = call.path.get("account"), _period(call.query)
    rows = await explain.explain_correlation_id(
        admin, call.path["correlation_id"], account, period, reduced=call.reduced
    )
    return {"items": rows}


def _period(query: ExplainQuery) -> Period:
    return Period(since=query.since, until=query.until, limit=query.limit)


async def _runs(admin: Administration, call: Call) -> Any:
    rows = await runs_list.list_runs(admin, call.path["account"], call.path["client_id"])
    if call.reduced:
        rows = [{name: row[name] for name in (*RUN_PROGRESS, "states", "steps")} for row in rows]
    return {"items": rows}


def _move(name: str, word: str, summary: str, run: Any) -> Route:
    return Route(name=name, method="POST", path=f"{REQUEST}/{word}", summary=summary, run=run, versioned=True)


ROUTES = (
    Route(
        name="list_requests",
        method="GET",
        path=REQUESTS,
        summary="Provision requests, by period, client ids, statuses and text, a page at a time",
        run=_list,
        query=RequestsQuery,
    ),
    Route(
        name="list_all_requests",
        method="GET",
        path="/provision-requests",
        summary="Provision requests of all accounts, as list_requests",
        run=_list,
        query=RequestsQuery,
    ),
    Route(
        name="create_request",
        method="POST",
        path=REQUESTS,
        summary="Create a provision request; its activation key is shown this once",
        run=_create,
        body=NewRequestBody,
        status=201,
        made=f"{REQUESTS}/{{client_id}}",
        shown_once="activation_key_shown_once",
    ),
    Route(name="show_request", method="GET", path=REQUEST, summary="One request with its last run", run=_show),
    Route(
        name="change_request",
        method="PATCH",
        path=REQUEST,
        summary="Change what may be changed",
        run=_change,
        body=RequestChanges,
        versioned=True,
    ),
    Route(
        name="delete_request",
        method="DELETE",
        path=REQUEST,
        summary="Delete a request that is not RUNNING",
        run=_delete,
        status=204,
        versioned=True,
    ),
    _move("enable_request", "enable", "Let the device connect to the provision broker again", _enable),
    _move("disable_request", "disable", "Refuse the factory login, and stop a run", _disable),
    _move("stop_request", "stop", "Stop the run under way; the request is OPEN and disabled", _stop),
    _move("reopen_request", "reopen", "OPEN again; the generated user goes in the same step", _reopen),
    Route(
        name="preview_request",
        method="GET",
        path=f"{REQUEST}/preview",
        summary="What the device would be sent, secrets as ***",
        run=_preview,
        query=PreviewQuery,
    ),
    Route(
        name="list_runs", method="GET", path=f"{REQUEST}/runs", summary="Runs with their states and times", run=_runs
    ),
    Route(
        name="explain",
        method="GET",
        path=f"{ACCOUNT}/client-ids/{{client_id}}/explain",
        summary="Why a client id is where it is, also one that no request knows",
        run=_explain,
        query=ExplainQuery,
    ),
    Route(
        name="explain_correlation_id",
        method="GET",
        path=f"{ACCOUNT}/correlation-ids/{{correlation_id}}/explain",
        summary="What a refused device's correlation id stands for",
        run=_explain_correlation,
        query=ExplainQuery,
    ),
    Route(
        name="explain_anywhere",
        method="GET",
        path="/client-ids/{client_id}/explain",
        summary="Why a client id is where it is, in whatever account",
        run=_explain,
        query=ExplainQuery,
    ),
    Route(
        name="explain_correlation_id_anywhere",
        method="GET",
        path="/correlation-ids/{correlation_id}/explain",
        summary="What a correlation id stands for, in whatever account",
        run=_explain_correlation,
        query=ExplainQuery,
    ),
)
