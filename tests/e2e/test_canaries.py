"""
Every secret of the product goes its way, right and wrong, and then is looked for wherever it must not be (G16, I10).

It may stand in the answer or the new file that shows it once, in a device's own store, and in the 0600 file from which
a process of ours, or a broker, reads it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from embedded import postgres as embedded_postgres
from embedded.processes import Managed, free_port
from service.core import device_config
from service.mqtt.device import DeviceRefused
from service.operations.administration import Administration
from service.settings import AdminSettings, HooksSettings, ResponderSettings
from tests.e2e.mqtt_raw import Client
from tests.support import figures, postgres
from tests.support.canaries import Canaries, files_below, processes
from tests.support.command import Program
from tests.support.database import Database, make_request
from tests.support.devices import ask, connect, connect_code, eventually, reply, run_device, run_gateway
from tests.support.world import World

SECRET_SETTINGS = {
    f"PROVISION_{setting.name.upper()}"
    for kind in (HooksSettings, ResponderSettings, AdminSettings)
    for setting in dataclasses.fields(kind)
    if setting.metadata["secret"]
}


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """A cluster of this test's own, as embedded/postgres.py starts it: whatever is in it is from here."""
    with postgres.private_cluster() as cluster:
        passwords = {role: secrets.token_urlsafe(16) for role in embedded_postgres.ROLES}
        embedded_postgres.create_roles(cluster.url("postgres"), passwords)
        yield postgres.Server(superuser_url=cluster.url("postgres"), passwords=passwords, cluster=cluster)


@pytest.fixture(scope="module")
def template(server: postgres.Server) -> str:
    """Migrated in that cluster."""
    return postgres.make_template(server)


class FiledWorld(World):
    """Its processes read their secrets from files, as docs/settings.md says they may."""

    def environment(self, **more: str) -> dict[str, str]:
        """No secret stands in it."""
        plain = super().environment(**more)
        folder = self.folder / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in SECRET_SETTINGS & plain.keys():
            file = folder / name
            file.touch(mode=0o600)
            file.write_text(plain.pop(name) + "\n")
            plain[f"{name}_FILE"] = str(file)
        return plain


@dataclass
class Wire:
    """A TCP proxy that remembers what was sent towards the broker."""

    target: int
    port: int = 0
    seen: bytearray = field(default_factory=bytearray)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        for source, to, keep in ((reader, up_writer, True), (up_reader, writer, False)):
            task = asyncio.create_task(self._copy(source, to, keep=keep))
            self._tasks.add(task)

    async def _copy(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, keep: bool) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if keep:
                    self.seen += data
                to.write(data)
                await to.drain()
        to.close()

    def one_time_passwords(self) -> list[bytes]:
        """Of the logins as `~takeover`: what follows the username."""
        found = bytes(self.seen).split(b"\x00\x09~takeover")[1:]
        return [rest[2 : 2 + int.from_bytes(rest[:2], "big")] for rest in found]


@asynccontextmanager
async def wired(target: int) -> AsyncIterator[Wire]:
    """On a port of its own."""
    wire = Wire(target)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in wire._tasks:
            task.cancel()
        await asyncio.gather(*wire._tasks, return_exceptions=True)


@dataclass(kw_only=True)
class Hunt:
    """A world, its secrets, and all that was said aloud in it."""

    world: World
    api: Managed
    api_url: str
    tmp: Path
    canaries: Canaries = field(default_factory=Canaries)
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    began: float = field(default_factory=time.time)

    @property
    def program(self) -> Program:
        """The command, its secrets in files."""
        return Program(name="cli", environment=self.world.environment(PROVISION_ACCOUNT="acme"))

    async def say(self, *arguments: str, status: int = 0, shows: bool = False) -> str:
        """A command; `shows`: a secret, once."""
        done = await self.program(*arguments, status=status)
        self.heard.append((f"standard error of {arguments}", done.err.encode()))
        if not shows:
            self.heard.append((f"output of {arguments}", done.out.encode()))
        return done.out

    def secret_file(self, name: str, text: str) -> str:
        """A file for a command to read."""
        file = self.tmp / name
        file.touch(mode=0o600)
        file.write_text(text + "\n")
        return str(file)

    async def call(self, token: str, method: str, path: str, document: Any = None, *, shows: bool = False) -> Any:
        """A call of the API."""
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.api_url}/api/v1{path}", json=document, headers=headers) as response,
        ):
            body = await response.read()
            if not shows:
                self.heard.append((f"{method} {path}", body + repr(response.headers).encode()))
            return json.loads(body) if body else None


