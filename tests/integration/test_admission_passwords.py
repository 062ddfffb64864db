"""Factory passwords at the provision broker: the slow-hash budget, one price for every refusal, the memory (D5)."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import bcrypt
import pytest

from service.operations import accounts, credentials, devices, moves, users
from service.operations.questions import Outcome
from tests.support.figures import record
from tests.support.gate import Gate, open_gate
from tests.support.hooks_server import serving
from tests.support.scene import ACCOUNT, PROVISION, Device, Scene

WRONG = "Not-The-Password"


@asynccontextmanager
async def with_tokens(scene: Scene, tokens: int, **settings: Any) -> AsyncIterator[Gate]:
    """A hooks process with so many tokens a broker, and never another."""
    database = scene.database
    async with open_gate(
        database.url("hooks"), database.event_key, hashes={"rate": 1e-9, "burst": tokens, **settings}
    ) as gate:
        await gate.follow()
        yield gate


async def reason(gate: Gate, device: Device, password: str | None = None, **options: Any) -> str:
    """What a factory login is answered: a reason, or `allowed`."""
    username = options.get("username", device.factory_username)
    client_id = options.get("client_id", device.client_id)
    broker = options.get("broker", PROVISION)
    verdict = await gate.connect(broker, username, password or device.factory_password, client_id)
    assert verdict.outcome is {"": Outcome.ALLOWED, "over_budget": Outcome.UNAVAILABLE}.get(
        verdict.reason, Outcome.DENIED
    )
    return verdict.reason or "allowed"


async def test_a_token_comes_before_any_look_up(scene: Scene) -> None:
    """Known and unknown names alike; over the budget neither Postgres nor bcrypt hears of it."""
    device = await scene.request()
    async with with_tokens(scene, 4) as gate:
        answers = [
            await reason(gate, device, WRONG),
            await reason(gate, device, WRONG, username="nobody"),
            await reason(gate, device, WRONG, client_id="gw-9"),
            await reason(gate, device, WRONG),
        ]
        assert answers == ["wrong_password", "unknown_user", "wrong_password", "wrong_password"]
        before = (len(gate.store.calls), gate.admission.slow_hashes.hasher.hashes)
        for options in ({}, {"username": "nobody"}, {"client_id": "gw-9"}):
            for password in (WRONG, None):
                assert await reason(gate, device, password, **options) == "over_budget"
        assert (len(gate.store.calls), gate.admission.slow_hashes.hasher.hashes) == before == (4 + 0, 4)


async def test_a_hash_takes_what_it_lasted(scene: Scene) -> None:
    """Right or wrong, the broker waited: what one token does not pay is owed."""
    device = await scene.request()
    for password, answer in ((WRONG, "wrong_password"), (None, "allowed")):
        async with with_tokens(scene, 100, seconds=1e-9) as gate:
            assert await reason(gate, device, password) == answer
            assert await reason(gate, device, WRONG) == "over_budget"
            assert await reason(gate, device) == ("allowed" if password is None else "over_budget"), "remembered"


async def test_what_the_input_refuses_takes_no_token(scene: Scene) -> None:
    device = await scene.request()
    async with with_tokens(scene, 1) as gate:
        for _ in range(3):
            assert await reason(gate, device, "x" * 73) == "malformed_password"
            assert await reason(gate, device, username="a b") == "malformed_username"
            assert await reason(gate, device, client_id="a b") == "malformed_client_id"
            assert await reason(gate, device, username="~responder", client_id="~responder") == "unknown_user"
            assert await reason(gate, device, username="~takeover") == "wrong_password"
        assert gate.admission.slow_hashes.hasher.hashes == 0
        assert await reason(gate, device) == "allowed"


async def test_a_remembered_password_takes_no_token(scene: Scene) -> None:
    """Nor does it of another device that shares it; a wrong one still does."""
    first = await scene.request("gw-1", provision_username="fleet")
    second = await scene.request("gw-2", provision_username="fleet")
    async with with_tokens(scene, 2) as gate:
        assert await reason(gate, first) == "allowed"
        for _ in range(10):
            assert await reason(gate, first) == "allowed"
            assert await reason(gate, second) == "allowed"
        assert gate.admission.slow_hashes.hasher.hashes == 1
        assert await reason(gate, first, WRONG) == "wrong_password"
        assert await reason(gate, second, WRONG) == "over_budget"
        assert await reason(gate, first) == "allowed"
        assert gate.admission.slow_hashes.hasher.hashes == 2


async def test_refusing_a_remembered_password_takes_a_token(scene: Scene) -> None:
    """Else it would tell by its speed that name and password are right."""
    device = await scene.request()
    async with with_tokens(scene, 3) as gate:
        assert await reason(gate, device) == "allowed"
        assert await reason(gate, device, client_id="gw-9") == "no_matching_request"
        await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=False)
        assert await reason(gate, device) == "request_disabled"
        assert gate.admission.slow_hashes.hasher.hashes == 3
        assert await reason(gate, device) == "over_budget"
        await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=True)
        assert await reason(gate, device) == "allowed"


async def test_a_newer_row_is_verified_again(scene: Scene) -> None:
    """The memory is of one version of the user's row."""
    device = await scene.request()
    async with with_tokens(scene, 4) as gate:
        assert await reason(gate, device) == "allowed"
        await users.set_user_enabled(scene.admin, "acme", device.factory_username, enabled=False)
        assert await reason(gate, device) == "user_disabled"
        await users.set_user_enabled(scene.admin, "acme", device.factory_username, enabled=True)
        assert await reason(gate, device) == "allowed"
        assert gate.admission.slow_hashes.hasher.hashes == 3
        assert await reason(gate, device) == "allowed"
        assert gate.admission.slow_hashes.hasher.hashes == 3
        hashed = bcrypt.hashpw(b"Other-Password", bcrypt.gensalt(4)).decode()
        await scene.database.execute("UPDATE users SET password_bcrypt = $1 WHERE kind = 'provision'", hashed)
        assert await reason(gate, device) == "wrong_password", "the old password is forgotten at once"
        assert await reason(gate, device, "Other-Password") == "over_budget"


