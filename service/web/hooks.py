"""
The hooks: what brokers ask, in mosquitto-go-auth's HTTP contract (design section 5, D3).

A verdict is 200 or 403, trouble is 503; malformed input is 403; without the right Basic everything is 401.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from prometheus_client import Counter, Gauge, Histogram

from service import log
from service.core import budget
from service.db.feed import Feed
from service.db.hooks import BrokerSecrets, HookStore
from service.db.pool import Unavailable, open_pool, translating, wait_for_schema
from service.memory import Grants
from service.operations.admission import Admission
from service.operations.questions import AclQuestion, ConnectQuestion, Outcome, Verdict
from service.passwords import Hasher, VerifiedPasswords
from service.settings import HooksSettings
from service.web import plugin
from service.web.keys import ADMISSION, BROKER
from service.web.plugin import answer, describe
from service.web.process import build_observability, every, running, serve

MAX_BODY_BYTES = 64 * 1024
# go-auth never drops an idle connection and does not repeat a POST on one that we close (brokers.md section 1).
KEEPALIVE = 3600.0

RETRY_EVERY = 0.25
# Clients whose last sign of life is written at once: the statement's row locks must not keep a login waiting.
MOST_SEEN = 1000

_log = log.get("hooks")

QUESTIONS = Counter("hook_questions", "Questions of brokers", ["route", "outcome"])
SECONDS = Histogram(
    "hook_seconds",
    "Seconds to the answer of a question",
    ["route"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
)
UNAUTHENTICATED = Counter("hook_unauthenticated", "Requests without the right Basic")
REMEMBERED = Gauge("hook_remembered_clients", "Clients whose grants are remembered")
HASHES = Gauge("hook_slow_hashes", "bcrypt hashes since the process began")

_BODIES = {
    Outcome.ALLOWED: b'{"ok":true}',
    Outcome.DENIED: b'{"ok":false,"error":"not authorised"}',
    Outcome.UNAVAILABLE: b'{"ok":false,"error":"unavailable"}',
}


class _User(msgspec.Struct):
    """`/hooks/user`. Our plugin sends more, go-auth does not."""

    username: str
    password: str
    clientid: str
    clean: bool | None = None
    address: str | None = None
    grants: bool = False


class _Acl(msgspec.Struct):
    """`/hooks/acl`."""

    username: str
    clientid: str
    topic: str
    acc: int


# A form holds texts only, and " 1" or "1.0" would be read as 1.
_FORM_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)

_Body = TypeVar("_Body", bound=msgspec.Struct)


def parse_body(body: bytes, content_type: str, kind: type[_Body]) -> _Body | None:
    """A JSON or form body; None where it is neither, incomplete, or says a thing twice."""
    try:
        if content_type == "application/json":
            return msgspec.json.decode(body, type=kind)
        if content_type == "application/x-www-form-urlencoded":
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=16
            )
            fields = dict(pairs)
            if len(fields) == len(pairs) and _FORM_INTEGER.fullmatch(fields.get("acc", "0")):
                return msgspec.convert(fields, kind, strict=False)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        pass
    return None


def respond(verdict: Verdict, *, with_grants: bool = False) -> web.Response:
    """What a broker is told; `with_grants`: our plugin wants what the client may do as well."""
    if with_grants and verdict.present is not None:
        return answer(describe(verdict.present, verdict.as_of))
    return web.Response(status=verdict.outcome.value, body=_BODIES[verdict.outcome], content_type="application/json")


MALFORMED = Verdict(Outcome.DENIED, "malformed")
NOT_READY = Verdict(Outcome.UNAVAILABLE, "not_ready")
NO_SUPERUSERS = Verdict(Outcome.DENIED, "no_superusers")


async def _answer(
    request: web.Request, kind: type[_Body], decide: Callable[[Admission, BrokerSecrets, _Body], Awaitable[Verdict]]
) -> web.Response:
    """Parse, ask, render; count and time it."""
    began, route = time.perf_counter(), request.path.rsplit("/", 1)[-1]
    try:
        body = parse_body(await request.read(), request.content_type, kind)
    except web.HTTPRequestEntityTooLarge:
        body = None
    if body is None:
        verdict = MALFORMED
        _log.info("question_malformed", route=route, broker=request[BROKER].name)
    else:
        verdict = await decide(request.app[ADMISSION], request[BROKER], body)
    SECONDS.labels(route).observe(time.perf_counter() - began)
    QUESTIONS.labels(route, verdict.outcome.name.lower()).inc()
    if not verdict and body is not None:
        _REFUSALS.write(route=route, broker=request[BROKER].name, reason=verdict.reason, **_who(body))
    return respond(verdict, with_grants=getattr(body, "grants", False))


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


def _who(body: msgspec.Struct) -> dict[str, str]:
    """Whom a refusal concerns: names and topic, never the password."""
    return {name: getattr(body, name) for name in ("username", "clientid", "topic", "acc") if hasattr(body, name)}


async def ask_user(request: web.Request) -> web.Response:
    """`POST /hooks/user`: a CONNECT."""

    def decide(admission: Admission, broker: BrokerSecrets, body: _User) -> Awaitable[Verdict]:
        question = ConnectQuestion(
            username=body.username,
            password=body.password,
            client_id=body.clientid,
            clean=body.clean,
            address=body.address,
        )
        return admission.connect(broker, question)

    return await _answer(request, _User, decide)


async def ask_acl(request: web.Request) -> web.Response:
    """`POST /hooks/acl`: a topic check."""

    def decide(admission: Admission, broker: BrokerSecrets, body: _Acl) -> Awaitable[Verdict]:
        question = AclQuestion(username=body.username, client_id=body.clientid, topic=body.topic, acc=body.acc)
        return admission.acl(broker, question)

    return await _answer(request, _Acl, decide)


async def ask_superuser(_request: web.Request) -> web.Response:
    """`POST /hooks/superuser`: nobody is one (D9). Our plugin asks it once, to see whether its secret is right."""
    return respond(NO_SUPERUSERS)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Who asks comes first, for every route there is or is not. Whatever goes wrong is 503 without a word about it."""
    if not request.app[ADMISSION].brokers_loaded:  # 401 would blame the secret, and go-auth takes it for a verdict
        return respond(NOT_READY)
    broker = request.app[ADMISSION].authenticate_broker(request.headers.get("Authorization"))
    if broker is None:
        UNAUTHENTICATED.inc()
        _log.warning("broker_unauthenticated", remote=request.remote)
        return web.Response(
            status=401,
            body=b'{"ok":false,"error":"unauthenticated"}',
            content_type="application/json",
            headers={"WWW-Authenticate": 'Basic realm="hooks"'},
        )
    request[BROKER] = broker
    try:
        return await handler(request)
    except web.HTTPException as error:  # no such route, or not POST
        return web.Response(status=error.status, body=b'{"ok":false}', content_type="application/json")
    except ConnectionError:  # who asked went away before all of the question was here
        return respond(MALFORMED)
    except Exception:
        _log.error("question_failed", path=request.path, broker=broker.name, exc_info=True)
        return respond(Verdict(Outcome.UNAVAILABLE, "internal_error"))


