"""
The administrators' API (`service admin`): who asks, what may be asked, how it is said. What is done is in service/api.

Errors are problem documents (RFC 9457) with every field's problem. A foreign account's object answers as a missing one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import msgspec
from aiohttp import web
from prometheus_client import Counter, Histogram

from service import keys, log
from service.api import reading
from service.api.openapi import PREFIX, FieldProblem, ProblemDocument, build
from service.api.routes import Call, Caller, Nothing, Route
from service.api.table import ROUTES
from service.core.access import is_own_account, may
from service.core.problems import InvalidInput, NotFound, NotPossible, Problem
from service.core.verdicts import Denied
from service.db.pool import TRANSIENT, Unavailable
from service.operations import tokens
from service.operations.administration import Administration, DoneBefore, Once, VersionDiffers
from service.operations.tokens import Bearer
from service.web import page
from service.web.wrong_tokens import WrongTokens, address_of

ADMINISTRATION = web.AppKey("administration", Administration)
VERSION = web.AppKey("version", str)
WRONG_TOKENS = web.AppKey("wrong_tokens", WrongTokens)
BEARER = web.RequestKey("bearer", Bearer)
CORRELATION = web.RequestKey("correlation", str)

MAX_BODY_BYTES = 2 * 1024 * 1024
RETRY_AFTER = 2

_log = log.get("admin")
CALLS = Counter("admin_calls", "Calls of the administrators' API", ["operation", "status"])
SECONDS = Histogram("admin_seconds", "Seconds to the answer of a call", ["operation"])

_TOKEN = re.compile(r"Bearer (pt_[A-Za-z0-9_-]{43})", re.ASCII | re.IGNORECASE)
_ETAG = re.compile(r'"([0-9]{1,18})"', re.ASCII)
_NAME = re.compile(r"\{(\w+)\}", re.ASCII)
_KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?", re.ASCII)


class Failed(Exception):
    """Ends a call with a problem document."""

    def __init__(
        self, status: int, title: str, detail: str, problems: tuple[Problem, ...] = (), **headers: str
    ) -> None:
        self.status, self.title, self.detail, self.problems = status, title, detail, problems
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        super().__init__(title)


def missing() -> Failed:
    """Whatever is not there for this caller."""
    return Failed(404, "Not found", "there is no such thing here")


def _problem(failed: Failed) -> web.Response:
    document = ProblemDocument(
        type="about:blank",
        title=failed.title,
        status=failed.status,
        detail=failed.detail,
        problems=[FieldProblem(field=each.field, rule=each.rule, text=each.text) for each in failed.problems],
    )
    return web.Response(
        status=failed.status,
        body=msgspec.json.encode(document),
        content_type="application/problem+json",
        headers=failed.headers,
    )


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure becomes a problem document; who asked for what, and how it ended, is logged."""
    began = time.perf_counter()
    request[CORRELATION] = keys.new_correlation_id()
    try:
        response = await handler(request)
    except Failed as failed:
        response = _problem(failed)
    except web.HTTPException as error:
        response = _problem(_from_aiohttp(error))
    except asyncpg.DataError:
        response = _problem(Failed(400, "Bad request", "a value is no text that can be stored, or out of range"))
    except (Unavailable, *TRANSIENT):
        response = _problem(Failed(503, "Unavailable", "the database is away", Retry_After=str(RETRY_AFTER)))
    except Exception:
        _log.error("call_failed", path=request.path, correlation_id=request[CORRELATION], exc_info=True)
        response = _problem(Failed(500, "Internal error", "it was our fault; the log has more"))
    _note(request, response, time.perf_counter() - began)
    response.headers["Correlation-Id"] = request[CORRELATION]
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _from_aiohttp(error: web.HTTPException) -> Failed:
    if error.status == 405:
        return Failed(405, "Method not allowed", "not with this method", Allow=error.headers.get("Allow", ""))
    if error.status == 413:
        return Failed(413, "Too large", f"a body has at most {MAX_BODY_BYTES} bytes")
    return missing() if error.status == 404 else Failed(error.status, error.reason, "the request is not understood")