async def test_each_broker_has_its_own_budget(scene: Scene) -> None:
    """And account brokers, whose secrets are random, need none."""
    await accounts.create_broker(scene.admin, "provision-2", role="provision")
    device = await scene.run()
    async with with_tokens(scene, 1) as gate:
        assert await reason(gate, device, WRONG) == "wrong_password"
        assert await reason(gate, device, WRONG) == "over_budget"
        assert await reason(gate, device, WRONG, broker="provision-2") == "wrong_password"
        assert await reason(gate, device, WRONG, broker="provision-2") == "over_budget"
        for _ in range(5):
            assert not await gate.connect(ACCOUNT, device.username, WRONG, "gw-1")
        assert await gate.connect(ACCOUNT, device.username, device.password, "gw-1")
        assert gate.admission.slow_hashes.hasher.hashes == 2


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The work of every bcrypt, in rounds; done as ever."""
    rounds: list[int] = []
    hashpw, checkpw = bcrypt.hashpw, bcrypt.checkpw

    def count_hash(password: bytes, salt: bytes) -> bytes:
        rounds.append(2 ** int(salt[4:6]))
        return hashpw(password, salt)

    def count_check(password: bytes, hashed: bytes) -> bool:
        matches = checkpw(password, hashed)  # raises before any work where the hash is malformed
        rounds.append(2 ** int(hashed[4:6]))
        return matches

    with monkeypatch.context() as patched:
        patched.setattr(bcrypt, "hashpw", count_hash)
        patched.setattr(bcrypt, "checkpw", count_check)
        yield rounds


async def test_every_refusal_pays_the_same(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash of the highest stored cost, for whatever reason; an odd stored hash denies like any other."""
    cheap = await scene.run("gw-1")
    dear_admin = dataclasses.replace(scene.admin, bcrypt_cost=6)
    scene.admin = dear_admin
    dear = await scene.request("gw-2")
    for number, name in enumerate(("off-request", "off-user", "odd-hash"), start=3):
        await scene.request(f"gw-{number}", provision_username=name)
    await moves.set_enabled(dear_admin, "acme", "gw-3", enabled=False)
    await users.set_user_enabled(dear_admin, "acme", "off-user", enabled=False)
    odd = "$2b$05$" + "a" * 53
    await scene.database.execute("UPDATE users SET password_bcrypt = $1 WHERE name = 'odd-hash'", odd)
    person = await users.create_person(dear_admin, "acme", "ann", ["broker:connect"])
    gate, right = scene.gate, cheap.factory_password
    refused = [
        ("nobody", right, "gw-1"),
        (cheap.factory_username, WRONG, "gw-1"),
        (cheap.factory_username, right, "gw-2"),
        (cheap.factory_username, right, "unknown"),
        (dear.factory_username, WRONG, "gw-2"),
        (dear.factory_username, right, "gw-1"),
        ("off-request", right, "gw-3"),
        ("off-user", right, "gw-4"),
        ("odd-hash", right, "gw-5"),
        (cheap.username, cheap.password, "gw-1"),
        ("ann", person, "gw-1"),
        ("ann", right, "gw-1"),
        (cheap.factory_username, f"{right}\t{'a' * 32}", "gw-1"),
        (cheap.factory_username, f"{WRONG}\t{'a' * 32}", "gw-1"),
    ]
    for repeat in range(2):  # the second time some passwords are remembered
        for username, password, client_id in refused:
            hashes = gate.admission.slow_hashes.hasher.hashes
            with counted(monkeypatch) as rounds:
                verdict = await gate.connect(PROVISION, username, password, client_id)
            assert verdict.outcome is Outcome.DENIED
            assert sum(rounds) == 2**6, (username, client_id, verdict.reason)
            assert gate.admission.slow_hashes.hasher.hashes == hashes + 1
        assert await reason(gate, cheap) == await reason(gate, dear) == "allowed", repeat
    await accounts.set_account_enabled(dear_admin, "acme", enabled=False)
    await devices.set_device_enabled(dear_admin, "acme", "gw-1", enabled=False)
    for device in (cheap, dear):
        with counted(monkeypatch) as rounds:
            assert await reason(gate, device) == "account_disabled"
        assert sum(rounds) == 2**6


