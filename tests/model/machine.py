"""The same life on the product: each rule is done to the model and to real Postgres, which are compared after it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from service.core.problems import InvalidInput
from service.core.requests import Changes
from service.operations import credentials, moves, requests, sweep
from tests.model.life import OPEN, PROVISIONED, RUNNING, STEPS, ClientId, Credential, Request, Run
from tests.support import postgres
from tests.support.database import INVARIANTS, PASSWORD, Database, new_name, new_request
from tests.support.desk import ask, say
from tests.support.gateways import Gateway, new_kura_desk
from tests.support.scene import ACCOUNT, PROVISION, Scene, expire, now, open_scene

T = TypeVar("T")
HOUR = datetime.timedelta(hours=1)
WINDOWS = {"before": (HOUR, None), "inside": (-HOUR, None), "after": (-2 * HOUR, -HOUR)}
NAMES = ("gw-1", "gw-2", "GW-1")
windows = st.sampled_from(["inside", "inside", "inside", "before", "after"])


ALL_INVARIANTS = " UNION ALL ".join(
    f"SELECT '{name}', to_jsonb(broken)::text FROM ({query.rstrip().rstrip(';')}) AS broken"
    for name, query in INVARIANTS.items()
)
FORGET = (
    "DELETE FROM provision_requests",
    "DELETE FROM device_connections",
    "DELETE FROM devices",
    "DELETE FROM users WHERE kind IN ('device', 'provision')",
    "TRUNCATE events, event_heads",
)


@dataclass(kw_only=True)
class Stage:
    """Where all lives of a test take place, one after the other: an account, hooks and responder on one database."""

    runner: asyncio.Runner
    scene: Scene
    # The superuser's.
    eye: asyncpg.Connection[Any]
    lives: int = 0
    steps: int = 0

    def do(self, doing: Awaitable[T]) -> T:
        """Wait for it."""

        async def wait() -> T:
            return await doing

        return self.runner.run(wait())


@contextmanager
def stage(server: postgres.Server, template: str) -> Iterator[Stage]:
    """Open it."""
    name = new_name("model")
    postgres.copy_database(server, template, name)
    database = Database(server=server, name=name)
    try:
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            try:
                scene = runner.run(_wait(stack.enter_async_context(open_scene(database))))
                eye = runner.run(_wait(asyncpg.connect(database.url().reveal())))
                yield Stage(runner=runner, scene=scene, eye=eye)
                runner.run(_wait(eye.close()))
            finally:
                runner.run(stack.aclose())
    finally:
        postgres.drop_database(server, name)


async def _wait(doing: Awaitable[T]) -> T:
    return await doing


class Life(RuleBasedStateMachine):
    """Three client ids of an account; requests may share a credential. No two lives have names in common."""

    stage: Stage

    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.stage.lives += 1
        self._number = self.stage.lives
        self._scene = self.stage.scene
        self._database = self._scene.database
        self._do = self.stage.do
        self._requests: dict[str, Request] = {}
        self._client_ids = {name: ClientId(name=name) for name in map(self._named, NAMES)}
        self._credentials: dict[str, Credential] = {}

    def teardown(self) -> None:
        for statement in FORGET:
            self._do(self.stage.eye.execute(statement))

    def _named(self, name: str) -> str:
        """A client id of this life."""
        return f"{name}-{self._number}"

    def _refused(self, doing: Awaitable[Any], *, refused: bool) -> None:
        """Do what an administrator does; `refused`: it must be."""
        try:
            self._do(doing)
        except InvalidInput:
            assert refused
        else:
            assert not refused

    @initialize(target=clients, name=st.sampled_from(NAMES))
    def begin(self, name: str) -> str:
        name = self._named(name)
        self._create(name, share=False, key=True, maximum=2, window="inside")
        return name

    @rule(
        target=clients,
        name=st.sampled_from(NAMES),
        share=st.booleans(),
        key=st.booleans(),
        maximum=st.integers(1, 3),
        window=windows,
    )
    def create(self, name: str, share: bool, key: bool, maximum: int, window: str) -> str:
        """A second one for a client id is refused."""
        name = self._named(name)
        self._create(name, share=share, key=key, maximum=maximum, window=window)
        return name

    def _create(self, name: str, *, share: bool, key: bool, maximum: int, window: str) -> None:
        own = Credential(username=f"factory-{name}-{len(self._client_ids[name].gone)}", password=PASSWORD)
        if name.startswith("GW"):  # usernames differ in more than capitals
            own.username = f"other-{own.username}"
        fleet = self._named("fleet")
        credential = self._credentials.get(fleet, Credential(username=fleet, password=PASSWORD)) if share else own
        in_use = {request.credential.username for request in self._requests.values()}
        if credential.username not in in_use:
            credential = Credential(username=credential.username, password=PASSWORD)
        self._credentials[credential.username] = credential
        activates, expires = WINDOWS[window]
        new = new_request(
            name,
            provision_username=credential.username,
            provision_password=credential.password,
            generate_activation_key=key,
            maximum_attempts=maximum,
            activates_on=now() + activates,
            expires_on=now() + expires if expires else None,
        )
        made: list[Any] = []

        async def create() -> None:
            made.append(await requests.create_request(self._scene.admin, "acme", new))

        self._refused(create(), refused=name in self._requests)
        if made:
            client = self._client_ids[name]
            self._requests[name] = Request(
                client=client, credential=credential, key=made[0].activation_key, maximum=maximum, window=window
            )

    @rule(name=clients, key=st.sampled_from(["right", "right", "right", "wrong", "missing"]))
    def ask(self, name: str, key: str) -> None:
        """On the JSON wire; the same answer while a run lives."""
        request = self._requests.get(name)
        right = request.key if request and request.key else "any"
        fields = {"right": {"activation_key": right}, "wrong": {"activation_key": "a" * 32}, "missing": {}}[key]
        if request is not None and request.key is None and key == "right":
            fields = {}
        reply = self._do(ask(self._scene.desk, name, **fields))
        verdict = request.judge_ask(key_right=key == "right", wire="json") if request else "refused"
        if verdict not in ("begin", "repeat"):
            assert reply["result"] == "refused"
            codes = {verdict, "busy"} if key != "right" else {verdict}
            assert reply["code"] in codes, (reply, verdict)
            return
        assert request is not None
        assert reply["result"] == "accepted", (reply, verdict)
        if verdict == "begin":
            to = reply["connection"]
            run = Run(
                number=request.runs + 1,
                wire="json",
                username=to["username"],
                password=to["password"],
                token=reply["run"],
                digest=reply["digest"],
            )
            request.begin(run)
        assert request.run is not None
        assert reply["digest"] == request.run.digest
        assert reply["connection"]["password"] == request.run.password

    @rule(name=clients)
    def ask_on_kura(self, name: str) -> None:
        """A good ask on the other wire: a run of its own, the current step again, or silence."""
        request = self._requests.get(name)
        key = request.key if request else None
        gateway = Gateway(desk=new_kura_desk(self._scene), client_id=name, activation_key=key)
        told = self._do(gateway.prov())
        verdict = request.judge_ask(key_right=True, wire="kura") if request else "refused"
        if verdict == "begin":
            assert request is not None
            assert told
            username = self._do(self._database.value("SELECT username FROM provision_runs ORDER BY id DESC LIMIT 1"))
            request.begin(
                Run(number=request.runs + 1, wire="kura", username=username, password=None, token=None, digest=None)
            )
        elif verdict != "repeat":
            assert told == []

    @rule(name=clients, state=st.sampled_from([*STEPS, "failed"]))
    def status(self, name: str, state: str) -> None:
        request = self._requests.get(name)
        if request is None or request.run is None or request.run.token is None:
            return
        self._do(say(self._scene.desk, name, request.run.token, state))
        request.say(state)

    @rule(name=clients, state=st.sampled_from([*STEPS, "failed"]))
    def status_of_another_run(self, name: str, state: str) -> None:
        """Ignored."""
        self._do(say(self._scene.desk, name, "0" * 26, state))

    @rule(name=clients)
    def log_in(self, name: str) -> None:
        """Whoever has the newest generated credential."""
        request = self._requests.get(name)
        client = self._client_ids[name]
        if request is not None and request.run is not None:
            username, password = request.run.username, request.run.password
            if password is None:
                return
            allowed = request.admits(username)
            if allowed:
                request.confirm()
        elif client.kept:
            username, password = list(client.kept.items())[-1]
            allowed = client.bound_to in (None, username)
            client.bound_to = username if allowed else client.bound_to
        else:
            return
        assert bool(self._login(name, username, password)) is allowed

    @rule(name=clients, other=st.sampled_from(NAMES), wrong=st.sampled_from(["password", "client id", "user"]))
    def log_in_wrongly(self, name: str, other: str, wrong: str) -> None:
        """With another password, under another client id, as a user that is gone: never."""
        other = self._named(other)
        request, client = self._requests.get(name), self._client_ids[name]
        users = {**client.kept, **client.gone} if wrong == "user" else dict(client.kept)
        if request is not None and request.run is not None and request.run.password is not None:
            users[request.run.username] = request.run.password
        for username, password in list(users.items())[-2:]:
            if wrong == "password":
                assert not self._login(name, username, password[:-1] + ("A" if password[-1] != "A" else "B"))
            elif wrong == "client id" and other != name:
                assert not self._login(other, username, password)
            elif username in client.gone:
                assert not self._login(name, username, password)

    def _login(self, client_id: str, username: str, password: str) -> object:
        return self._do(self._scene.gate.connect(ACCOUNT, username, password, client_id))

    @rule(name=clients, which=st.sampled_from(["password", "password", "previous", "wrong"]))
    def factory_log_in(self, name: str, which: str) -> None:
        """At the provision broker, whatever window and state."""
        request = self._requests.get(name)
        if request is None:
            return
        credential = request.credential
        password = {"password": credential.password, "previous": credential.previous, "wrong": "Wrong-Password"}[which]
        verdict = self._do(self._scene.gate.connect(PROVISION, credential.username, password or "Wrong-Password", name))
        assert bool(verdict) is (request.enabled and password is not None and which != "wrong")

    @rule(name=clients)
    def disable(self, name: str) -> None:
        self._administer(name, lambda: moves.set_enabled(self._scene.admin, "acme", name, enabled=False))
        if name in self._requests:
            self._requests[name].disable()

    @rule(name=clients)
    def enable(self, name: str) -> None:
        self._administer(name, lambda: moves.set_enabled(self._scene.admin, "acme", name, enabled=True))
        if name in self._requests:
            self._requests[name].enabled = True

    @rule(name=clients)
    def stop(self, name: str) -> None:
        request = self._requests.get(name)
        runs = request is not None and request.state == RUNNING
        self._administer(name, lambda: moves.stop_request(self._scene.admin, "acme", name), refused=not runs)
        if runs:
            self._requests[name].disable()

    @rule(name=clients)
    def reopen(self, name: str) -> None:
        request = self._requests.get(name)
        ended = request is not None and request.state not in (OPEN, RUNNING)
        self._administer(name, lambda: moves.reopen_request(self._scene.admin, "acme", name), refused=not ended)
        if ended:
            self._requests[name].reopen()

    @rule(name=consumes(clients))
    def delete(self, name: str) -> None:
        """User and device of a PROVISIONED one stay."""
        request = self._requests.get(name)
        refused = request is not None and request.state == RUNNING
        self._administer(name, lambda: moves.delete_request(self._scene.admin, "acme", name), refused=refused)
        if not refused:
            self._requests.pop(name, None)

    @rule(name=clients, window=windows, maximum=st.integers(1, 4), key=st.sampled_from([None, "new", "remove"]))
    def change(self, name: str, window: str, maximum: int, key: str | None) -> None:
        """Refused while RUNNING, below the attempts that are used up, and with a new key or none once PROVISIONED."""
        request = self._requests.get(name)
        activates, expires = WINDOWS[window]
        changes = Changes(
            activates_on=now() + activates,
            expires_on=now() + expires if expires else None,
            maximum_attempts=maximum,
            new_activation_key=key == "new",
            remove_activation_key=key == "remove" and request is not None and request.key is not None,
        )
        refused = request is not None and (
            request.state == RUNNING
            or maximum < request.attempts
            or (request.state == PROVISIONED and (key == "new" or changes.remove_activation_key))
        )
        made: list[Any] = []

        async def change() -> None:
            made.append(await requests.change_request(self._scene.admin, "acme", name, changes))

        self._administer(name, change, refused=refused)
        if made and request is not None:
            request.window, request.maximum = window, maximum
            if key == "new":
                request.key = made[0].activation_key
            elif changes.remove_activation_key:
                request.key = None

    @rule(name=clients)
    def pass_deadline(self, name: str) -> None:
        """Time passing alone changes no row."""
        request = self._requests.get(name)
        if request is not None and request.run is not None:
            self._do(expire(self._database, name))
            request.run.overdue = True

    @rule()
    def sweep(self) -> None:
        """Runs past their deadline end, without an attempt."""
        self._do(sweep.close_overdue(self._scene.desk.pool, self._database.event_key))
        for request in self._requests.values():
            if request.run is not None and request.run.overdue:
                request.end("STOPPED")

    @rule(name=clients, number=st.integers(0, 9), overlap=st.booleans())
    def rotate(self, name: str, number: int, overlap: bool) -> None:
        """Another password of the credential, the one before good beside it or not."""
        request = self._requests.get(name)
        if request is None or request.credential.previous is not None:
            return
        credential, password = request.credential, f"Rotated-Password-{number}"
        if password == credential.password:
            return
        self._do(
            credentials.rotate(
                self._scene.admin, "acme", credential.username, password=password, overlap=HOUR if overlap else 0 * HOUR
            )
        )
        credential.previous = credential.password if overlap else None
        credential.password = password

    def _administer(self, name: str, doing: Callable[[], Awaitable[Any]], *, refused: bool = False) -> None:
        """What is done to a request that is not there is refused."""
        self._refused(doing(), refused=refused or name not in self._requests)

    @invariant()
    def is_as_it_should_be(self) -> None:
        """States, attempts and runs of every request, and all invariants of the database."""
        self.stage.steps += 1
        rows = self._do(
            self.stage.eye.fetch(
                "SELECT q.client_id, q.state, q.enabled, q.attempts, q.activation_key_sha256 IS NOT NULL AS keyed,"
                " (SELECT r.state FROM provision_runs r WHERE r.request_id = q.id ORDER BY number DESC LIMIT 1) AS run,"
                " (SELECT count(*) FROM provision_runs r WHERE r.request_id = q.id) AS runs FROM provision_requests q"
            )
        )
        stored = {row["client_id"]: tuple(row)[1:] for row in rows}
        expected = {
            name: (one.state, one.enabled, one.attempts, one.key is not None, one.run_state, one.runs)
            for name, one in self._requests.items()
        }
        assert stored == expected, (stored, expected)
        users = self._do(self.stage.eye.fetch("SELECT name FROM users WHERE kind = 'device'"))
        live = {one.run.username for one in self._requests.values() if one.run is not None}
        kept = {username for client in self._client_ids.values() for username in client.kept}
        assert {row["name"] for row in users} == live | kept
        broken = self._do(self.stage.eye.fetch(ALL_INVARIANTS, self._database.event_key))
        assert [tuple(row) for row in broken] == []
