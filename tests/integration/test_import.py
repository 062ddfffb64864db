"""`provision request import`: checked as a whole, written in batches, no key lost, the same twice is no change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.keys import ACTIVATION_KEY, secret_hash
from service.operations.administration import Administration
from tests.support.command import FAILED, INVALID, Done, Program, contents, provision
from tests.support.database import ENDPOINT, PASSWORD, Database, make_account, make_request
from tests.support.faces import on_database
from tests.support.scene import Scene

HEAD = "client_id,provision_username,provision_password"
HEATER = {"name": "heater", "version": "1.2.0", "url": "https://files.example/h.dp", "sha256": "ab" * 32, "size": 7}
Write = Callable[..., str]


@pytest.fixture
async def command(admin: Administration, program: Program) -> Program:
    await make_account(admin)
    return program.with_(PROVISION_PASSWORD="")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*lines: str, name: str = "rows.csv") -> str:
        file = tmp_path / name
        file.write_bytes("".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"))
        file.chmod(0o600)
        return str(file)

    return write


@pytest.fixture
def result(tmp_path: Path) -> str:
    return str(tmp_path / "keys.ndjson")


def held(path: str) -> bytes | None:
    """What a file holds; nothing where there is none."""
    return Path(path).read_bytes() if os.path.exists(path) else None


def rows(number: int, *, username: str = "factory-shared", begin: int = 0) -> list[str]:
    return [HEAD, *(f"gw-{place},{username},{PASSWORD}" for place in range(begin, begin + number))]


def keys_in(result: str) -> dict[str, list[str]]:
    """{client id: every key that the file ever gave it}."""
    found: dict[str, list[str]] = {}
    for line in Path(result).read_text().splitlines()[1:]:
        document = json.loads(line)
        if document["outcome"] == "pending":
            found.setdefault(document["client_id"], []).append(document["activation_key"])
    return found


async def check_keys(database: Database, result: str) -> int:
    """Every request that has a key has it in the file, once; returns how many there are."""
    stored = await database.fetch("SELECT client_id, activation_key_sha256 AS hash FROM provision_requests")
    found = keys_in(result)
    for row in stored:
        if row["hash"] is not None:
            assert [secret_hash(ACTIVATION_KEY, key) for key in found[row["client_id"]]] == [row["hash"]]
    return len(stored)


def problems(done: Done) -> set[tuple[int, str, str]]:
    return {(found["line"], found["field"], found["rule"]) for found in done.json()["problems"]}


def counts(done: Done) -> dict[str, int]:
    document = done.json()
    return {name: document[name] for name in ("created", "changed", "unchanged", "refused")}


def some(**counted: int) -> dict[str, int]:
    return {"created": 0, "changed": 0, "unchanged": 0, "refused": 0, **counted}


async def test_rows_become_requests_and_the_same_file_again_changes_nothing(
    command: Program, database: Database, write: Write, result: str
) -> None:
    file = write(*rows(25))
    arguments = ("request", "import", file, "--result", result, "--batch", "10", "--json")
    assert counts(await command(*arguments)) == some(created=25)
    assert await check_keys(database, result) == 25
    assert os.stat(result).st_mode & 0o777 == 0o600
    before, written = await contents(database), held(result)
    assert counts(await command(*arguments)) == some(unchanged=25)
    assert await contents(database) == before
    assert held(result) == written
    # Another result file learns no key, and none is made.
    other = result + ".other"
    done = await command("request", "import", file, "--result", other, "--json")
    assert (counts(done), done.json()["keys_made"], keys_in(other)) == (some(unchanged=25), 0, {})
    assert PASSWORD.encode() not in (held(result) or b"")
    await database.check_invariants()


async def test_every_column_and_both_formats_mean_the_same(
    command: Program, admin: Administration, database: Database, write: Write, result: str, tmp_path: Path
) -> None:
    configuration = {"org.example.Heater": {"degrees": 21, "secret": {"type": "Password", "value": "canary-word"}}}
    (tmp_path / "heater.json").write_text(json.dumps(configuration))
    (tmp_path / "applications.json").write_text(json.dumps([HEATER]))
    whole = {
        "client_id": "gw-n", "provision_username": "factory-n", "provision_password": PASSWORD, "activation_key": True,
        "provision_endpoint": ENDPOINT, "activates_on": "2030-01-01T08:00:00+02:00",
        "expires_on": "2031-01-01T00:00:00Z",
        "reserve_user": False, "device_connection_coupling": "LOOSE", "additional_device_configuration": configuration,
        "applications": [HEATER], "maximum_attempts": 3, "enabled": False, "start_on_birth": False,
    }  # fmt: skip
    ndjson = write(json.dumps(whole), "", json.dumps({**whole, "client_id": "gw-m"}), name="rows.ndjson")
    text = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in {
            **whole, "client_id": "gw-c", "additional_device_configuration": "heater.json",
            "applications": "applications.json", "reserve_user": "FALSE",
        }.items()
    }  # fmt: skip
    csv = write("\ufeff" + ",".join(text), ",".join(text.values()), name="rows.csv")
    for number, file in enumerate((ndjson, csv)):
        arguments = ("request", "import", file, "--result", f"{result}{number}", "--json")
        await command(*arguments)
        assert counts(await command(*arguments)) == some(unchanged=2 - number)
    shown = {
        row["client_id"]: {**row, "client_id": "", "created_at": "", "modified_at": ""}
        for row in (await command("request", "list", "--json")).json()
    }
    assert shown["gw-n"] == shown["gw-m"] == shown["gw-c"]
    assert shown["gw-c"]["activates_on"] == "2030-01-01T06:00:00Z"
    assert shown["gw-c"]["additional_device_configuration"]["org.example.Heater"] == {"degrees": 21, "secret": "***"}
    assert shown["gw-c"]["applications"] == [HEATER]
    assert (shown["gw-c"]["activation_key"], shown["gw-c"]["enabled"]) == (True, False)
    assert "canary-word" not in str(await contents(database))
    await database.check_invariants()


BAD = {
    2: ("a b,factory-a," + PASSWORD, {("client_id", "client_id")}),
    3: ("gw-1,factory-a," + PASSWORD, set()),
    4: ("gw-1,factory-a," + PASSWORD, {("client_id", "duplicate")}),
    5: ("gw-2,factory-A," + PASSWORD, {("provision_username", "other_case")}),
    6: ("gw-3,factory-a,Other-Password", {("provision_password", "differs")}),
    7: ("gw-4,fa,short", {
        ("provision_username", "username"), ("provision_password", "too_short"),
        ("provision_password", "no_upper_case"), ("provision_password", "no_special"),
    }),
    8: ("gw-taken,factory-t," + PASSWORD, {("client_id", "client_id_taken")}),
    9: ("gw-5,factory-taken," + PASSWORD, {("provision_username", "username_taken")}),
    10: ("gw-6,factory-b", {("row", "columns")}),
    11: ("gw-\udcff,factory-b," + PASSWORD, {("client_id", "not_utf8")}),
    12: ("gw-\0,factory-b," + PASSWORD, {("client_id", "nul")}),
    13: (",factory-b," + PASSWORD, {("client_id", "missing")}),
    14: ('"gw-7"x,factory-b,' + PASSWORD, {("row", "not_csv")}),
    15: ("gw-8,factory-b," + PASSWORD, set()),
}  # fmt: skip


async def test_every_bad_row_is_told_and_nothing_is_written_unless_good_rows_are_accepted(
    command: Program, admin: Administration, database: Database, write: Write, result: str, tmp_path: Path
) -> None:
    await make_account(admin, "other", broker="other-broker")
    await make_request(admin, "gw-taken", "other", provision_username="factory-taken")
    before = await contents(database)
    file = write(HEAD, *(text for text, _ in BAD.values()))
    expected = {(line, *problem) for line, (_, found) in BAD.items() for problem in found}
    report = tmp_path / "report.ndjson"
    done = await command("request", "import", file, "--dry-run", "--report", str(report), "--json", status=INVALID)
    assert problems(done) == expected
    assert counts(done) == some(created=2, refused=12)
    assert [json.loads(line) for line in report.read_text().splitlines()] == done.json()["problems"]
    done = await command("request", "import", file, "--result", result, status=INVALID)
    assert "line 8 (gw-taken): client_id: is already in use" in done.err
    assert "nothing is written" in done.out
    assert held(result) is None
    assert await contents(database) == before
    done = await command("request", "import", file, "--result", result, "--accept-good-rows", "--json")
    assert counts(done) == some(created=2, refused=12)
    names = await database.fetch("SELECT client_id FROM provision_requests ORDER BY 1")
    assert [row["client_id"] for row in names] == ["gw-1", "gw-8", "gw-taken"]
    await database.check_invariants()


async def test_values_of_ndjson_have_their_types(command: Program, write: Write) -> None:
    good = {"client_id": "gw-1", "provision_username": "factory", "provision_password": PASSWORD}
    lines = {
        1: ({**good, "enabled": "true", "maximum_attempts": "3", "reserve_user": 1}, {
            ("enabled", "type"), ("maximum_attempts", "type"), ("reserve_user", "type"),
        }),
        2: ({**good, "expires_on": "2020-01-01T00:00:00", "client_id": 5}, {
            ("expires_on", "no_time_zone"), ("client_id", "type"),
        }),
        3: ({**good, "colour": "red"}, {("colour", "unknown_column")}),
        4: ({**good, "applications": [{}], "additional_device_configuration": 7}, {
            ("additional_device_configuration", "not_an_object"),
        }),
        5: ({**good, "device_connection_coupling": "TIGHT", "maximum_attempts": 0, "provision_endpoint": "mqtt://a"}, {
            ("device_connection_coupling", "coupling"), ("maximum_attempts", "maximum_attempts"),
            ("provision_endpoint", "endpoint_not_served"),
        }),
        6: ([], {("row", "not_an_object")}),
    }  # fmt: skip
    file = write(
        *(json.dumps(line) for line, _ in lines.values()), "{", '{"client_id": "a", "client_id": "b"}', name="r.ndjson"
    )
    done = await command("request", "import", file, "--dry-run", "--json", status=INVALID)
    missing = {
        (8, "client_id", "duplicate"),
        (8, "provision_username", "missing"),
        (8, "provision_password", "missing"),
    }
    expected = {(line, *problem) for line, (_, found) in lines.items() for problem in found}
    assert problems(done) == expected | {(7, "row", "not_json")} | missing


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((HEAD.replace(",", ";"), "a;b;c"), "semicolons"),
        ((HEAD + ",colour,key", "a,b,c,d,e"), "column 'colour'"),
        (("client_id,client_id", "a,b"), "twice"),
        (("client_id", "a"), "no column 'provision_username'"),
        ((), "no column 'client_id'"),
        ((HEAD, "x" * 3_000_000), "a line of more than"),
    ],
)
@on_database
async def test_files_that_are_none(command: Program, write: Write, lines: tuple[str, ...], words: str) -> None:
    done = await command("request", "import", write(*lines), "--dry-run", status=INVALID)
    assert words in done.err


async def test_update_changes_what_differs_and_says_what(
    command: Program, database: Database, write: Write, result: str
) -> None:
    await command("request", "import", write(*rows(3)), "--result", result)
    head = HEAD + ",maximum_attempts,expires_on,activation_key,enabled"
    file = write(
        head,
        f"gw-0,factory-shared,{PASSWORD},7,2040-01-01T00:00:00Z,,",
        f"gw-1,factory-shared,{PASSWORD},,,true,",
        f"gw-2,factory-shared,{PASSWORD},,,false,",
        name="second.csv",
    )
    arguments = ("request", "import", file, "--result", result + ".2", "--json")
    done = await command(*arguments, status=INVALID)
    assert problems(done) == {
        (2, "maximum_attempts", "differs"), (2, "expires_on", "differs"), (4, "activation_key", "differs"),
    }  # fmt: skip
    done = await command(*arguments, "--update")
    assert counts(done) == some(changed=2, unchanged=1)
    assert done.json()["changes"] == [
        {"line": 2, "client_id": "gw-0", "fields": ["expires_on", "maximum_attempts"]},
        {"line": 4, "client_id": "gw-2", "fields": ["activation_key"]},
    ]
    assert counts(await command(*arguments, "--update")) == some(unchanged=3)
    # What an import never changes, and a key that is made anew.
    file = write(
        head,
        f"gw-0,factory-other,{PASSWORD},,,,",
        f"gw-1,factory-shared,{PASSWORD},,,,false",
        f"gw-2,factory-shared,{PASSWORD},,,true,",
        name="third.csv",
    )
    third = ("request", "import", file, "--result", result + ".3", "--update", "--accept-good-rows", "--json")
    done = await command(*third)
    assert problems(done) == {(2, "provision_username", "differs"), (3, "enabled", "differs")}
    made = keys_in(result + ".3")
    stored = await database.value("SELECT activation_key_sha256 FROM provision_requests WHERE client_id = 'gw-2'")
    assert [secret_hash(ACTIVATION_KEY, key) for key in made["gw-2"]] == [stored]
    await database.check_invariants()


async def test_a_running_request_is_not_changed(scene: Scene, write: Write, result: str) -> None:
    """Its row is refused with the reason."""
    await scene.run("gw-1", provision_username="factory-shared", provision_password=PASSWORD)
    arguments = ("--result", result, "--update", "--json")
    file = write(HEAD + ",maximum_attempts", f"gw-1,factory-shared,{PASSWORD},9")
    done = await provision(scene.database)("request", "import", file, *arguments, status=INVALID)
    assert problems(done) == {(2, "state", "running")}


async def test_a_file_of_passwords_that_others_may_read_is_told(command: Program, write: Write) -> None:
    file = write(*rows(1))
    assert "chmod" not in (await command("request", "import", file, "--dry-run")).err
    os.chmod(file, 0o644)
    assert "chmod 600" in (await command("request", "import", file, "--dry-run")).err
    without = write("client_id", "gw-1", name="without.csv")
    os.chmod(without, 0o644)
    done = await command("request", "import", without, "--dry-run", "--username", "abc", PROVISION_PASSWORD=PASSWORD)
    assert done.err == ""


async def test_defaults_for_all_rows(command: Program, database: Database, write: Write, result: str) -> None:
    file = write("client_id", "gw-1", "gw-2")
    password = write(PASSWORD, name="password")
    await command("request", "import", file, "--result", result, "--username", "factory-x", "--password-file", password)
    assert await database.value("SELECT count(*) FROM users WHERE name = 'factory-x'") == 1
    assert len(keys_in(result)) == 2


async def test_a_result_file_is_its_owners_and_its_imports(
    command: Program, write: Write, result: str, tmp_path: Path
) -> None:
    file = write(*rows(2))
    arguments = ("request", "import", file, "--result", result)
    await command(*arguments)
    other = write(*rows(2, begin=5), name="other.csv")
    done = await command("request", "import", other, "--result", result, status=INVALID)
    assert "belongs to another import" in done.err
    os.chmod(result, 0o644)
    assert "0600" in (await command(*arguments, status=INVALID)).err
    os.chmod(result, 0o600)
    link = tmp_path / "link"
    link.symlink_to(result)
    assert "name a new file" in (await command("request", "import", file, "--result", str(link), status=INVALID)).err
    write("something else", name="keys.ndjson")
    assert "line 1" in (await command(*arguments, status=INVALID)).err


async def test_a_disk_that_is_full_changes_nothing_that_has_no_key_on_disk(
    command: Program, database: Database, write: Write
) -> None:
    file = write(*rows(2))
    done = await command("request", "import", file, "--result", "/dev/full", status=INVALID)
    assert "no link" in done.err
    assert await database.value("SELECT count(*) FROM provision_requests") == 0


async def test_labels(command: Program, write: Write, result: str, tmp_path: Path) -> None:
    await command("request", "import", write(*rows(4)), "--result", result)
    for ending in ("html", "svg"):
        sheet = tmp_path / f"labels.{ending}"
        done = await command("request", "labels", result, "--output", str(sheet), "--json")
        assert done.json()["labels"] == 4
        assert sheet.stat().st_mode & 0o777 == 0o600
        text = sheet.read_text()
        for client_id, (key,) in keys_in(result).items():
            assert client_id in text
            assert key[:4] in text
        assert text.count("<path") == 4
        again = await command("request", "labels", result, "--output", str(sheet), status=FAILED)
        assert "exists" in again.err