def new_password() -> str:
    """As people choose them: every kind of character that the rules ask for."""
    return f"Canary-{secrets.token_hex(8)}"


@pytest.fixture
async def world(database: Database, admin: Administration) -> AsyncIterator[World]:
    """Prepared; nothing is started."""
    world = FiledWorld(database=database, admin=admin)
    try:
        await world.prepare()
        yield world
    finally:
        world.close()


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Wire]:
    """Between the responder and the account broker."""
    async with wired(world.account_port) as wire:
        brokers = f"account-broker=mqtt://127.0.0.1:{wire.port}"
        world.responder.environment = {**world.responder.environment, "PROVISION_ACCOUNT_BROKERS": brokers}
        yield wire


@pytest.fixture
async def hunt(world: World, wire: Wire, tmp_path: Path) -> Hunt:
    """Everything runs; the secrets that are there from the beginning are known."""
    port, metrics = free_port(), free_port()
    ports = {"PROVISION_API_PORT": str(port), "PROVISION_API_METRICS_PORT": str(metrics)}
    budget = {"PROVISION_SLOW_HASH_RATE": "1000", "PROVISION_SLOW_HASH_BURST": "1000"}
    world.hooks.environment = {**world.hooks.environment, **budget}
    api = world._service("admin", f"http://127.0.0.1:{metrics}/readyz", **ports)
    world.start(world.hooks, world.provision_broker, world.account_broker, world.responder, api)
    hunt = Hunt(world=world, api=api, api_url=f"http://127.0.0.1:{port}", tmp=tmp_path)
    know_the_first(hunt)
    return hunt


def know_the_first(hunt: Hunt) -> None:
    """Keys, passwords and secrets of the installation."""
    database, canaries = hunt.world.database, hunt.canaries
    canaries.add("event key", database.event_key)
    canaries.add("derivation key", database.derivation_key)
    canaries.add("sealing key", database.sealing_keys.keys[0][1])
    canaries.add("~responder's password", hunt.world.responder_password)
    canaries.add("database password", *database.server.passwords.values())
    cluster = database.server.cluster
    assert cluster is not None
    canaries.add("superuser's password", cluster.superuser_password())
    for role in ("provision", "account"):
        canaries.add("broker secret", (hunt.world.folder / f"{role}.secret").read_text().strip())


async def provision_devices(hunt: Hunt) -> dict[str, Any]:
    """JSON sealed and not, and Kura; their answers."""
    world, canaries = hunt.world, hunt.canaries
    password, pin = new_password(), new_password()
    canaries.add("factory password", password)
    canaries.add("Password value", pin)
    configuration, problems = device_config.parse(
        json.dumps({"org.example.Modem": {"apn": "iot", "pin": {"type": "Password", "value": pin}}})
    )
    assert not problems
    answers: dict[str, Any] = {}
    for client_id, keyed in (("gw-sealed", True), ("gw-plain", False), ("gw-kura", True)):
        created = await make_request(
            world.admin, client_id, provision_password=password, generate_activation_key=keyed,
            additional_device_configuration=configuration,
        )  # fmt: skip
        if created.activation_key is not None:
            canaries.add("activation key", created.activation_key)
        options: dict[str, Any] = {"password": password, "activation_key": created.activation_key}
        if client_id == "gw-kura":
            run = await run_gateway(world, client_id, hunt.tmp, **options)
            answers[client_id] = {"connection": run.answer()["connection"]}
        else:
            run = await run_device(world, client_id, hunt.tmp, seal=keyed, **options)
            answers[client_id] = run.answer()
            canaries.add("run token", run.answer()["run"])
        canaries.add("generated password", answers[client_id]["connection"]["password"])
    with pytest.raises(DeviceRefused):
        await run_device(world, "gw-plain", hunt.tmp, password=password, store=hunt.tmp / "again.json")
    return answers


