"""The `provision` command with `--server`: what it sends where, whose account, and how each kind of trouble ends."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from embedded.processes import Managed, answers, free_port
from service.cli import calls
from service.core.access import Role
from service.db.pool import open_pool
from service.keys import Secret
from service.operations import accounts, tokens
from service.operations.administration import Administration
from tests.integration.test_cli_trouble import ARGUMENTS, EVERY, HOSTILE, is_harmless
from tests.support.api import token_of
from tests.support.certificates import make_certificates
from tests.support.command import (
    DONE,
    FAILED,
    FORBIDDEN,
    INVALID,
    ROOT,
    TOO_MANY,
    UNKNOWN_TOKEN,
    UNREACHABLE,
    UNTRUSTED,
    Program,
    contents,
    elsewhere,
    settings,
)
from tests.support.database import PASSWORD, Database, make_account, make_request
from tests.support.faces import asked, by_server, remote

TOKEN = "pt_" + "x" * 43


async def test_nobody_at_the_servers_port(tmp_path: Path) -> None:
    """Exit status 4 and one line that names the server; none of the database's settings is asked for."""
    url = f"http://127.0.0.1:{free_port()}"
    program = remote(url, TOKEN, tmp_path, PROVISION_PASSWORD=PASSWORD)
    for words in EVERY:
        done = await program(*words, status=UNREACHABLE)
        assert done.out == ""
        assert done.err.startswith(f"Error: {url} does not answer: ")
    done = await program.process("account", "list", status=UNREACHABLE)
    assert TOKEN not in done.err


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://api.example", "not_encrypted"),
        ("http://10.0.0.1:8084", "not_encrypted"),
        ("http://localhost.example", "not_encrypted"),
        ("api.example", "url"),
        ("ftp://127.0.0.1", "url"),
        ("https://user:canary@api.example", "url"),
        ("https://api.example/?a=b", "url"),
        ("https://api.example:port", "url"),
        ("https://[::1", "url"),
        ("https://", "url"),
        ("https://api.example/\n", "url"),
    ],
)
async def test_a_token_is_sent_to_nobody_else(tmp_path: Path, url: str, rule: str) -> None:
    done = await remote(url, TOKEN, tmp_path)("account", "list", "--json", status=INVALID)
    assert done.problems() == {("server", rule)}
    assert "canary" not in done.err


async def test_token_files(tmp_path: Path) -> None:
    """Its owner's alone, and a token in it; no word of it is said."""
    program = remote("https://api.example", TOKEN, tmp_path)
    file = tmp_path / "token"
    for mode in (0o640, 0o604, 0o644, 0o620):
        file.chmod(mode)
        done = await program("account", "list", "--json", status=INVALID)
        assert done.problems() == {("token_file", "readable_by_others")}
    file.chmod(0o600)
    for text in ("", "canary", f"{TOKEN}x", f"{TOKEN} {TOKEN}", "\0" * 5000):
        file.write_text(text)
        done = await program("account", "list", "--json", status=INVALID)
        assert done.problems() == {("token_file", "no_token")}
        assert "canary" not in done.err
    for path in (str(tmp_path / "none"), str(tmp_path)):
        done = await program("account", "list", "--json", status=INVALID, PROVISION_TOKEN_FILE=path)
        assert {field for field, _ in done.problems()} == {"token_file"}
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    done = await program("account", "list", "--json", status=INVALID, PROVISION_TOKEN_FILE=str(pipe))
    assert done.problems() == {("token_file", "no_token")}
    done = await program("account", "list", "--json", status=INVALID, PROVISION_TOKEN_FILE="")
    assert done.problems() == {("token_file", "missing")}
    both = program.with_(PROVISION_SERVER="http://api.example", PROVISION_TOKEN_FILE="")
    done = await both("account", "list", "--json", status=INVALID)
    assert done.problems() == {("server", "not_encrypted"), ("token_file", "missing")}