@pytest.mark.parametrize("password", ["", "x" * 73, "a\x00b", "pass\u00e9", "\ud800", "\tkey"])
async def test_what_the_input_refuses_pays_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """Known and unknown names alike: it says nothing of what is stored."""
    device = await scene.request()
    for username in (device.factory_username, "nobody"):
        with counted(monkeypatch) as rounds:
            assert not await scene.gate.connect(PROVISION, username, password, "gw-1")
        assert rounds == []


async def test_a_held_credential_pays_as_a_refusal_does(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash for the right password; a wrong one is told from it by the answer alone, as ever."""
    device = await scene.request()
    await credentials.hold(scene.admin, "acme", device.factory_username)
    for password, expected in ((WRONG, "wrong_password"), (device.factory_password, "credential_held")):
        with counted(monkeypatch) as rounds:
            verdict = await scene.gate.connect(PROVISION, device.factory_username, password, "gw-1")
        assert (verdict.reason, sum(rounds)) == (expected, 2**4)


async def test_every_refusal_is_answered_alike(scene: Scene) -> None:
    """Status, headers and body, whatever the reason."""
    device = await scene.run("gw-1", generate_activation_key=True)
    await scene.request("gw-2", provision_username="off-user")
    await scene.request("gw-3", provision_username="off-request")
    await moves.set_enabled(scene.admin, "acme", "gw-3", enabled=False)
    await users.set_user_enabled(scene.admin, "acme", "off-user", enabled=False)
    right, known = device.factory_password, device.factory_username
    refused = [
        ("nobody", right, "gw-1"), (known, WRONG, "gw-1"), (known, right, "gw-2"), (known, right, "gw-9"),
        (known, f"{right}\t{'a' * 32}", "gw-1"), ("off-user", right, "gw-2"), ("off-request", right, "gw-3"),
        (device.username, device.password, "gw-1"), (known, "x" * 73, "gw-1"), (known, "a\x00b", "gw-1"),
        ("a b", right, "gw-1"), (known, right, "a b"),
    ]  # fmt: skip
    answers = set()
    async with serving(scene) as server, server.client(PROVISION) as client:
        for username, password, client_id in refused:
            answer = await client.ask("user", {"username": username, "password": password, "clientid": client_id})
            headers = {name: value for name, value in answer.headers.items() if name != "date"}
            answers.add((answer.status, tuple(sorted(headers.items())), answer.body))
    assert len(answers) == 1, answers
    record(
        "G12",
        f"{len(refused)} kinds of refusal: status, headers, body; hashes of those behind a token",
        "the same",
        "the same",
        "make test",
        True,
    )


async def test_without_any_factory_user_a_refusal_has_the_default_cost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as rounds:
        verdict = await scene.gate.connect(PROVISION, "nobody", WRONG, "gw-1")
    assert (verdict.reason, sum(rounds)) == ("unknown_user", 2**10)


async def test_wrong_passwords_are_never_remembered(scene: Scene) -> None:
    device = await scene.request()
    for _ in range(3):
        assert await reason(scene.gate, device, WRONG) == "wrong_password"
    assert scene.gate.admission.slow_hashes.hasher.hashes == 3
    assert await reason(scene.gate, device) == "allowed"
