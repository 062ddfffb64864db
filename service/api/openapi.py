"""OpenAPI 3.1 of the table of routes: what comes in is described by the very types that check it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from service.api.routes import Nothing, Route
from service.api.table import ROUTES

PREFIX = "/api/v1"
REF = "#/components/schemas/{name}"
_PROBLEM = {"$ref": "#/components/schemas/ProblemDocument"}


class FieldProblem(msgspec.Struct):
    """One broken rule."""

    field: str
    rule: str
    text: str


class ProblemDocument(msgspec.Struct):
    """RFC 9457; `problems` has every broken rule. The header Correlation-Id finds it in the log."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[FieldProblem] = []


# Which statuses an operation may end with, beside its own.
ERRORS = {
    400: "The body, or a parameter, is not understood",
    401: "No token, or one that is not good (any more)",
    403: "The token's role may not do this",
    404: "There is no such thing, or it is another account's",
    409: "The state of the thing does not allow it, or the Idempotency-Key was used for something else",
    412: "It has another version than If-Match says",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A rule is broken: nothing was changed",
    429: "Too many wrong tokens came from this address, try again later",
    503: "The database is away, try again",
}


def build(version: str) -> dict[str, Any]:
    """The document."""
    bodies = [route.body for route in ROUTES if route.body is not None]
    schemas, components = msgspec.json.schema_components([*bodies, ProblemDocument], ref_template=REF)
    by_type = dict(zip([*bodies, ProblemDocument], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Device provisioning for Mosquitto",
            "version": version,
            "description": "The administrators' API. docs/api.md has the whole life of a request by curl.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, by_type: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_in_path(route), *_in_query(route), *_in_headers(route)],
        "responses": {
            str(route.status): _success(route),
            **{str(status): _error(text) for status, text in ERRORS.items()},
        },
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": by_type[route.body]}}}
    return operation


def _success(route: Route) -> dict[str, Any]:
    if route.status == 204:
        return {"description": "Done"}
    headers = {"ETag": {"schema": {"type": "string"}}} if route.versioned else {}
    return {
        "description": "Done",
        "headers": headers,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/problem+json": {"schema": _PROBLEM}}}


def _in_path(route: Route) -> list[dict[str, Any]]:
    names = re.findall(r"\{(\w+)\}", route.path)
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]


def _in_query(route: Route) -> list[dict[str, Any]]:
    if route.query is Nothing:
        return []
    _, components = msgspec.json.schema_components([route.query], ref_template=REF)
    properties = components[route.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        for name, schema in properties.items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is not given is not there: null is no text for it."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else {key: value for key, value in schema.items() if key != "default"}


def _in_headers(route: Route) -> list[dict[str, Any]]:
    found = []
    if route.versioned:
        found.append({"name": "If-Match", "in": "header", "required": False, "schema": {"type": "string"}})
    if route.made is not None:
        schema = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema})
    return found
