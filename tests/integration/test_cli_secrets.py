"""Secrets of the `provision` command: how they come in, that they come out once, and where they never are."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import click
import pytest

from service import keys
from service.cli.main import main
from service.operations.administration import Administration
from tests.support.command import DONE, FAILED, INVALID, UNREACHABLE, Program, contents, elsewhere, leaves, provision
from tests.support.database import PASSWORD, Database, make_account, make_request

CREATE = ("request", "create", "gw-1", "--username", "factory-gw-1", "--activation-key")

# Every command that makes a secret, up to the name of the file that it writes.
MAKERS: tuple[Sequence[str], ...] = (
    ("broker", "create", "new-broker", "--role", "account", "--secret-file"),
    ("broker", "rotate", "account-broker", "--secret-file"),
    ("service", "responder-password", "--secret-file"),
    ("user", "create", "alice", "--password-file"),
    (*CREATE, "--activation-key-file"),
    ("request", "change", "gw-2", "--new-activation-key", "--activation-key-file"),
    ("key", "create", "--output"),
)
ON_DATABASE = MAKERS[:-1]


@pytest.fixture
async def command(admin: Administration, database: Database) -> Program:
    """The command, with something that secrets can be made for."""
    await make_account(admin)
    await make_request(admin, "gw-2")
    return provision(database, PROVISION_PASSWORD=PASSWORD)


def test_no_option_takes_a_secret_by_value() -> None:
    """Arguments can be read by everybody on the machine, for as long as the command runs."""
    for command in leaves(main).values():
        for parameter in command.params:
            name = parameter.name or ""
            if any(word in name for word in ("password", "secret", "key", "token")):
                is_flag = isinstance(parameter, click.Option) and parameter.is_flag
                # A number counts them.
                assert name.endswith("_file") or is_flag or parameter.type is click.INT


def arguments_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


async def test_a_running_command_shows_no_secret(command: Program, database: Database, tmp_path: Path) -> None:
    """What /proc says of it while it waits for the database; and the file of the key is there already, its owner's."""
    file = tmp_path / "key"
    blocker = await asyncpg.connect(database.url().reveal())
    process = None
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
            process = command.started(*CREATE, "--activation-key-file", str(file))
            while not await database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert process.poll() is None, process.communicate()
            arguments = arguments_of(process.pid)
            assert b"create" in arguments
            assert PASSWORD.encode() not in b" ".join(arguments)
            assert (stat.S_IMODE(file.stat().st_mode), file.read_bytes()) == (0o600, b"")
        out, err = process.communicate()
    finally:
        await blocker.close()
        if process is not None and process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == DONE, err
    assert file.read_text().strip() not in (out + err).decode()


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: "-".join(maker[:2]))
async def test_a_secrets_file_is_new_and_its_owners(command: Program, tmp_path: Path, maker: Sequence[str]) -> None:
    file = tmp_path / "secret"
    before = os.umask(0)
    try:
        done = await command(*maker, str(file))
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().removesuffix("\n")
    assert len(secret) >= 32
    assert secret not in done.out + done.err
    assert f"is in {file}" in done.err


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: "-".join(maker[:2]))
async def test_a_file_that_is_there_is_never_written(
    command: Program, database: Database, tmp_path: Path, maker: Sequence[str]
) -> None:
    kept, link, dangling = tmp_path / "kept", tmp_path / "link", tmp_path / "dangling"
    kept.write_text("of somebody else")
    link.symlink_to(kept)
    dangling.symlink_to(tmp_path / "not-there")
    before = await contents(database)
    for path in (kept, link, dangling, tmp_path, tmp_path / "no-folder" / "file"):
        done = await command(*maker, str(path), status=FAILED)
        assert f"Error: {path}: " in done.err
        assert done.out == ""
    assert kept.read_text() == "of somebody else"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "kept", "link"]
    assert await contents(database) == before


@pytest.mark.parametrize("maker", ON_DATABASE, ids=lambda maker: "-".join(maker[:2]))
async def test_no_file_is_left_by_what_failed(
    command: Program, database: Database, tmp_path: Path, maker: Sequence[str]
) -> None:
    file = str(tmp_path / "secret")
    await command(*maker, file, status=UNREACHABLE, PROVISION_PLATFORM_DATABASE_URL=elsewhere(database.url().reveal()))
    await command(*maker, file, status=INVALID, PROVISION_EVENT_KEY="")
    bad_name = [word.replace("new-broker", "x").replace("alice", "x").replace("gw-", "a::") for word in maker]
    if bad_name != list(maker):
        await command(*bad_name, file, status=INVALID)
    assert os.listdir(tmp_path) == []