async def go_wrong(hunt: Hunt) -> None:
    """Secrets in the wrong place, nearly right ones, and a run that fails."""
    world, canaries = hunt.world, hunt.canaries
    password, wrong = new_password(), new_password()
    canaries.add("factory password of a failure", password)
    canaries.add("wrong password", wrong)
    created = await make_request(
        world.admin, "gw-wrong", provision_password=password, generate_activation_key=True, maximum_attempts=2
    )
    key = created.activation_key
    assert key is not None
    canaries.add("activation key of a failure", key)
    for port in (world.provision_port, world.account_port):
        assert await connect_code(port, "gw-wrong", "factory-gw-wrong", wrong) in (5, None)
        assert await connect_code(port, "gw-stranger", "factory-stranger", password) in (5, None)
    client = await connect(world, "gw-wrong", "factory-gw-wrong", password)
    assert await client.subscribe("prov/v1/gw-wrong/reply") == 0
    await ask(client, "gw-wrong", activation_key=wrong)
    assert (await reply(client))["code"] == "refused"
    await ask(client, "gw-wrong", activation_key=key, password=password)
    assert (await reply(client))["code"] == "bad_message"
    await client.publish("prov/v1/gw-wrong/request", key.encode(), 1)
    await client.publish("$EDC/provision/gw-wrong/MQTT/PROV", b"\x08\x01" + key.encode(), 1)
    await ask(client, "gw-wrong", activation_key=key)
    while (answer := await reply(client))["result"] != "accepted":
        await asyncio.sleep(1)  # `bad_message` is answered once a second
        await ask(client, "gw-wrong", activation_key=key)
    canaries.add("run token of a failure", answer["run"])
    canaries.add("generated password of a failure", answer["connection"]["password"])
    status = {"run": answer["run"], "state": "failed", "step": "disk", "detail": "full"}
    await client.publish("prov/v1/gw-wrong/status", json.dumps(status).encode(), 1)
    await client.publish("prov/v1/gw-wrong/status", json.dumps({**status, "run": key}).encode(), 1)

    async def failed() -> bool:
        return bool(await world.database.value("SELECT count(*) FROM provision_runs WHERE state = 'FAILED'"))

    await eventually(failed)
    client.close()


async def administrate(hunt: Hunt) -> None:
    """By command and by API: rotation, tokens, import, people, lists; and what is refused."""
    canaries = hunt.canaries
    rotated, imported, told = new_password(), new_password(), new_password()
    canaries.add("rotated password", rotated)
    canaries.add("imported password", imported)
    canaries.add("password told to the API", told)
    file = hunt.secret_file("rotated", rotated)
    await hunt.say("credential", "rotate", "factory-gw-plain", "--password-file", file, "--overlap", "1h")
    token = json.loads(await hunt.say("token", "create", "canary", "--platform", "--json", shows=True))["token"]
    canaries.add("API token", token)
    await import_requests(hunt, imported)
    body = {"client_id": "gw-api", "provision_username": "factory-api", "provision_password": told}
    keyed = {**body, "generate_activation_key": True}
    made = await hunt.call(token, "POST", "/accounts/acme/provision-requests", keyed, shows=True)
    canaries.add("activation key of the API", made["activation_key_shown_once"])
    not_understood = {"provision_password": told, "client_id": 1}
    for wrong in (not_understood, {**body, "more": told}, body):
        await hunt.call(token, "POST", "/accounts/acme/provision-requests", wrong)
    await hunt.call(token[:-4] + "AAAA", "GET", "/accounts")
    for path in (
        "/accounts", "/brokers", "/tokens", "/events", "/accounts/acme/provision-requests?whole=true",
        "/accounts/acme/provision-requests/gw-sealed", "/accounts/acme/provision-requests/gw-plain/preview",
        "/accounts/acme/provision-requests/gw-kura/preview?wire=kura", "/accounts/acme/client-ids/gw-wrong/explain",
        "/accounts/acme/devices", "/accounts/acme/devices/gw-plain", "/accounts/acme/credentials",
        "/accounts/acme/users",
    ):  # fmt: skip
        await hunt.call(token, "GET", path)
    for arguments in (("request", "list"), ("request", "explain", "gw-wrong"), ("events", "list"), ("broker", "list")):
        await hunt.say(*arguments, "--json")
    await hunt.say("request", "preview", "gw-kura", "--wire", "kura")


async def import_requests(hunt: Hunt, password: str) -> None:
    """The result file shows the keys, and nothing else; the report shows none of the row that is wrong."""
    rows = [f"gw-i{number},factory-i{number},{password},true" for number in range(3)]
    rows.append(f"gw-i9,{'x' * 300},{password},true")
    source, result = hunt.tmp / "rows.csv", hunt.tmp / "keys.ndjson"
    source.write_text("client_id,provision_username,provision_password,activation_key\n" + "\n".join(rows) + "\n")
    await hunt.say(
        "request", "import", str(source), "--result", str(result), "--accept-good-rows",
        "--report", str(hunt.tmp / "report.ndjson"),
    )  # fmt: skip
    assert result.stat().st_mode & 0o777 == 0o600
    text = result.read_text()
    lines = map(json.loads, text.splitlines())
    keys = [line["activation_key"] for line in lines if "activation_key" in line]
    assert len(keys) == 3
    hunt.canaries.add("imported activation key", *keys)
    for key in keys:
        text = text.replace(key, "")
    hunt.heard += [("result file", text.encode()), ("report", (hunt.tmp / "report.ndjson").read_bytes())]


