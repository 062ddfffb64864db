"""The journal of who may come in, as a file: every change once, through breaks, and none of the secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg

from service.operations import sweep, users
from service.operations.access_journal import AccessJournal
from tests.support.scene import Scene


def words(journal: Path) -> list[dict[str, Any]]:
    """The changes that stand in the file."""
    return [each for each in map(json.loads, journal.read_text().splitlines()) if "kind" in each]


def said(journal: Path) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["name"], each["state"]) for each in words(journal)]


async def test_each_change_once_also_after_a_restart(scene: Scene, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    await AccessJournal(scene.desk.pool, journal).write()
    assert ("account", "acme", "enabled") in said(journal)
    assert ("service", "account-broker", "enabled") in said(journal)
    before = len(words(journal))
    password = await users.create_person(scene.admin, "acme", "ann", [])
    assert await AccessJournal(scene.desk.pool, journal).write() == 1
    await users.delete_user(scene.admin, "acme", "ann")
    assert await AccessJournal(scene.desk.pool, journal).write() == 1
    assert said(journal)[before:] == [("user", "ann", "enabled"), ("user", "ann", "deleted")]
    assert journal.stat().st_mode & 0o777 == 0o600
    text = journal.read_text()
    assert password not in text
    assert "sha256" not in text


async def test_a_change_that_commits_late_is_not_missed(scene: Scene, tmp_path: Path) -> None:
    journal, writer = tmp_path / "journal", AccessJournal(scene.desk.pool, tmp_path / "journal")
    late = await asyncpg.connect(scene.database.url().reveal())
    try:
        async with late.transaction():
            await late.execute("UPDATE accounts SET enabled = false WHERE name = 'acme'")
            await users.put_responder_password(scene.admin)
            await writer.write()
            assert ("user", "~responder", "enabled") in said(journal)
            assert ("account", "acme", "disabled") not in said(journal)
        assert await writer.write() == 1
        assert said(journal)[-1] == ("account", "acme", "disabled")
    finally:
        await late.close()


async def test_a_confirmed_device_is_named_with_its_client_id(scene: Scene, tmp_path: Path) -> None:
    journal, writer = tmp_path / "journal", AccessJournal(scene.desk.pool, tmp_path / "journal")
    await writer.write()
    device = await scene.run()
    await writer.write()
    assert device.username not in journal.read_text(), "until its first login it asks again"
    await scene.login(device)
    await writer.write()
    assert words(journal)[-1].items() >= {"name": device.username, "client_id": "gw-1", "account": "acme"}.items()


async def test_what_was_cut_off_is_written_again(scene: Scene, tmp_path: Path) -> None:
    """Its writer died in the middle of a line, before the place was noted."""
    journal = tmp_path / "journal"
    await AccessJournal(scene.desk.pool, journal).write()
    whole = journal.read_bytes()
    await users.create_person(scene.admin, "acme", "ann", [])
    await AccessJournal(scene.desk.pool, journal).write()
    for cut in range(len(whole), journal.stat().st_size, 40):
        with journal.open("rb+") as file:
            file.truncate(cut)
        await AccessJournal(scene.desk.pool, journal).write()
        assert said(journal)[-1] == ("user", "ann", "enabled")
        assert all(map(json.loads, journal.read_text().splitlines()))


async def test_moved_away_it_begins_anew(scene: Scene, tmp_path: Path) -> None:
    journal, writer = tmp_path / "journal", AccessJournal(scene.desk.pool, tmp_path / "journal")
    await writer.write()
    before = said(journal)
    journal.rename(tmp_path / "older")
    assert await writer.write() == len(before)
    assert said(journal) == before
    assert await writer.write() == 0


async def test_of_another_cluster_it_tells_everything(scene: Scene, tmp_path: Path) -> None:
    """Also of a dumped database, whose transactions this cluster has not come to."""
    journal = tmp_path / "journal"
    journal.write_text(json.dumps({"cluster": "1/1", "position": "99999999:99999999:"}) + "\n")
    await scene.database.execute("UPDATE access_journal SET xid = '9999999' WHERE kind = 'account'")
    writer = AccessJournal(scene.desk.pool, journal)
    assert await writer.write() == await scene.database.value("SELECT count(*) FROM access_journal")
    assert await writer.write() == 0
    assert await AccessJournal(scene.desk.pool, journal).write() == 0


async def test_old_rows_go(scene: Scene) -> None:
    await scene.database.execute("UPDATE access_journal SET at = at - interval '31 days' WHERE kind = 'account'")
    await sweep.prune(scene.desk.pool)
    assert await scene.database.value("SELECT count(*) FROM access_journal WHERE kind = 'account'") == 0
    assert await scene.database.value("SELECT count(*) FROM access_journal") > 0
