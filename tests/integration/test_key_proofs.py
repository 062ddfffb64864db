"""The activation key behind the password of a CONNECT: what it spares its device, and what it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.core.guessing import Limit
from service.guesses import Guesses
from service.operations import moves
from service.operations.questions import Outcome
from tests.support.database import PASSWORD
from tests.support.gate import WRITE, Gate, open_gate
from tests.support.scene import ACCOUNT, PROVISION, Device, Scene

WRONG = "Not-The-Password"
UNAVAILABLE = {"over_budget", "guessed_too_often", "key_proved_by_another"}


@asynccontextmanager
async def hooks(scene: Scene, **settings: Any) -> AsyncIterator[Gate]:
    """One more hooks process, with two tokens of the slow-hash budget and never another."""
    database = scene.database
    hashes = {"rate": 1e-9, "burst": 2, **settings}
    async with open_gate(database.url("hooks"), database.event_key, hashes=hashes) as gate:
        await gate.follow()
        yield gate


@pytest.fixture
async def fleet(scene: Scene) -> list[Device]:
    """Two devices of one fleet, with a key each."""
    return [
        await scene.request(client_id, provision_username="fleet", generate_activation_key=True)
        for client_id in ("gw-1", "gw-2")
    ]


async def knock(
    gate: Gate, device: Device, key: str | None = None, *, password: str = PASSWORD, broker: str = PROVISION
) -> str:
    """A CONNECT: a reason, or `allowed`."""
    whole = password if key is None else f"{password}\t{key}"
    verdict = await gate.connect(broker, device.factory_username, whole, device.client_id)
    assert (verdict.outcome is Outcome.UNAVAILABLE) == (verdict.reason in UNAVAILABLE)
    return verdict.reason or "allowed"


async def test_a_key_waits_for_no_budget(scene: Scene, fleet: list[Device]) -> None:
    """Neither the broker's nor the username's, however much others use up."""
    first, second = fleet
    async with hooks(scene, guesses=Guesses(Limit(rate=1e-3, burst=2))) as gate:
        for _ in range(2):
            assert await knock(gate, first, password=WRONG) == "wrong_password"
        assert await knock(gate, first) == await knock(gate, second) == "guessed_too_often"
        assert await knock(gate, first, first.activation_key) == "allowed"
        assert gate.admission.slow_hashes.hasher.hashes == 3
        assert await knock(gate, second) == "allowed", "the credential is remembered now"


async def test_who_proved_its_key_is_not_taken_over_without_it(scene: Scene, fleet: list[Device]) -> None:
    """At every process, and of this client id alone; ten minutes after the last time."""
    first, second = fleet
    async with hooks(scene) as gate, hooks(scene) as other:
        assert await knock(gate, first) == await knock(other, first) == "allowed"
        assert await knock(gate, first, first.activation_key) == "allowed"
        for process in (gate, other):
            for _ in range(2):
                assert await knock(process, first) == "key_proved_by_another"
            assert await knock(process, first, first.activation_key) == "allowed"
            assert await knock(process, second) == "allowed"
            assert await knock(process, first, password=WRONG) == "wrong_password"
        await scene.database.execute("UPDATE key_proofs SET proved_at = proved_at - interval '10 minutes'")
        assert await knock(gate, first) == await knock(other, first) == "allowed"
        assert await knock(other, first, first.activation_key) == "allowed"
        assert await knock(other, first) == "key_proved_by_another"


async def test_a_proof_is_written_once_a_minute(scene: Scene, fleet: list[Device]) -> None:
    first, _ = fleet
    written = "SELECT proved_at FROM key_proofs"
    assert await knock(scene.gate, first, first.activation_key) == "allowed"
    once = await scene.database.value(written)
    assert await knock(scene.gate, first, first.activation_key) == "allowed"
    assert await scene.database.value(written) == once
    for moved in ("- interval '2 minutes'", "+ interval '1 year'"):  # and after a clock was set back
        await scene.database.execute(f"UPDATE key_proofs SET proved_at = proved_at {moved}")
        assert await knock(scene.gate, first, first.activation_key) == "allowed"
        assert await scene.database.value("SELECT proved_at - clock_timestamp() < interval '0' FROM key_proofs")


@pytest.mark.parametrize("whose", ["nobody's", "another device's", "empty"])
async def test_a_wrong_key_pays_as_a_wrong_password_does(scene: Scene, fleet: list[Device], whose: str) -> None:
    first, second = fleet
    key = {"nobody's": "a" * 32, "another device's": second.activation_key or "", "empty": ""}[whose]
    async with hooks(scene, burst=3) as gate:
        assert await knock(gate, first) == "allowed"
        assert await knock(gate, first, key) == await knock(gate, first, key) == "wrong_activation_key"
        assert gate.admission.slow_hashes.hasher.hashes == 3
        assert await knock(gate, first, key) == "over_budget"
        uses = {(row["kind"], row["what"]): row["count"] for row in gate.admission.uses.take()}
        assert uses["wrong_key", "gw-1"] == 2
        # Whoever is connected under this name keeps its rights.
        assert await gate.acl(PROVISION, "fleet", "gw-1", "prov/v1/gw-1/request", WRITE)
    assert await scene.database.value("SELECT count(*) FROM key_proofs") == 0


async def test_a_wrong_password_behind_a_right_key_pays_soon(scene: Scene, fleet: list[Device]) -> None:
    """A device whose password is wrong has a small share of its own, and then the budget's."""
    first, _ = fleet
    async with hooks(scene) as gate:
        answers = [await knock(gate, first, first.activation_key, password=WRONG) for _ in range(7)]
        assert answers == ["wrong_password"] * 5 + ["over_budget"] * 2


async def test_a_key_opens_nothing_that_is_closed(scene: Scene, fleet: list[Device]) -> None:
    first, _ = fleet
    assert await knock(scene.gate, first, first.activation_key) == "allowed"
    await moves.set_enabled(scene.admin, "acme", "gw-1", enabled=False)
    assert await knock(scene.gate, first, first.activation_key) == "request_disabled"
    unknown = Device(client_id="gw-9", factory_username="fleet", reply={})
    assert await knock(scene.gate, unknown, first.activation_key) == "no_matching_request"
    stranger = Device(client_id="gw-1", factory_username="nobody", reply={})
    assert await knock(scene.gate, stranger, first.activation_key) == "unknown_user"


@pytest.mark.parametrize(
    "password", ["\tkey", "x" * 73 + "\tkey", "a\tb\x00", "Pass\nword\tkey", PASSWORD + "\t" + "k" * 129]
)
async def test_malformed_ones_are_refused_by_the_input(scene: Scene, fleet: list[Device], password: str) -> None:
    assert fleet
    verdict = await scene.gate.connect(PROVISION, "fleet", password, "gw-1")
    assert verdict.outcome is Outcome.DENIED
    assert verdict.reason in ("malformed_password", "no_password")
    assert scene.gate.admission.slow_hashes.hasher.hashes == 0


async def test_account_brokers_know_no_keys(scene: Scene) -> None:
    device = await scene.provision("gw-3", generate_activation_key=True)
    whole = f"{device.password}\t{device.activation_key}"
    assert (await scene.gate.connect(ACCOUNT, device.username, whole, "gw-3")).reason == "malformed_password"