def _note(request: web.Request, response: web.StreamResponse, seconds: float) -> None:
    operation = request.match_info.route.name or "none"
    CALLS.labels(operation, response.status).inc()
    SECONDS.labels(operation).observe(seconds)
    bearer = request.get(BEARER)
    if response.status == 429:
        return  # a flood is counted, and fills no log
    _log.info(
        "call",
        operation=operation,
        status=response.status,
        token=bearer.name if bearer else None,
        account=bearer.account if bearer else None,
        correlation_id=request[CORRELATION],
    )


async def _authenticate(request: web.Request) -> Bearer:
    given = _TOKEN.fullmatch(request.headers.get("Authorization", ""))
    bearer = await tokens.recognise(request.app[ADMINISTRATION], given[1]) if given else None
    if bearer is None and "Authorization" in request.headers:
        _hold_back(request)
    if bearer is None:
        raise Failed(401, "Unauthorized", "a token is needed: Authorization: Bearer pt_...", WWW_Authenticate="Bearer")
    request[BEARER] = bearer
    return bearer


def _hold_back(request: web.Request) -> None:
    """Raises Failed where too many wrong tokens came from there."""
    forwarded_for = request.headers.getall("X-Forwarded-For", None)
    wait = request.app[WRONG_TOKENS].note(address_of(request.remote, forwarded_for[-1] if forwarded_for else None))
    if wait is not None:
        text = "too many wrong tokens came from this address"
        raise Failed(429, "Too many wrong tokens", text, Retry_After=str(wait))


async def _handle(request: web.Request, route: Route) -> web.Response:
    bearer = await _authenticate(request)
    permitted = may(bearer.role, route.name)
    if isinstance(permitted, Denied):
        raise Failed(403, "Forbidden", f"a {bearer.role} may not {route.name}")
    path = dict(request.match_info)
    if "account" in path and not is_own_account(bearer.role, bearer.account, path["account"]):
        raise missing()
    caller = Caller(token_id=bearer.id, name=bearer.name, role=bearer.role, account=bearer.account)
    try:
        body, raw = await _read_body(request, route)
        query = _read_query(request, route)
    except reading.NotUnderstood as error:
        raise Failed(400, "Bad request", str(error)) from None
    except InvalidInput as error:
        raise Failed(422, "Rules are broken", str(error), error.problems) from None
    call = Call(caller=caller, path=path, query=query, body=body, reduced=permitted.reduced)
    return await _run(route, _bound(request, route, bearer, raw), call)


def _bound(request: web.Request, route: Route, bearer: Bearer, raw: bytes) -> Administration:
    """The operations as this caller does them."""
    administration = request.app[ADMINISTRATION]
    return dataclasses.replace(
        administration,
        author=dataclasses.replace(administration.author, actor=f"token {bearer.name}", source="api"),
        version=_read_version(request) if route.versioned else None,
        once=_read_once(request, route, bearer, raw, administration.author.event_key) if route.made else None,
    )


def _read_version(request: web.Request) -> int | None:
    given = request.headers.get("If-Match")
    if given is None or given == "*":
        return None
    match = _ETAG.fullmatch(given)
    if match is None:
        raise Failed(412, "Precondition failed", 'If-Match must be one ETag that was given, such as "7"')
    return int(match[1])


