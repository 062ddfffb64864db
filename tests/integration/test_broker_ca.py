"""The CA that devices are told to trust: how administrators set it, and that an answer keeps the one it began with."""

from __future__ import annotations

import dataclasses
import datetime
import json
import stat
from pathlib import Path

import asyncpg
import pytest

from service.core import device_config
from service.core.answers import longest_accepted
from service.core.problems import InvalidInput
from service.core.requests import Changes, Limits
from service.operations import accounts, broker_ca, requests
from service.operations.administration import Administration
from tests.support.certificates import new_authority
from tests.support.command import FAILED, INVALID, TIME, Program, contents, provision
from tests.support.database import Database, make_request
from tests.support.desk import open_answer
from tests.support.scene import ACCOUNT, Scene

FIRST, SECOND = (new_authority(name) for name in ("first", "second"))
SECURE = "mqtts://account.example:8883"


@pytest.fixture
async def secure(scene: Scene) -> Scene:
    """The account is served by a second broker, which has TLS."""
    await accounts.create_broker(
        scene.admin, "secure-broker", role="account", urls=[SECURE], serves=["acme"], ca=FIRST.pem.decode()
    )
    return scene


async def test_an_answer_keeps_its_ca(secure: Scene) -> None:
    """I12: asked again, the same answer to the letter, whatever became of the broker's CA; the next run has the new."""
    device = await secure.request("gw-1", provision_endpoint=SECURE)
    first = await secure.ask(device)
    assert first["connection"]["ca"] == FIRST.pem.decode()
    await broker_ca.change(secure.admin, "secure-broker", SECOND.pem.decode())
    again = await secure.ask(device)
    assert (again["connection"], again["digest"]) == (first["connection"], first["digest"])
    await broker_ca.change(secure.admin, "secure-broker", None)
    assert (await secure.ask(device))["digest"] == first["digest"]
    await secure.database.check_invariants()
    await secure.fail(device)
    await broker_ca.change(secure.admin, "secure-broker", SECOND.pem.decode())
    assert (await secure.ask(device))["connection"]["ca"] == SECOND.pem.decode()


async def test_a_sealed_answer_hides_the_ca_as_well(secure: Scene) -> None:
    """It says where the device goes."""
    device = await secure.request("gw-1", provision_endpoint=SECURE, generate_activation_key=True)
    reply = await secure.ask(device, seal=True)
    assert "CERTIFICATE" not in str(reply)
    opened = open_answer(reply, "gw-1", device.activation_key or "")
    assert opened["connection"]["ca"] == FIRST.pem.decode()


async def test_an_endpoint_in_the_clear_has_no_ca(secure: Scene) -> None:
    await broker_ca.change(secure.admin, ACCOUNT, FIRST.pem.decode())
    device = await secure.run("gw-1", provision_endpoint="mqtt://account.example:1883")
    assert "ca" not in device.reply["connection"]


async def test_a_run_from_before_there_were_cas_answers_as_before(secure: Scene) -> None:
    device = await secure.request("gw-1", provision_endpoint="mqtt://account.example:1883")
    first = await secure.ask(device)
    await secure.database.execute("UPDATE provision_runs SET answer = answer - 'ca'")
    assert (await secure.ask(device))["digest"] == first["digest"]


async def test_the_ca_counts_for_the_answers_size(secure: Scene) -> None:
    """At creation and at change; a byte more than the limit is refused on that day, and not on provisioning's."""
    ca = FIRST.pem.decode()
    text = {"c": {"p": "x" * 10_000}}  # on Kura's wire it is sent gzipped, so that JSON's is the longer answer
    configuration = device_config.parse(json.dumps(text))[0]
    size = longest_accepted(
        endpoint=SECURE, account="acme", client_id="gw-1", configuration=text, applications=[], ca=ca
    )
    assert size > len(ca)
    for limit, rules in ((size, []), (size - 1, ["answer_too_large"])):
        admin = dataclasses.replace(secure.admin, limits=Limits(answer_bytes=limit))
        client_id = f"gw-{1 + len(rules)}"
        try:
            await make_request(
                admin, client_id, provision_endpoint=SECURE, additional_device_configuration=configuration
            )
            found = []
        except InvalidInput as error:
            found = [problem.rule for problem in error.problems]
        assert found == rules
    with pytest.raises(InvalidInput, match="the answer to the device"):
        await requests.change_request(admin, "acme", "gw-1", Changes(reserve_user=False))


async def test_broker_create_and_change(scene: Scene, database: Database, tmp_path: Path, program: Program) -> None:
    ca, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    ca.write_bytes(b"a line of openssl's\n" + FIRST.pem)
    other.write_bytes(FIRST.pem + SECOND.pem)
    await program("broker", "create", "b-2", "--role", "account", "--endpoint", SECURE, "--ca-file", str(ca))
    stored = "SELECT ca FROM brokers WHERE name = 'b-2'"
    assert await database.value(stored) == FIRST.pem.decode()
    done = await program("broker", "change", "B-2", "--ca-file", str(other), "--json")
    assert done.json() == {"name": "B-2", "ca": True}
    assert await database.value(stored) == (FIRST.pem + SECOND.pem).decode()
    listed = {row["name"]: row["ca_expires_on"] for row in (await program("broker", "list", "--json")).json()}
    assert TIME.fullmatch(listed["b-2"])
    assert listed[ACCOUNT] is None
    done = await program("broker", "change", "b-2", "--no-ca")
    assert done.out == "devices are handed no CA for b-2 from now on\n"
    assert await database.value(stored) is None
    rows = await database.fetch("SELECT detail::text AS d FROM events WHERE kind = 'broker_ca_changed' ORDER BY id")
    details = [json.loads(row["d"]) for row in rows]
    assert [detail["broker"] for detail in details] == ["b-2", "b-2"]
    assert [len(detail["ca_sha256"] or "") for detail in details] == [64, 0]


