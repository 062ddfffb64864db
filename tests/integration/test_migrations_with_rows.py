"""Every step down and up again with rows in every table."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service import keys
from service.db.levels import files
from service.db.migrations import Migrator
from service.db.pool import open_pool
from service.keys import Secret
from service.operations import accounts, credentials, users
from service.operations.administration import Administration
from tests.integration.conftest import Blank
from tests.support.catalog import BOOKKEEPING, describe, differences
from tests.support.database import Database
from tests.support.figures import record
from tests.support.gate import open_gate
from tests.support.scene import Device, Scene, new_desk, open_administration

STEPS = len(files())


async def fill(blank: Blank, number: int) -> None:
    """Rows in every table, by operations as far as there are any."""
    database = Database(server=blank.server, name=blank.name)
    pool = await open_pool(database.url("responder"), name="test", size=2, timeout=60)
    try:
        async with open_administration(database) as admin, open_gate(database.url("hooks"), database.event_key) as gate:
            scene = Scene(database=database, admin=admin, desk=new_desk(database, pool), gate=gate, secrets={})
            await _fill(scene, admin, f"account-{number}", f"broker-{number}", number)
    finally:
        pool.terminate()


async def _fill(scene: Scene, admin: Administration, account: str, broker: str, number: int) -> None:
    await accounts.create_broker(admin, f"provision-{number}", role="provision")
    await accounts.create_broker(admin, broker, role="account", urls=[f"mqtt://{broker}:1883"])
    await accounts.create_account(admin, account, brokers=[broker])
    await accounts.begin_rotation(admin, broker)
    await users.create_person(admin, account, f"person-{number}", ["broker:connect", "data:view"])
    await users.put_responder_password(admin)
    await scene.gate.follow()
    await scene.request(f"open-{number}", account)
    await scene.run(f"running-{number}", account)
    await scene.abandon(f"abandoned-{number}", account)
    device = await scene.run(f"provisioned-{number}", account)
    assert await scene.login(device, broker=broker)
    assert not await scene.gate.connect(broker, "nobody", "at all", "x-1")
    await scene.gate.store.count_refusals(scene.gate.admission.refusals.take())
    await credentials.rotate(admin, account, f"factory-open-{number}")
    await scene.gate.store.note_credential_uses(
        [{"username": f"factory-open-{number}", "kind": "address", "what": "127.0.0.1", "count": 1}]
    )
    await scene.gate.store.count_guesses([{"username": "nobody", "count": 1}], interval=1.0, longest=60.0, most=1)
    key = (await scene.request(f"proved-{number}", account, generate_activation_key=True)).activation_key or ""
    assert await scene.gate.store.prove_key(
        f"factory-proved-{number}", f"proved-{number}", keys.secret_hash(keys.ACTIVATION_KEY, key)
    )
    await scene.gate.store.count_logins(scene.gate.admission.logins.take())
    await _fill_by_hand(scene, account, device)


async def _fill_by_hand(scene: Scene, account: str, device: Device) -> None:
    """What no operation writes yet."""
    account_id = await scene.database.value("SELECT id FROM accounts WHERE name = $1", account)
    others = await scene.database.value("INSERT INTO accounts (name) VALUES ($1) RETURNING id", f"other-{account}")
    await scene.database.execute(
        "INSERT INTO releases (client_id, account_id, to_account_id, expires_on, created_by)"
        " VALUES ($1, $2, $3, clock_timestamp() + interval '1 day', 'tester')",
        device.client_id, account_id, others,
    )  # fmt: skip
    await scene.database.execute(
        "INSERT INTO api_tokens (account_id, name, role, token_sha256, expires_on, created_by)"
        " VALUES ($1, 'token', 'auditor', sha256($2::text::bytea), clock_timestamp() + interval '1 day', 'tester')",
        account_id, account,
    )  # fmt: skip
    await scene.database.execute(
        "INSERT INTO idempotency_keys (token_id, account_id, key_sha256, request_sha256)"
        " SELECT id, account_id, sha256('k'), sha256('r') FROM api_tokens WHERE account_id = $1",
        account_id,
    )
    await scene.database.execute(
        "INSERT INTO run_steps (account_id, run_id, position, kind, request_id)"
        " SELECT account_id, id, 1, 'application', 'r' FROM provision_runs WHERE account_id = $1",
        account_id,
    )
    await scene.database.execute(
        "INSERT INTO provision_applications"
        " (account_id, request_id, position, name, application_version, url, sha256, size)"
        " SELECT account_id, id, 1, 'app', '1', 'https://x/app', repeat('a', 64), 1 FROM provision_requests"
        " WHERE account_id = $1",
        account_id,
    )
    await scene.database.fetch("SELECT write_event_checkpoint(decode(repeat('ab', 32), 'hex'))")
    await scene.database.execute(
        "INSERT INTO one_time_passwords (secret_sha256, client_id) VALUES (sha256($1::text::bytea), 'gw-1')", account
    )


def empty_tables(blank: Blank) -> list[str]:
    """Tables without a row."""
    names = blank.column("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [name for name in names if name not in BOOKKEEPING and not blank.fetch(f"SELECT 1 FROM {name} LIMIT 1")]


Tables = dict[str, list[dict[str, Any]]]
# What triggers write as rows are changed by a migration: it says what happened, and is not what must survive.
WRITTEN_BESIDE = {"changes", "access_journal"}


def contents(blank: Blank) -> Tables:
    """Every row of every table, sorted, less what migrations may count on."""
    names = blank.column("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {
        name: sorted(
            ({**row, "version": None} for row in blank.column(f"SELECT to_jsonb(t) FROM public.{name} t")), key=repr
        )
        for name in names
        if name not in BOOKKEEPING and name not in WRITTEN_BESIDE and not name.startswith("events_")
    }


def lost(before: Tables, after: Tables) -> list[str]:
    """Rows of one level that the next one has not, by the columns that the first one knows."""
    found = []
    for name, rows in before.items():
        columns = rows[0].keys() if rows else ()
        kept = sorted(({column: row.get(column) for column in columns} for row in after.get(name, [])), key=repr)
        found += [f"{name}: {row}" for row in rows if row not in kept]
        found += [f"{name}: {len(rows)} rows, then {len(kept)}"] if len(rows) != len(kept) and name in after else []
    return found


def fresh_levels(blank: Blank, newest: int) -> dict[str, Any]:
    """The schema of each of the newest levels, built from nothing."""
    levels = {}
    for place, file in enumerate(files()):
        assert blank.migrator().up(to=file.stem) == [file.stem]
        if place >= STEPS - newest:
            levels[file.stem] = describe(blank.url())
    return levels


# Its rollback leaves rights at what they are without it less those that everybody had: stricter, and no schema to run.
ISOLATION = "0008_isolation"
RIGHTS = ("tables", "functions", "schema")


def unlike(levels: dict[str, Any], level: str, blank: Blank) -> list[str]:
    """What differs from the schema of this level as it is built from nothing."""
    found, fresh = describe(blank.url()), levels[level]
    if level < ISOLATION:
        found, fresh = ({**each, **{what: [] for what in RIGHTS}} for each in (found, fresh))
    return differences(fresh, found)


@pytest.mark.parametrize("newest", [5, pytest.param(STEPS, marks=pytest.mark.long)])
def test_each_step_back_and_forth_with_rows(blank: Blank, another_blank: Blank, newest: int) -> None:
    """
    N, N - 1, N, N - 1 with rows in every table: what N - 1 knows survives N, and N is the same schema as from nothing.
    """
    levels, migrator = fresh_levels(another_blank, newest), blank.migrator()
    migrator.up()
    asyncio.run(fill(blank, 1))
    assert empty_tables(blank) == []
    for file in reversed(files()[-newest:]):
        assert unlike(levels, file.stem, blank) == [], file.stem
        assert migrator.down() == [file.stem]
        before = contents(blank)
        assert migrator.up(to=file.stem) == [file.stem]
        assert unlike(levels, file.stem, blank) == [], file.stem
        assert lost(before, contents(blank)) == [], file.stem
        assert migrator.down() == [file.stem]
        assert lost(before, contents(blank)) == [], file.stem
    assert migrator.up() == [file.stem for file in files()[-newest:]]
    assert migrator.verify() == []
    asyncio.run(fill(blank, 2))
    record("G23", "migrations down and up with rows in every table: schemas that differ, rows lost", "0 and 0",
           f"0 and 0 of {newest}", "pytest tests/integration/test_migrations_with_rows.py", True)  # fmt: skip


@pytest.mark.long
def test_every_step_down_and_up_with_rows(blank: Blank) -> None:
    """Any number of steps at once, on rows of every level before."""
    migrator = Migrator(Secret(blank.url("migrator")))
    migrator.up()
    for steps in range(1, STEPS + 1):
        asyncio.run(fill(blank, steps))
        assert empty_tables(blank) == []
        assert len(migrator.down(steps=steps)) == steps
        assert len(migrator.up()) == steps
        assert migrator.verify() == []
    asyncio.run(fill(blank, STEPS + 1))