def listening(folder: Path, **changes: object) -> tuple[Path, ssl.SSLContext]:
    """A new CA's file, and a server's side with a certificate of it."""
    made = make_certificates(folder, **changes)  # type: ignore[arg-type]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificate, made.key)
    return made.ca, context


async def test_a_certificate_is_trusted_or_not(admin: Administration, tmp_path: Path) -> None:
    await make_account(admin)
    others, _ = listening(tmp_path / "others")
    ca, context = listening(tmp_path / "ours")
    async with asked(admin, tls=context) as program:
        assert "acme" in (await program("--server-ca", str(ca), "account", "list")).out
        for options in ((), ("--server-ca", str(others))):
            done = await program(*options, "account", "list", status=UNTRUSTED)
            assert "is not trusted" in done.err
        key = str(tmp_path / "ours" / "server.key")
        done = await program("--server-ca", key, "account", "list", "--json", status=INVALID)
        assert done.problems() == {("server_ca", "unreadable")}
    ca, context = listening(tmp_path / "elsewhere", hosts=("10.0.0.1",))
    async with asked(admin, tls=context) as program:
        done = await program("--server-ca", str(ca), "account", "list", status=UNTRUSTED)
        assert "127.0.0.1" in done.err


@by_server
async def test_a_token_that_is_good_no_more(program: Program, admin: Administration) -> None:
    [token] = await tokens.list_tokens(admin, None)
    await tokens.revoke_token(admin, None, token["name"])
    for words in (("account", "list"), ("request", "show", "gw-1"), ("request", "delete", "gw-1", "--yes")):
        done = await program(*words, status=UNKNOWN_TOKEN)
        assert "does not know the token, or not any more" in done.err


async def whose(program: Program, admin: Administration, folder: Path, role: Role, account: str) -> Program:
    """The same server asked with an account's token, and no account named."""
    (folder / "other-token").touch(mode=0o600)
    (folder / "other-token").write_text(await token_of(admin, role, account))
    return program.with_(PROVISION_TOKEN_FILE=str(folder / "other-token"), PROVISION_ACCOUNT="")


@by_server
async def test_a_role_may_do_what_the_table_says(program: Program, admin: Administration, tmp_path: Path) -> None:
    await make_account(admin)
    await make_request(admin)
    operator = await whose(program, admin, tmp_path, Role.DEPLOYMENT_OPERATOR, "acme")
    assert "gw-1" in (await operator("request", "list")).out
    assert "gw-1" in (await operator("request", "show", "gw-1")).out
    assert "provision_username" not in (await operator("request", "list", "--json")).out
    assert (await operator("request", "explain", "gw-1")).out
    for words in (("request", "delete", "gw-1", "--yes"), ("device", "list"), ("account", "list")):
        done = await operator(*words, status=FORBIDDEN)
        assert "a deployment_operator may not " in done.err


@by_server
async def test_a_token_looks_in_its_own_account(
    program: Program, admin: Administration, database: Database, tmp_path: Path
) -> None:
    """Where none is named; and finds nothing in another one, whether that is there or not."""
    await make_account(admin)
    await accounts.create_account(admin, "globex", brokers=["account-broker"])
    await make_request(admin)
    await make_request(admin, "gx-1", "globex")
    manager = await whose(program, admin, tmp_path, Role.ACCOUNT_ADMINISTRATOR, "globex")
    rows = (await manager("request", "list", "--json")).json()
    assert [(row["account"], row["client_id"]) for row in rows] == [("globex", "gx-1")]
    made = await manager("request", "create", "gx-2", "--username", "factory-gx-2", "--json")
    assert made.json()["account"] == "globex"
    for command in (("user", "create", "ann"), ("user", "list"), ("device", "list"), ("events", "list")):
        await manager(*command)
    assert (await manager("token", "create", "token-1", "--role", "auditor", "--json")).json()["account"] == "globex"
    assert (await manager("events", "verify", "--json")).json()["whole"] is True
    done = await manager("request", "show", "gw-1", "--json", status=INVALID)
    assert done.problems() == {("client_id", "not_found")}
    before = await contents(database)
    for account in ("acme", "nosuch"):
        for words in (("request", "show", "gw-1"), ("request", "list"), ("user", "create", "eve")):
            done = await manager(*words, "--account", account, "--json", status=INVALID)
            assert done.problems() == {("account", "not_found")}
    assert await contents(database) == before
    done = await program.with_(PROVISION_ACCOUNT="")("user", "create", "ann", status=INVALID)
    assert "name the account" in done.err