async def test_a_full_disk_is_said(command: Program, database: Database, tmp_path: Path) -> None:
    """The secret was made when the file could not be written: whoever asked must know that it is lost."""
    file = tmp_path / "secret"
    process = command.started(
        *("broker", "create", "new-broker", "--role", "account", "--secret-file", str(file), "--json"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    out, err = process.communicate()
    assert (process.returncode, out) == (FAILED, b"")
    assert b"the secret of new-broker was made, but is lost: make another one" in err
    assert b"Traceback" not in err
    assert not file.exists()
    await command("broker", "rotate", "new-broker", "--secret-file", str(file))


@pytest.mark.parametrize("options", [(), ("--json",), ("--activation-key-file",)])
async def test_an_activation_key_is_shown_once(
    command: Program, database: Database, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """On the screen or in the file, and afterwards nowhere: not by a command, not in any table."""
    file = tmp_path / "key"
    more = (*options, str(file)) if options == ("--activation-key-file",) else options
    done = await command(*CREATE, *more)
    key = file.read_text().strip() if file.exists() else done.json()["activation_key"] if options else done.out.strip()
    assert len(key) == 32
    assert (done.out + done.err).count(key) == (0 if file.exists() else 1)
    again = await command("request", "change", "gw-1", "--reserve-user", "--json")
    assert "activation_key" not in again.json()
    for words in (("show", "gw-1"), ("list",), ("explain", "gw-1")):
        for as_json in ((), ("--json",)):
            shown = await command("request", *words, *as_json)
            assert key not in shown.out + shown.err
    rows = [row for table in (await contents(database)).values() for row in table]
    assert [row for row in rows if key in row or PASSWORD in row] == []
    hashed = await database.value("SELECT activation_key_sha256 FROM provision_requests WHERE client_id = 'gw-1'")
    assert keys.matches(hashed, keys.ACTIVATION_KEY, key)


async def test_a_secret_stands_alone_on_standard_output(command: Program) -> None:
    """So that `key=$(provision request create ...)` catches it and nothing else."""
    done = await command.process(*CREATE)
    assert len(done.out) == 33
    assert done.err == ("created the provision request of gw-1; the activation key of gw-1, shown this once:\n")


async def test_no_file_where_no_key_was_made(command: Program, tmp_path: Path) -> None:
    file = tmp_path / "key"
    arguments = ("request", "create", "gw-1", "--username", "factory-gw-1", "--activation-key-file", str(file))
    done = await command(*arguments)
    assert done.out == "created the provision request of gw-1\n"
    assert done.err == f"no activation key was made: {file} is not written\n"
    assert not file.exists()


@pytest.mark.parametrize("content", [PASSWORD, f"{PASSWORD}\n", f"{PASSWORD}\r\n"])
async def test_the_password_comes_from_a_file(
    command: Program, database: Database, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content.encode())
    await command(*CREATE, "--password-file", str(file), PROVISION_PASSWORD="")
    assert await provision(database)(
        "request", "create", "gw-3", "--username", "factory-gw-1", status=DONE, PROVISION_PASSWORD=PASSWORD
    )


async def test_a_password_that_cannot_be_read_is_said(command: Program, database: Database, tmp_path: Path) -> None:
    binary, empty = tmp_path / "binary", tmp_path / "empty"
    binary.write_bytes(b"canary\xff\xfe")
    empty.touch()
    before = await contents(database)
    for path, why in ((binary, "is not UTF-8"), (tmp_path, "Is a directory"), (tmp_path / "no", "No such file")):
        done = await command(*CREATE, "--password-file", str(path), status=INVALID)
        assert f"the file of the provision password cannot be read: {path}: {why}" in done.err
        assert "canary" not in done.err
    done = await command(*CREATE, "--password-file", str(empty), "--json", status=INVALID)
    assert ("provision_password", "too_short") in done.problems()
    done = await command.process(*CREATE, status=INVALID, PROVISION_PASSWORD="")
    assert "--password-file, PROVISION_PASSWORD, or at a prompt" in done.err
    assert await contents(database) == before


async def test_the_password_is_prompted_for_twice_and_never_shown(command: Program, database: Database) -> None:
    typed = [PASSWORD, "a slip", PASSWORD, PASSWORD]
    done = await command.at_terminal(*CREATE, typed=typed, PROVISION_PASSWORD="")
    assert done.status == DONE, done.out
    assert "Provision password: " in done.out
    assert "do not match" in done.out
    assert PASSWORD not in done.out
    assert "a slip" not in done.out
    await command("request", "create", "gw-3", "--username", "factory-gw-1")  # the same password: it shares the user
