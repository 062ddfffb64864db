"""`--configuration` and `--applications` of `provision request create | change`: files as administrators have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.configuration_file import read
from service.core import kura_xml
from service.core.device_config import TRANSPORT
from service.operations.administration import Administration
from tests.support import kura_snapshot
from tests.support.command import INVALID, Program, contents
from tests.support.database import Database, make_account, make_request
from tests.support.desk import ask
from tests.support.faces import on_database
from tests.support.hostile_xml import AFTER, BEFORE, laughs
from tests.support.scene import Scene

CREATE = ("request", "create", "gw-1", "--username", "factory-gw-1")
HEATER = {"name": "heater", "version": "1.2.0", "url": "https://files.example/h.dp", "sha256": "ab" * 32, "size": 2**40}
COOLER = {**HEATER, "name": "cooler", "size": 7}


@pytest.fixture
async def command(admin: Administration, database: Database, program: Program) -> Program:
    await make_account(admin)
    return program


async def shown(command: Program, client_id: str = "gw-1") -> dict[str, Any]:
    row: dict[str, Any] = (await command("request", "show", client_id, "--json")).json()
    return row


@pytest.fixture
def snapshot(tmp_path: Path) -> str:
    file = tmp_path / "snapshot.xml"
    file.write_bytes(kura_snapshot.write())
    return str(file)


async def test_a_snapshot_is_taken_as_a_file_or_from_standard_input(
    command: Program, admin: Administration, database: Database, snapshot: str
) -> None:
    await command(*CREATE, "--configuration", snapshot)
    await make_request(admin, "gw-2")
    stdin = kura_snapshot.write().decode()
    await command.process("request", "change", "gw-2", "--configuration", "-", stdin=stdin)
    one, two = await shown(command), await shown(command, "gw-2")
    configuration = one["additional_device_configuration"]
    assert configuration == two["additional_device_configuration"]
    assert configuration.keys() == kura_snapshot.COMPONENTS.keys()
    assert configuration["org.eclipse.kura.internal.rest.provider.RestService"] == {
        "allowed.ports": [443, 4443], "session.secrets": "***",
    }  # fmt: skip
    assert kura_snapshot.CANARY not in str(await contents(database))


async def test_json_and_xml_are_stored_alike(command: Program, admin: Administration, tmp_path: Path) -> None:
    await make_request(admin)
    for content in (b'{"c":{"n":"x"}}', BEFORE + b"x" + AFTER):
        (file := tmp_path / "configuration").write_bytes(content)
        await command("request", "change", "gw-1", "--configuration", str(file))
        assert (await shown(command))["additional_device_configuration"] == {"c": {"n": "x"}}


@pytest.mark.parametrize(
    ("content", "broken"),
    [
        (laughs(), ["doctype"]),
        (BEFORE + b"x" * 2**20 + AFTER, ["too_large"]),
        (kura_snapshot.write(passwords_in_the_clear=False), ["encrypted", "encrypted"]),
        (BEFORE, ["not_xml"]),
        (b"\xff\xfe", ["unreadable"]),
    ],
)
@on_database
async def test_bad_files_change_nothing(
    command: Program, database: Database, tmp_path: Path, content: bytes, broken: list[str]
) -> None:
    before = await contents(database)
    (file := tmp_path / "snapshot.xml").write_bytes(content)
    done = await command(*CREATE, "--configuration", str(file), "--json", status=INVALID)
    assert [problem["rule"] for problem in json.loads(done.err)["problems"]] == broken
    assert {problem["field"] for problem in json.loads(done.err)["problems"]} == {"additional_device_configuration"}
    assert await contents(database) == before


async def test_a_snapshot_comes_out_as_it_went_in(command: Program, snapshot: str) -> None:
    """But for what is overridden, and for secrets."""
    await command(*CREATE, "--configuration", snapshot)
    printed = (await command.process("request", "preview", "gw-1", "--wire", "kura")).out
    assert printed.isascii()
    assert kura_snapshot.CANARY not in printed
    given = kura_xml_of(kura_snapshot.write())
    got = kura_xml_of(printed.encode())
    transport = {(TRANSPORT, name) for name in FIVE}
    auto = (kura_snapshot.DATA_SERVICE, "connect.auto-on-startup")
    secret = {at for at, value in given.items() if value.type == "Password"}
    ours = transport | {auto}
    assert {at: v for at, v in got.items() if at not in ours | secret} == {
        at: v for at, v in given.items() if at not in ours | secret
    }
    assert {got[at].clear for at in secret | {(TRANSPORT, "username")}} == {"***"}
    assert (got[auto].clear, got[TRANSPORT, "client-id"].clear) == (True, "gw-1")
    assert printed.count(kura_xml.MARK) == len(ours)
    assert len({component for component, _ in got}) == len(kura_snapshot.COMPONENTS) > 30


FIVE = ("broker-url", "topic.context.account-name", "client-id", "username", "password")


def kura_xml_of(data: bytes) -> dict[tuple[str, str], Any]:
    configuration, problems = read(data)
    assert problems == []
    return {(component, name): value for component, p in configuration.items() for name, value in p.items()}


async def test_applications_are_kept_in_order_and_shown(command: Program, tmp_path: Path) -> None:
    (file := tmp_path / "applications.json").write_text(json.dumps([HEATER, COOLER]))
    await command(*CREATE, "--applications", str(file))
    assert (await shown(command))["applications"] == [HEATER, COOLER]
    assert (await command("request", "list", "--json")).json() == [await shown(command)]
    for_people = (await command.process("request", "show", "gw-1")).out
    assert "applications: 1" in for_people
    assert "name=cooler  version=1.2.0  url=https://files.example/h.dp" in for_people
    await command.process("request", "change", "gw-1", "--applications", "-", stdin=json.dumps([COOLER]))
    assert (await shown(command))["applications"] == [COOLER]
    await command("request", "change", "gw-1", "--reserve-user")
    assert (await shown(command))["applications"] == [COOLER]
    await command("request", "change", "gw-1", "--applications", "-", stdin="[]")
    assert (await shown(command))["applications"] == []


async def test_a_device_is_told_to_install_them(scene: Scene, database: Database, program: Program) -> None:
    await scene.request("gw-1")
    await program("request", "change", "gw-1", "--applications", "-", stdin=json.dumps([HEATER, COOLER]))
    assert (await ask(scene.desk, "gw-1"))["applications"] == [HEATER, COOLER]


@pytest.mark.parametrize(
    ("content", "broken"),
    [
        ("{}", {"not_a_list"}),
        (json.dumps([{**HEATER, "size": 0}, {"name": "x"}]), {"size", "fields"}),
        (json.dumps([HEATER, HEATER]), {"duplicate"}),
        ('[{"name": "a", "name": "a"}]', {"duplicate_field"}),
        (json.dumps([{**HEATER, "name": f"a{n}"} for n in range(10)]), {"too_many"}),
    ],
)
async def test_bad_applications_change_nothing(
    command: Program, admin: Administration, database: Database, content: str, broken: set[str]
) -> None:
    await make_request(admin, "gw-2")
    before = await contents(database)
    for words in (CREATE, ("request", "change", "gw-2")):
        done = await command(*words, "--applications", "-", "--json", stdin=content, status=INVALID)
        assert done.problems() == {("applications", rule) for rule in broken}
    assert await contents(database) == before


@on_database
async def test_how_many_there_may_be_is_a_setting(command: Program) -> None:
    many = json.dumps([{**HEATER, "name": f"a{n}"} for n in range(10)])
    done = await command(
        *CREATE, "--applications", "-", "--json", stdin=many, status=INVALID, PROVISION_MOST_APPLICATIONS="3"
    )
    assert done.problems() == {("applications", "too_many")}
    await command(*CREATE, "--applications", "-", stdin=many, PROVISION_MOST_APPLICATIONS="10")
    assert len((await shown(command))["applications"]) == 10


async def test_files_that_cannot_be_read(command: Program, database: Database, tmp_path: Path) -> None:
    before = await contents(database)
    nowhere = str(tmp_path / "nowhere")
    for option, field in (("configuration", "additional_device_configuration"), ("applications", "applications")):
        done = await command(*CREATE, f"--{option}", nowhere, "--json", status=INVALID)
        assert done.problems() == {(field, "unreadable")}
        await command(*CREATE, f"--{option}", str(tmp_path), status=INVALID)
    done = await command(
        *CREATE, "--configuration", nowhere, "--applications", "-", "--json", stdin="{}", status=INVALID
    )
    assert done.problems() == {("additional_device_configuration", "unreadable"), ("applications", "not_a_list")}
    both = ("--configuration", "-", "--applications", "-")
    for words in (CREATE, ("request", "change", "gw-1")):
        assert "only one file" in (await command(*words, *both, stdin="[]", status=INVALID)).err
    assert await contents(database) == before