def build_app(admission: Admission) -> web.Application:
    """The hooks' routes, and no others."""
    app = web.Application(middlewares=[guard], client_max_size=MAX_BODY_BYTES)
    app[ADMISSION] = admission
    app.add_routes(
        [
            web.post("/hooks/user", ask_user),
            web.post("/hooks/acl", ask_acl),
            web.post("/hooks/superuser", ask_superuser),
            *plugin.ROUTES,
        ]
    )
    return app


class HooksProcess:
    """`python -m service hooks`."""

    FLUSH_EVERY = 1.0
    HEARTBEAT_EVERY = 2.0

    def __init__(self, settings: HooksSettings) -> None:
        self._settings = settings
        self._brokers_changed = asyncio.Event()
        self._brokers_changed.set()

    async def run(self) -> None:
        """Until SIGTERM. Raises WrongSchema and PortBusy."""
        settings = self._settings
        pool = await open_pool(settings.hooks_database_url, name="provisioning-hooks", size=8, timeout=1.0, reset=False)
        hasher = Hasher(settings.hashing_threads)
        try:
            await wait_for_schema(pool)
            admission = self._build_admission(HookStore(pool), hasher)
            feed = Feed(
                settings.hooks_database_url,
                lambda *heard: self._note_changes(admission, *heard),
                name="provisioning-hooks-feed",
            )
            await self._serve(admission, feed)
        finally:
            hasher.close()
            pool.terminate()

    def _build_admission(self, store: HookStore, hasher: Hasher) -> Admission:
        settings = self._settings
        return Admission(
            store=store,
            hasher=hasher,
            grants=Grants(settings.grants_memory),
            passwords=VerifiedPasswords(settings.passwords_memory),
            event_key=settings.event_key,
            client_id_length=settings.client_id_length,
            provision_account=settings.provision_account,
            slow_hash_rate=settings.slow_hash_rate,
            slow_hash_burst=settings.slow_hash_burst,
            narrow_reply=settings.narrow_reply,
        )

    async def _follow_brokers(self, admission: Admission) -> None:
        """Load brokers and secrets anew whenever the feed says that one of them changed."""
        while True:
            await self._brokers_changed.wait()
            self._brokers_changed.clear()
            try:
                await admission.load_brokers()
            except Unavailable:
                self._brokers_changed.set()
                await asyncio.sleep(RETRY_EVERY)

    async def _serve(self, admission: Admission, feed: Feed) -> None:
        settings = self._settings

        def is_ready() -> str | None:
            if not admission.brokers:
                return "brokers"
            return None if admission.grants.follows() else "the feed of changes"

        runners = [
            await serve(
                build_observability(is_ready),
                settings.hooks_metrics_host,
                settings.hooks_metrics_port,
                "PROVISION_HOOKS_METRICS_PORT",
            ),
            await serve(
                build_app(admission),
                settings.hooks_host,
                settings.hooks_port,
                "PROVISION_HOOKS_PORT",
                keepalive=KEEPALIVE,
            ),
        ]
        try:
            async with running(
                feed.run(),
                self._follow_brokers(admission),
                every(self.FLUSH_EVERY, "flush", lambda: self._flush(admission)),
                every(self.HEARTBEAT_EVERY, "heartbeat", admission.store.heartbeat),
            ) as stop:
                _log.info("hooks_ready", host=settings.hooks_host, port=settings.hooks_port)
                await stop.wait()
        finally:
            for runner in runners:
                await runner.cleanup()
            await self._flush_at_end(admission)

    def _note_changes(self, admission: Admission, changes: list[tuple[str, str]], lost: bool, as_of: int) -> None:
        if admission.note_changes(changes, lost, as_of):
            self._brokers_changed.set()

    async def _flush(self, admission: Admission) -> None:
        REMEMBERED.set(len(admission.grants))
        HASHES.set(admission.hasher.hashes)
        refusals = admission.refusals.take()
        if refusals:
            try:
                await admission.store.count_refusals(refusals)
            except Exception:
                admission.refusals.give_back(refusals)
                raise
        await admission.write_logins()
        uses = admission.uses.take()
        if uses:
            try:
                await admission.store.note_credential_uses(uses)
            except Exception:
                admission.uses.give_back(uses)
                raise
        seen = list(admission.seen.items())[:MOST_SEEN]
        if seen:
            now = time.monotonic()
            await admission.store.note_seen(
                [(*client, *((login[0], now - login[1]) if login else (None, 0.0))) for client, login in seen]
            )
            admission.forget_seen(seen)

    async def _flush_at_end(self, admission: Admission) -> None:
        try:
            async with translating():
                await self._flush(admission)
        except Unavailable:
            _log.warning("refusals_lost")