async def test_what_is_no_ca_is_refused(scene: Scene, database: Database, tmp_path: Path, program: Program) -> None:
    """Nothing changes, the problem has its field, and a private key is in no message."""
    before = await contents(database)
    file = tmp_path / "ca.pem"
    old = new_authority("old", end=datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC))
    for content, rule in (
        (b"", "ca"),
        (FIRST.pem + FIRST.key_pem, "ca_with_key"),
        (FIRST.pem * 40, "ca_too_large"),
        (old.pem, "ca_expired"),
    ):
        file.write_bytes(content)
        for words in (("change", ACCOUNT), ("create", "b-2", "--role", "account")):
            done = await program("broker", *words, "--ca-file", str(file), "--json", status=INVALID)
            assert done.problems() == {("ca", rule)}
            assert "MIG" not in done.err + done.out
    file.write_bytes(FIRST.pem)
    done = await program("broker", "change", "provision-broker", "--ca-file", str(file), "--json", status=INVALID)
    assert done.problems() == {("ca", "ca_of_provision_broker")}
    done = await program("broker", "change", "nobody", "--no-ca", "--json", status=INVALID)
    assert done.problems() == {("broker", "not_found")}
    for arguments in ((), ("--no-ca", "--ca-file", str(file)), ("--ca-file", str(tmp_path / "nowhere"))):
        await program("broker", "change", ACCOUNT, *arguments, status=INVALID)
    assert await contents(database) == before


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        (FIRST.key_pem.decode(), "brokers_ca_is_certificates"),
        ((FIRST.pem + FIRST.key_pem).decode(), "brokers_ca_is_certificates"),
        ("", "brokers_ca_is_certificates"),
        (FIRST.pem.decode() + "\n", "brokers_ca_is_certificates"),
        ("x\n" + FIRST.pem.decode(), "brokers_ca_is_certificates"),
        (FIRST.pem.decode() * 40, "brokers_ca_length"),
    ],
)
async def test_the_database_refuses_it_too(
    admin: Administration, database: Database, text: str, constraint: str
) -> None:
    await accounts.create_broker(admin, "b-2", role="account")
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await database.execute("UPDATE brokers SET ca = $1", text)
    assert refused.value.constraint_name == constraint
    await database.execute("UPDATE brokers SET ca = $1", (FIRST.pem + SECOND.pem).decode())


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each."""
    return {path.name: (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) for path in folder.rglob("*.*")}


async def test_ca_create_and_issue(database: Database, tmp_path: Path) -> None:
    """Without any setting: no database is asked."""
    bare = dataclasses.replace(provision(database), environment={})
    folder, target = tmp_path / "ca", tmp_path / "broker"
    done = await bare.process("ca", "create", "--directory", str(folder), "--name", "Bench", "--json")
    document = done.json()
    assert TIME.fullmatch(document.pop("expires_on"))
    assert document == {"name": "Bench", "ca": str(folder / "ca.pem"), "key": str(folder / "ca.key")}
    hosts = ("--host", "localhost", "--host", "::1")
    done = await bare("ca", "issue", "--directory", str(folder), *hosts, "--output", str(target))
    assert done.out.startswith(f"made {target}/certificate.pem for localhost, ::1, good until 20")
    before = files(tmp_path)
    modes = {name: mode for name, (mode, _) in before.items()}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "certificate.pem": 0o644, "key.pem": 0o600}
    again = await bare("ca", "create", "--directory", str(folder), status=FAILED)
    assert again.err == f"Error: {folder}/ca.key is there already and is not written over\n"
    await bare("ca", "issue", "--directory", str(folder), *hosts, "--output", str(target), status=FAILED)
    assert files(tmp_path) == before


async def test_ca_commands_say_what_is_wrong(database: Database, tmp_path: Path) -> None:
    bare = dataclasses.replace(provision(database), environment={})
    folder = ("--directory", str(tmp_path / "ca"))
    done = await bare("ca", "create", *folder, "--name", "", "--json", status=INVALID)
    assert done.problems() == {("name", "name")}
    await bare("ca", "create", *folder, "--days", "0", status=INVALID)
    output = ("--output", str(tmp_path / "b"))
    done = await bare("ca", "issue", *folder, "--host", "a", *output, status=FAILED)
    assert done.err == f"Error: {tmp_path}/ca/ca.pem: No such file or directory\n"
    await bare("ca", "create", *folder)
    done = await bare("ca", "issue", *folder, "--host", "a b", "--host", "", *output, "--json", status=INVALID)
    assert [problem["field"] for problem in json.loads(done.err)["problems"]] == ["host", "host"]
    (tmp_path / "ca" / "ca.key").write_text("no key")
    done = await bare("ca", "issue", *folder, "--host", "a", *output, status=FAILED)
    assert "must be a certificate and its EC key" in done.err
    assert not (tmp_path / "b").exists()
