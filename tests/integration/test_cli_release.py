"""`provision device release | releases | show`: what they print and change."""

from __future__ import annotations

import pytest

from service.operations import accounts
from tests.support.command import INVALID, TIME, Program, contents
from tests.support.database import Database
from tests.support.faces import on_database
from tests.support.scene import Scene


@pytest.fixture
async def two(scene: Scene) -> Scene:
    """`globex` beside `acme`, with a device to move."""
    urls = ["mqtt://globex.example:1883"]
    scene.secrets["globex-broker"] = await accounts.create_broker(
        scene.admin, "globex-broker", role="account", urls=urls
    )
    await accounts.create_account(scene.admin, "globex", brokers=["globex-broker"])
    await scene.gate.follow()
    await scene.provision()
    return scene


async def test_release_cancel_and_release_again(two: Scene, database: Database, program: Program) -> None:
    program = program.with_(PROVISION_ACCOUNT="")
    done = await program("device", "release", "gw-1", "--to", "globex")
    assert done.out.startswith("released gw-1 from acme to globex until ")
    assert TIME.search(done.out)
    again = await program("device", "release", "gw-1", "--to", "globex", "--json", status=INVALID)
    assert again.problems() == {("client_id", "already_released")}
    assert (await program("device", "release", "gw-1", "--cancel")).out == "cancelled the release of gw-1\n"
    none = await program("device", "release", "gw-1", "--cancel", "--json", status=INVALID)
    assert none.problems() == {("client_id", "not_released")}
    options = ("--to", "globex", "--until", "2999-01-31T08:00:00Z", "--account", "acme", "--json")
    assert (await program("device", "release", "gw-1", *options)).json() == {
        "account": "acme",
        "client_id": "gw-1",
        "to_account": "globex",
        "expires_on": "2999-01-31T08:00:00Z",
    }
    cancelled = await program("device", "release", "gw-1", "--cancel", "--json")
    assert cancelled.json() == {"account": "acme", "client_id": "gw-1", "cancelled": True}
    kinds = (await two.kinds())[-4:]
    assert kinds == ["device_released", "release_cancelled"] * 2


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        (("gw-1", "--to", "nobody"), {("to", "not_found")}),
        (("gw-1", "--to", "acme"), {("to", "same_account")}),
        (("gw-9", "--to", "globex"), {("client_id", "not_found")}),
        (("gw-1", "--to", "globex", "--until", "2001-01-01T00:00:00"), {("until", "no_time_zone")}),
        (
            ("gw-9", "--to", "ACME", "--until", "2001-01-01T00:00:00Z"),
            {("to", "same_account"), ("client_id", "not_found"), ("until", "until_past")},
        ),
        (("gw-1", "--to", "acme", "--account", "globex"), {("client_id", "not_found")}),
    ],
)
async def test_every_problem_is_named(
    two: Scene,
    database: Database,
    options: tuple[str, ...],
    problems: set[tuple[str, str]],
    program: Program,
) -> None:
    before = await contents(database)
    account = () if "--account" in options else ("--account", "acme")
    done = await program("device", "release", *options, *account, "--json", status=INVALID)
    assert done.problems() == problems
    assert await contents(database) == before
    assert await two.kinds()


@pytest.mark.parametrize(
    "options", [(), ("--to", "globex", "--cancel"), ("--cancel", "--until", "2999-01-01T00:00:00Z"), ("--until", "x")]
)
@on_database
async def test_say_to_or_cancel(two: Scene, database: Database, options: tuple[str, ...], program: Program) -> None:
    before = await contents(database)
    await program("device", "release", "gw-1", *options, status=INVALID)
    assert await contents(database) == before
    assert await two.kinds()


async def test_both_accounts_see_it(two: Scene, database: Database, program: Program) -> None:
    program = program.with_(PROVISION_ACCOUNT="")
    assert (await program("device", "releases")).out == "no releases\n"
    await program("device", "release", "gw-1", "--to", "globex")
    for account, who in (("acme", True), ("globex", False)):
        [row] = (await program("device", "releases", "--account", account, "--json")).json()
        assert (row["account"], row["to_account"], row["client_id"], row["status"]) == (
            "acme",
            "globex",
            "gw-1",
            "OPEN",
        )
        assert (row["created_by"] is not None) is who
        rows = (await program("request", "explain", "gw-1", "--account", account, "--json")).json()
        [seen] = [row for row in rows if row["what"] == "release"]
        assert (seen["detail"]["to"], seen["detail"]["status"]) == ("globex", "OPEN")
        assert TIME.fullmatch(seen["detail"]["until"])
    shown = await program("device", "show", "gw-1")
    assert [line.split()[:4] for line in shown.out.splitlines()[-1:]] == [["acme", "globex", "gw-1", "OPEN"]]
    [release] = (await program("device", "show", "gw-1", "--json")).json()["releases"]
    assert release["status"] == "OPEN"
    assert (await program("device", "releases", "gw-2")).out == "no releases\n"


async def test_after_a_move_an_account_must_be_named(two: Scene, database: Database, program: Program) -> None:
    program = program.with_(PROVISION_ACCOUNT="")
    await program("device", "release", "gw-1", "--to", "globex")
    new = await two.request("gw-1", "globex", provision_username="globex-factory")
    await two.ask(new)
    assert await two.login(new, broker="globex-broker")
    for words in (("device", "show"), ("device", "enable"), ("request", "show"), ("request", "enable")):
        unsure = await program(*words, "gw-1", "--json", status=INVALID)
        assert unsure.problems() == {("account", "ambiguous")}, words
    assert (await program("device", "show", "gw-1", "--account", "acme", "--json")).json()["enabled"] is False
    assert (await program("request", "show", "gw-1", "--account", "globex", "--json")).json()["enabled"] is True
    # Of the two, the one whose client id it is lets it go.
    back = await program("device", "release", "gw-1", "--to", "acme", "--json")
    assert back.json()["account"] == "globex"
