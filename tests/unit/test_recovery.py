"""After a restore: what the journal's last words ask for."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

import pytest

from service.core.recovery import Plan, Standing, Word, last_words, parse_journal, plan

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
MADE = NOON - datetime.timedelta(days=1)
LATER = NOON + SECOND


def word(kind: str = "user", state: str = "disabled", name: str = "ann", **changes: Any) -> Word:
    values: dict[str, Any] = {"at": LATER, "id": 1, "account": "acme", "made": MADE, "version": 2, **changes}
    return Word(kind=kind, state=state, name=name, **values)


def stands(enabled: bool = True, made: datetime.datetime | None = MADE, version: int | None = 1) -> Standing:
    return Standing(enabled=enabled, made=made, version=version)


def asked_for(said: Word, here: Standing | None) -> set[str]:
    """What a word asks for: fields of the plan that have it."""
    found = plan([said], {said.key: here} if here is not None else {})
    return {field.name for field in dataclasses.fields(Plan) if getattr(found, field.name) == (said,)}


@pytest.mark.parametrize("kind", ["account", "token", "user", "request", "credential", "device"])
@pytest.mark.parametrize("state", ["disabled", "deleted"])
def test_whoever_was_put_out_is_put_out_again(kind: str, state: str) -> None:
    assert asked_for(word(kind, state), stands()) == {"revoke"}
    assert asked_for(word(kind, state), stands(enabled=False)) == set()


@pytest.mark.parametrize("kind", ["broker", "service"])
def test_of_a_broker_people_decide(kind: str) -> None:
    assert asked_for(word(kind, "deleted"), stands()) == {"changed"}


def test_who_was_deleted_and_is_not_here_is_no_concern() -> None:
    assert asked_for(word(state="deleted"), None) == set()
    assert asked_for(word(state="deleted", client_id="gw-1"), None) == set()


def test_a_confirmed_devices_user_that_is_not_here_is_made_again() -> None:
    said = word(state="enabled", name="d-abc", client_id="gw-1")
    assert asked_for(said, None) == {"reissue"}
    assert asked_for(dataclasses.replace(said, state="disabled"), None) == set()
    assert asked_for(said, stands(version=1)) == set(), "its login is merely confirmed once more"


def test_what_was_made_since_is_missing() -> None:
    assert asked_for(word("request", "enabled", "gw-9"), None) == {"missing"}
    assert asked_for(word("user", "disabled"), None) == {"missing"}


def test_a_name_that_was_deleted_and_made_anew_is_somebody_else() -> None:
    """The password that the restored row knows is the deleted one's."""
    assert asked_for(word(state="enabled", made=NOON), stands()) == {"revoke", "missing"}
    assert asked_for(word(state="enabled", made=NOON), stands(enabled=False)) == {"missing"}
    assert asked_for(word(state="deleted", made=NOON), stands()) == {"revoke"}


def test_a_newer_password_is_looked_after() -> None:
    assert asked_for(word(state="enabled", version=2), stands(version=1)) == {"changed"}
    assert asked_for(word(state="enabled", version=2), stands(version=2)) == set()
    assert asked_for(word(state="enabled", version=None), stands(version=None)) == set()


def test_nobody_is_ever_let_in() -> None:
    assert asked_for(word(state="enabled"), stands(enabled=False)) == {"changed"}


def test_accounts_come_before_what_they_have() -> None:
    words = [word("device", name="gw-1"), word("user"), word("account", name="acme", account=None)]
    found = plan(words, {each.key: stands() for each in words})
    assert [each.kind for each in found.revoke] == ["account", "user", "device"]


def test_the_last_word_counts_in_whatever_order_files_are_read() -> None:
    first, last = word(state="disabled", at=LATER, id=7), word(state="enabled", at=LATER + SECOND, id=3)
    same_moment = word(state="deleted", at=LATER, id=8)
    assert last_words([last, first], NOON) == [last]
    assert last_words([same_moment, first], NOON) == [same_moment]
    assert last_words([first, last], last.at) == [], "what was said until then is in the database"
    others = [word(name="zoe"), word(account="globex"), word("device")]
    assert len(last_words([first, *others], NOON)) == 4


def test_last_words_are_in_the_order_of_time() -> None:
    """A thing stands where its last word was said, not where its first was."""
    first, other = word(at=NOON + SECOND), word(name="zoe", at=NOON + 2 * SECOND)
    last = word(state="enabled", at=NOON + 3 * SECOND)
    assert last_words([last, other, first], NOON) == [other, last]


def line(**changes: Any) -> bytes:
    document = {"at": "2030-01-31T12:00:01+00:00", "id": 1, "kind": "user", "name": "ann", "state": "disabled"}
    return json.dumps({**document, **changes}).encode() + b"\n"


def test_a_journal_is_read() -> None:
    position = b'{"cluster": "1/1", "position": "5:5:"}\n'
    words, unreadable = parse_journal(line(account="acme", version=3) + position + line(name='a "position"') + b'{"at')
    assert unreadable == []
    assert [(each.name, each.account, each.at) for each in words] == [
        ("ann", "acme", LATER),
        ('a "position"', None, LATER),
    ]
    assert parse_journal(b"") == ([], [])


def test_each_field_of_a_line_is_in_its_word() -> None:
    whole = line(account="acme", made="2030-01-30T14:00:00+02:00", version=3, client_id="gw-1")
    assert parse_journal(whole + line()) == (
        [
            Word(
                at=LATER, id=1, kind="user", name="ann", state="disabled",
                account="acme", made=MADE, version=3, client_id="gw-1",
            ),
            Word(at=LATER, id=1, kind="user", name="ann", state="disabled"),
        ],
        [],
    )  # fmt: skip


def test_no_time_of_a_line_is_without_an_offset() -> None:
    """Nobody can tell when it was."""
    assert parse_journal(line(made="2030-01-30T12:00:00") + line(made="yesterday")) == ([], [1, 2])


@pytest.mark.parametrize(
    "broken",
    [
        b"\n", b"{}\n", b"\xff\n", b"[]\n", b'{"position": 1}\n', line(kind="x"), line(state="x"), line(at="now"),
        line(at="2030-01-31T12:00:01"), line(more=1), line(id="1"), line()[:-5] + b"\n", b"[" * 100_000 + b"\n",
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named(broken: bytes) -> None:
    """It may be the word that matters: nothing is passed over in silence."""
    words, unreadable = parse_journal(line() + broken + line())
    assert len(words) == 2
    assert unreadable == [2]