def _read_once(request: web.Request, route: Route, bearer: Bearer, raw: bytes, key: bytes) -> Once | None:
    """Hashes only: what was asked may hold a password, so its hash is keyed."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise Failed(400, "Bad request", "Idempotency-Key must be 1 to 255 printable ASCII characters")
    asked = b"\0".join((b"idempotency", route.name.encode(), request.path.encode(), raw))
    return Once(
        token_id=bearer.id,
        key_sha256=hashlib.sha256(given.encode()).digest(),
        request_sha256=hmac.digest(key, asked, "sha256"),
    )


async def _run(route: Route, administration: Administration, call: Call) -> web.Response:
    try:
        document = await route.run(administration, call)
    except VersionDiffers:
        raise Failed(412, "Precondition failed", "it was changed meanwhile; look at it again") from None
    except DoneBefore as before:
        if not before.same:
            text = "the Idempotency-Key was used for something else"
            raise Failed(409, "Conflict", text) from None
        return await _replay(route, administration, call)
    except asyncpg.DataError:
        raise Failed(422, "Rules are broken", "a value holds a NUL, or is out of range") from None
    except NotFound as error:
        if error.problems[0].field in _named(call):
            # Only what the caller's own account lacks comes to this: a foreign one was missing before.
            raise Failed(404, "Not found", str(error), error.problems) from None
        raise Failed(422, "Rules are broken", str(error), error.problems) from None
    except NotPossible as error:
        raise Failed(409, "Not possible", str(error), error.problems) from None
    except InvalidInput as error:
        raise Failed(422, "Rules are broken", str(error), error.problems) from None
    return _respond(document, route.status)


async def _replay(route: Route, administration: Administration, call: Call) -> web.Response:
    """What the first one made, without anything that is shown once."""
    assert route.made is not None
    fields = {**call.path, **msgspec.structs.asdict(call.body)}
    place = _NAME.sub("{}", route.made)
    shown = next((other for other in ROUTES if _NAME.sub("{}", other.path) == place and other.method == "GET"), None)
    document: Any = {"replayed": True}
    if shown is not None and "{" in route.made.rpartition("/")[2]:
        names = zip(_NAME.findall(shown.path), _NAME.findall(route.made), strict=True)
        path = {name: str(fields[field]) for name, field in names}
        document = await shown.run(administration, dataclasses.replace(call, path=path, body=None))
    response = _respond(document, route.status)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _respond(document: Any, status: int) -> web.Response:
    if document is None:
        return web.Response(status=204)
    body = reading.encode(document)
    headers = {}
    version = document.get("version") if isinstance(document, Mapping) else None
    if isinstance(version, int):
        headers["ETag"] = f'"{version}"'
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


async def _read_body(request: web.Request, route: Route) -> tuple[Any, bytes]:
    raw = await request.read()
    if route.body is not None and request.content_type != "application/json":
        raise Failed(415, "Unsupported media type", "the body must be application/json")
    return reading.read_body(route, raw), raw


def _named(call: Call) -> set[str]:
    """What the path names, in the operations' words."""
    words = {"token": "name", "served": "account"}
    return {words.get(name, name) for name in call.path}


def _read_query(request: web.Request, route: Route) -> Any:
    return reading.read_query(route, {name: request.query.getall(name) for name in request.query})


def _handler(route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await _handle(request, route)

    return handle


async def _openapi(request: web.Request) -> web.Response:
    return web.Response(body=msgspec.json.encode(build(request.app[VERSION])), content_type="application/json")


async def _docs(request: web.Request) -> web.Response:
    return web.Response(
        text=page.render(build(request.app[VERSION])),
        content_type="text/html",
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"},
    )


def build_app(administration: Administration, version: str, wrong_tokens: WrongTokens | None = None) -> web.Application:
    """The API's routes, its description, and no others."""
    app = web.Application(middlewares=[guard], client_max_size=MAX_BODY_BYTES)
    app[ADMINISTRATION], app[VERSION] = administration, version
    app[WRONG_TOKENS] = wrong_tokens or WrongTokens()
    app.router.add_get(f"{PREFIX}/openapi.json", _openapi, name="openapi")
    app.router.add_get(f"{PREFIX}/docs", _docs, name="docs")
    for route in ROUTES:
        app.router.add_route(route.method, PREFIX + route.path, _handler(route), name=route.name)
    return app


__all__ = ["Nothing", "build_app"]
