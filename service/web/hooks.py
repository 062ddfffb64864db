"""
The hooks: what brokers ask, in mosquitto-go-auth's HTTP contract (design section 5, D3).

A verdict is 200 or 403, trouble is 503; malformed input is 403; without the right Basic everything is 401. A broker
stands still while it waits, so there is no more between aiohttp's parser and the answer than the answer needs: routes
are one dictionary, and a question that memory answers awaits nothing but its own body.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from prometheus_client import Counter, Gauge

from service import log
from service.core import budget
from service.core.connect import Present
from service.db.hooks import BrokerSecrets
from service.grants_memory import grants_text
from service.operations.admission import Admission
from service.operations.questions import AclQuestion, ConnectQuestion, Outcome, Verdict
from service.web import plugin
from service.web.metrics import QUESTIONS

# A topic has up to 65,535 bytes, and a plugin may write each as six characters.
MAX_BODY_BYTES = 512 * 1024
# go-auth never drops an idle connection and does not repeat a POST on one that we close (brokers.md section 1).
KEEPALIVE = 3600.0

_log = log.get("hooks")

UNAUTHENTICATED = Counter("hook_unauthenticated", "Requests without the right Basic")
REMEMBERED = Gauge("hook_remembered_clients", "Clients whose grants are remembered")
REMEMBERED_BYTES = Gauge("hook_remembered_bytes", "What they take, about")
HASHES = Gauge("hook_slow_hashes", "bcrypt hashes since the process began")

_BODIES = {
    Outcome.ALLOWED: b'{"ok":true}',
    Outcome.DENIED: b'{"ok":false,"error":"not authorised"}',
    Outcome.UNAVAILABLE: b'{"ok":false,"error":"unavailable"}',
}


class _User(ConnectQuestion, frozen=True, kw_only=True):
    """`/hooks/user`. Our plugin sends more than go-auth, and asks for the grants."""

    grants: bool = False


# A form holds texts only, and " 1" or "1.0" would be read as 1.
_FORM_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)

_Body = TypeVar("_Body", _User, AclQuestion)


def parse_body(body: bytes, content_type: str, decoder: msgspec.json.Decoder[_Body]) -> _Body | None:
    """A JSON or form body; None where it is neither, incomplete, or says a thing twice."""
    try:
        if content_type == "application/json":
            return decoder.decode(body)
        if content_type == "application/x-www-form-urlencoded":
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=16
            )
            fields = dict(pairs)
            if len(fields) == len(pairs) and _FORM_INTEGER.fullmatch(fields.get("acc", "0")):
                return msgspec.convert(fields, decoder.type, strict=False)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        pass
    return None


def respond(verdict: Verdict, *, with_grants: bool = False) -> web.Response:
    """What a broker is told; `with_grants`: our plugin wants what the client may do as well."""
    body = _BODIES[verdict.outcome]
    granted = verdict.granted
    if with_grants and granted is not None:
        text = grants_text(granted.grants) if isinstance(granted, Present) else granted.grants_text()
        body = b'{"ok":true,"as_of":"%d","grants":%b}' % (verdict.as_of, text)
    return web.Response(status=verdict.outcome.value, body=body, content_type="application/json")


MALFORMED = Verdict(Outcome.DENIED, "malformed")
NOT_READY = Verdict(Outcome.UNAVAILABLE, "not_ready")
NO_SUPERUSERS = Verdict(Outcome.DENIED, "no_superusers")

Handler = Callable[[Admission, BrokerSecrets, web.BaseRequest], Awaitable[web.StreamResponse]]


class _Question(Generic[_Body]):
    """A route that asks for a verdict: parse, ask, render; count and time it."""

    def __init__(
        self,
        route: str,
        kind: type[_Body],
        decide: Callable[[Admission, BrokerSecrets, _Body], Awaitable[Verdict]],
    ) -> None:
        self._route = route
        self._decoder: msgspec.json.Decoder[_Body] = msgspec.json.Decoder(kind)
        self._decide: Callable[[Admission, BrokerSecrets, _Body], Awaitable[Verdict]] = decide
        self._figures = QUESTIONS.of(route)

    async def __call__(self, admission: Admission, broker: BrokerSecrets, request: web.BaseRequest) -> web.Response:
        began = time.perf_counter()
        body = await self._read(request)
        if body is None:
            verdict = MALFORMED
            _log.info("question_malformed", route=self._route, broker=broker.name)
        else:
            verdict = await self._decide(admission, broker, body)
        self._figures.note(time.perf_counter() - began, verdict.outcome)
        if body is not None and verdict.outcome is not Outcome.ALLOWED:
            _REFUSALS.write(route=self._route, broker=broker.name, reason=verdict.reason, **_who(body))
        return respond(verdict, with_grants=isinstance(body, _User) and body.grants)

    async def _read(self, request: web.BaseRequest) -> _Body | None:
        try:
            return parse_body(await request.read(), request.content_type, self._decoder)
        except web.HTTPRequestEntityTooLarge:
            return None


class _RefusalLog:
    """A line for each refusal, up to some a second: a flood is counted, in the database too, but not written out."""

    def __init__(self, rate: float, burst: float) -> None:
        self._budget = budget.full_budget(rate, burst, time.monotonic())
        self._left_out = 0

    def write(self, **fields: object) -> None:
        self._budget, enough = budget.take(self._budget, time.monotonic())
        if not enough:
            self._left_out += 1
            return
        _log.info("refused", **fields, **({"left_out_before": self._left_out} if self._left_out else {}))
        self._left_out = 0


_REFUSALS = _RefusalLog(rate=10, burst=100)


def _who(body: ConnectQuestion | AclQuestion) -> dict[str, object]:
    """Whom a refusal concerns: names and topic, never the password."""
    who: dict[str, object] = {"username": body.username, "clientid": body.client_id}
    return {**who, "topic": body.topic, "acc": body.acc} if isinstance(body, AclQuestion) else who


async def ask_superuser(_admission: Admission, _broker: BrokerSecrets, _request: web.BaseRequest) -> web.Response:
    """`POST /hooks/superuser`: nobody is one (D9). Our plugin asks it once, to see whether its secret is right."""
    return respond(NO_SUPERUSERS)


# By path, as it is sent: the method, and what answers.
ROUTES: dict[str, tuple[str, Handler]] = {
    "/hooks/user": ("POST", _Question("user", _User, Admission.connect)),
    "/hooks/acl": ("POST", _Question("acl", AclQuestion, Admission.acl)),
    "/hooks/superuser": ("POST", ask_superuser),
    **plugin.ROUTES,
}


async def answer(admission: Admission, request: web.BaseRequest) -> web.StreamResponse:
    """Who asks comes first, for every route there is or is not. Whatever goes wrong is 503 without a word about it."""
    if not admission.brokers.loaded:  # 401 would blame the secret, and go-auth takes it for a verdict
        return respond(NOT_READY)
    broker = admission.brokers.authenticate(request.headers.get("Authorization"))
    if broker is None:
        return _refuse_stranger(request)
    route = ROUTES.get(request.raw_path) or ROUTES.get(request.raw_path.partition("?")[0])
    if route is None or request.method != route[0]:
        status = 404 if route is None else 405
        return web.Response(status=status, body=b'{"ok":false}', content_type="application/json")
    try:
        return await route[1](admission, broker, request)
    except web.HTTPException as error:
        return web.Response(status=error.status, body=b'{"ok":false}', content_type="application/json")
    except ConnectionError:  # who asked went away before all of the question was here
        return respond(MALFORMED)
    except Exception:
        _log.error("question_failed", path=request.path, broker=broker.name, exc_info=True)
        return respond(Verdict(Outcome.UNAVAILABLE, "internal_error"))


def _refuse_stranger(request: web.BaseRequest) -> web.Response:
    UNAUTHENTICATED.inc()
    _log.warning("broker_unauthenticated", remote=request.remote)
    return web.Response(
        status=401,
        body=b'{"ok":false,"error":"unauthenticated"}',
        content_type="application/json",
        headers={"WWW-Authenticate": 'Basic realm="hooks"'},
    )


def build_server(admission: Admission, *, keepalive: float = KEEPALIVE) -> web.Server:
    """
    The hooks' routes, and no others, as a factory of protocols.

    `keepalive`: seconds that an idle connection stays open.
    """
    loop = asyncio.get_running_loop()

    def make_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)

    return web.Server(
        functools.partial(answer, admission), request_factory=make_request, access_log=None, keepalive_timeout=keepalive
    )