async def test_the_servers_database_is_away(admin: Administration, database: Database) -> None:
    await make_account(admin)
    away = Secret(elsewhere(database.url("admin").reveal()))
    pool = await open_pool(away, name="test", size=1, timeout=5)
    async with asked(dataclasses.replace(admin, admin_pool=pool)) as program:
        done = await program("request", "list", status=UNREACHABLE)
        assert "cannot answer now: the database is away; try again in 2 s" in done.err
    pool.terminate()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def cutting(admin: Administration, times: int) -> AsyncIterator[Program]:
    """A server that does what it is asked and is cut off before it can say so, that often."""
    left = times

    @web.middleware
    async def cut(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal left
        response = await handler(request)
        if left:
            left -= 1
            assert request.transport is not None
            request.transport.abort()
        return response

    async with asked(admin, before=cut) as program:
        yield program.with_(PROVISION_PASSWORD=PASSWORD)


async def test_what_is_created_is_created_once(admin: Administration, database: Database) -> None:
    """The answer is cut off, the command asks again, and the same is answered."""
    async with cutting(admin, 1) as program:
        done = await program("account", "create", "acme", "--json")
    assert done.json() == {"name": "acme", "device_connection_coupling": "STRICT", "brokers": []}
    assert await database.value("SELECT count(*) FROM events WHERE kind = 'account_created'") == 1
    async with cutting(admin, 2) as program:
        assert "acme" in (await program("account", "list")).out


async def test_a_secret_that_was_cut_off_is_said_to_be_lost(admin: Administration, database: Database) -> None:
    await make_account(admin)
    create = ("request", "create", "gw-1", "--username", "factory-gw-1")
    async with cutting(admin, 1) as program:
        done = await program(*create, "--activation-key", status=FAILED)
        assert "what is shown once is lost: make another one" in done.err
        assert done.out == ""
        done = await program("request", "change", "gw-1", "--new-activation-key")
        assert len(done.out.strip()) > 20
    # Without a key nothing was lost.
    async with cutting(admin, 1) as program:
        await program("request", "create", "gw-2", "--username", "factory-gw-2")
    assert await database.value("SELECT count(*) FROM provision_requests") == 2


async def test_other_changes_are_not_made_twice(admin: Administration, database: Database) -> None:
    """Whether it was done is not known to the command, and it says so."""
    await make_account(admin)
    await make_request(admin)
    async with cutting(admin, 1) as program:
        done = await program("request", "disable", "gw-1", status=UNREACHABLE)
    assert "whether it was done is not known" in done.err
    assert await database.value("SELECT enabled FROM provision_requests") is False


async def test_a_server_that_cuts_every_connection(admin: Administration) -> None:
    async with cutting(admin, 100) as program:
        await program("account", "list", status=UNREACHABLE)


async def test_whoever_is_not_the_api_gets_no_token_passed_on(admin: Administration) -> None:
    """A redirect is not followed; a page is not taken for an answer."""
    paths = []

    @web.middleware
    async def other(request: web.Request, handler: Handler) -> web.StreamResponse:
        del handler
        paths.append(request.path)
        if request.method == "GET":
            return web.Response(status=307, headers={"Location": "/elsewhere"}, content_type="text/html")
        return web.Response(text="<html>", content_type="text/html", status=502)

    async with asked(admin, before=other) as program:
        done = await program("account", "list", status=FAILED)
        assert "does not answer as the administrators' API does (HTTP 307)" in done.err
        done = await program("account", "create", "acme", status=FAILED)
        assert "(HTTP 502)" in done.err
    assert paths == ["/api/v1/accounts", "/api/v1/accounts"]


@by_server
async def test_lists_go_on_page_by_page(
    program: Program, admin: Administration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MOST_ROWS", 2)
    await make_account(admin)
    names = [f"gw-{number}" for number in range(5)]
    for name in names:
        await make_request(admin, name)
    assert [row["client_id"] for row in (await program("request", "list", "--json")).json()] == names


@by_server
async def test_hostile_arguments_reach_the_server_as_they_are(
    program: Program, admin: Administration, database: Database
) -> None:
    await make_account(admin)
    before = await contents(database)
    for hostile in (HOSTILE.replace("\n", " "), "a/b", "a%2Fb", "../x", "?a=b", "#", "a+b&c", "ä数"):
        for words, arguments in ARGUMENTS.items():
            changed = [hostile if word in ("gw-1", "a-broker") else word for word in arguments]
            if changed != list(arguments) and words not in (("request", "explain"), ("request", "import")):
                done = await program(*words, *changed, status=INVALID)
                assert is_harmless(done.out + done.err), (words, done)
        rows = await program("request", "explain", hostile, "--json", status=DONE)
        assert rows.json() == []
    assert (await contents(database)) == before
    done = await program.process("request", "explain", os.fsdecode(b"\xff\xfe"), status=INVALID)
    assert "a value is not UTF-8 text, or out of range" in done.err


@by_server
async def test_at_a_terminal_it_asks_first(program: Program, admin: Administration) -> None:
    await make_account(admin)
    await make_request(admin)
    done = await program.at_terminal("request", "delete", "gw-1", typed=["y"])
    assert done.out.splitlines()[-1] == "deleted the provision request of gw-1"


@by_server
async def test_too_many_wrong_tokens(program: Program, tmp_path: Path) -> None:
    (tmp_path / "wrong").touch(mode=0o600)
    (tmp_path / "wrong").write_text(TOKEN)
    wrong = program.with_(PROVISION_TOKEN_FILE=str(tmp_path / "wrong"))
    for _ in range(20):
        await wrong("account", "list", status=UNKNOWN_TOKEN)
    done = await wrong("account", "list", status=TOO_MANY)
    assert "too many wrong tokens came from this address; try again in " in done.err
    await program("account", "list")


async def test_both_as_processes_of_their_own(admin: Administration, database: Database, tmp_path: Path) -> None:
    """`service admin` with settings of its own, and the command with nothing but a server and a token."""
    port, metrics_port = free_port(), free_port()
    ports = {"PROVISION_API_PORT": str(port), "PROVISION_API_METRICS_PORT": str(metrics_port)}
    limits = {"PROVISION_API_WRONG_TOKEN_BURST": "1", "PROVISION_API_WRONG_TOKEN_RATE": "0.001"}
    common = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    server = Managed(
        name="admin",
        command=[sys.executable, "-m", "service", "admin"],
        folder=tmp_path,
        is_ready=lambda: answers(f"http://127.0.0.1:{metrics_port}/readyz"),
        environment={**common, **settings(database), **ports, **limits},
    )
    await asyncio.to_thread(server.start)
    try:
        url = f"http://127.0.0.1:{port}"
        program = remote(url, await token_of(admin, Role.PLATFORM_ADMINISTRATOR), tmp_path)
        await make_account(admin)
        (file := tmp_path / "rows.csv").write_text(
            f"client_id,provision_username,provision_password\ngw-1,fleet,{PASSWORD}\ngw-2,fleet,{PASSWORD}\n"
        )
        file.chmod(0o600)
        result = str(tmp_path / "keys")
        done = await program.process("request", "import", str(file), "--result", result, "--json")
        assert (done.json()["created"], done.json()["keys_made"]) == (2, 2)
        assert "request_created" in (await program.process("request", "explain", "gw-1")).out
        (tmp_path / "token").write_text(TOKEN)
        await program.process("request", "list", status=UNKNOWN_TOKEN)
        done = await program.process("request", "list", status=TOO_MANY)
        assert "too many wrong tokens came from this address; try again in " in done.err
    finally:
        await asyncio.to_thread(server.stop)