async def take_over(hunt: Hunt, connection: dict[str, Any], passwords: Callable[[], list[bytes]]) -> None:
    """A device that is disabled while connected: its session is ended with a one-time password."""
    client = await Client.open(hunt.world.account_port)
    code = await client.connect(
        connection["client_id"], username=connection["username"], password=connection["password"], clean=False
    )
    assert code == 0
    await hunt.say("device", "disable", connection["client_id"])

    async def seen() -> bool:
        return bool(passwords())

    await eventually(seen)
    hunt.canaries.add("one-time password", *passwords())
    client.close()


async def fail_in_postgres(hunt: Hunt) -> None:
    """Statements that end in an error while secrets are bound to them: the server's log gets the statements alone."""
    database = hunt.world.database
    for role in ("admin", "responder", "hooks"):
        connection = await asyncpg.connect(database.url(role).reveal())
        try:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetch(
                    "SELECT 1 / (length($1::text) * octet_length($2::bytea) * 0)", hunt.world.responder_password,
                    database.event_key,
                )  # fmt: skip
        finally:
            await connection.close()
    with suppress(asyncpg.InvalidPasswordError):
        await asyncpg.connect(hunt.world.database.url("hooks").reveal().replace("@", "x@"))


def dump(hunt: Hunt) -> bytes:
    """What a backup holds."""
    server = hunt.world.database.server
    assert server.cluster is not None
    done = subprocess.run(
        [str(server.cluster.binaries / "pg_dump"), "-h", "127.0.0.1", "-p", str(server.cluster.port), "-U",
         "provisioning_backup", hunt.world.database.name],
        env={"PGPASSWORD": server.passwords["backup"], "PATH": os.environ["PATH"]}, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


async def search(hunt: Hunt) -> tuple[list[str], int]:
    """Every hit, and how many places were looked at."""
    world, canaries = hunt.world, hunt.canaries
    cluster = world.database.server.cluster
    assert cluster is not None
    await world.database.execute("CHECKPOINT")
    private = {world.folder / "secrets", *world.folder.glob("*.secret")}
    files = [
        path for path in files_below(world.folder)
        if path not in private and path.parent not in private and path.name != "plugin.so"
    ]  # fmt: skip
    assert {"hooks.log", "responder.log", "admin.log", "provision-broker.log", "provision.conf"} <= {
        f.name for f in files
    }
    files += [path for path in files_below(cluster.folder, since=hunt.began) if path.name != "superuser-password"]
    assert cluster.folder / "postgres.log" in files
    assert any("pg_wal" in path.parts for path in files)
    told = [*hunt.heard, *metrics(hunt), ("pg_dump", dump(hunt)), *processes()]
    told += environments(hunt)
    hits = canaries.found_in_files(files)
    hits += [f"{where}: {name}" for where, data in told for name in sorted(canaries.found_in(data))]
    return hits, len(files) + len(told)


def environments(hunt: Hunt) -> Iterator[tuple[str, bytes]]:
    """Of everything that was started: its secrets are in files."""
    for each in hunt.world.started:
        yield f"environment of {each.name}", Path(f"/proc/{each.pid()}/environ").read_bytes()


def metrics(hunt: Hunt) -> Iterator[tuple[str, bytes]]:
    """/metrics of all three."""
    ports = {
        "hooks": hunt.world.hooks_metrics_port,
        "responder": hunt.world.responder.environment["PROVISION_RESPONDER_METRICS_PORT"],
        "admin": hunt.api.environment["PROVISION_API_METRICS_PORT"],
    }
    for name, port in ports.items():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            yield f"metrics of {name}", answer.read()


@pytest.mark.timeout(600)
async def test_no_secret_is_found(hunt: Hunt, wire: Wire) -> None:
    answers = await provision_devices(hunt)
    await go_wrong(hunt)
    await administrate(hunt)
    await take_over(hunt, answers["gw-plain"]["connection"], wire.one_time_passwords)
    await fail_in_postgres(hunt)
    hits, places = await search(hunt)
    names = hunt.canaries.names
    reached = f"{len(hits)} hits of {len(names)} kinds of secrets in {places} places"
    figures.record("G16", "secrets where they must not be", "0 hits", reached, "make test", not hits)
    assert hits == [], "\n".join(hits)
