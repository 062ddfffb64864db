"""
After a restore: what the journal outside of the database says of who may come in, against what the database says.

The journal's last word on a name counts. Whoever it says is out is kept out again; whoever it says is in and is not
here is named, so that people can see to it. Nothing is ever let in by it (docs/decisions/0013).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

KINDS = ("account", "token", "user", "request", "credential", "device", "broker", "service")
STATES = ("enabled", "disabled", "deleted")
# What can be kept out again; of a broker, and of an account it serves no more, people decide.
REVOCABLE = KINDS[:6]

# What, of which account (None: of the platform), by which name.
Key = tuple[str, str | None, str]


@dataclass(frozen=True, kw_only=True)
class Word:
    """
    One line of the journal: what somebody's state was from `at` on, by the clock of the database that was.

    `made` tells things apart that had the name after each other; `version` grows with each change. `client_id`: of a
    generated user whose first login was seen.
    """

    at: datetime.datetime
    id: int
    kind: str
    name: str
    state: str
    account: str | None = None
    made: datetime.datetime | None = None
    version: int | None = None
    client_id: str | None = None

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.kind, self.account, self.name


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a thing of this name stands in the restored database."""

    enabled: bool
    made: datetime.datetime | None
    version: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    What to do, each in the journal's order: keep out again; provision again (their users are not here); look after
    (changed since: a password, permissions, a secret, enabled again); make again (not here at all).
    """

    revoke: tuple[Word, ...]
    reissue: tuple[Word, ...]
    changed: tuple[Word, ...]
    missing: tuple[Word, ...]


def parse_journal(data: bytes) -> tuple[list[Word], list[int]]:
    """
    A journal's words, and the numbers of lines that cannot be read. A last line without an end was never finished.
    """
    words, unreadable = [], []
    *lines, _unfinished = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            word = _parse_line(line)
        except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
            unreadable.append(number)
            continue
        if word is not None:
            words.append(word)
    return words, unreadable


# What a line says, by field: its types, and whether it must be there. Times are texts with an offset.
_FIELDS: Mapping[str, tuple[type, bool]] = {
    "at": (str, True),
    "id": (int, True),
    "kind": (str, True),
    "name": (str, True),
    "state": (str, True),
    "account": (str, False),
    "made": (str, False),
    "version": (int, False),
    "client_id": (str, False),
}


def _parse_line(line: bytes) -> Word | None:
    """None: the place that the journal was written up to. Raises ValueError: it is neither that nor a word."""
    document = json.loads(line.decode())
    if not isinstance(document, dict):
        raise ValueError
    if document.keys() == {"cluster", "position"} and all(isinstance(value, str) for value in document.values()):
        return None
    missing = {name for name, (_, needed) in _FIELDS.items() if needed} - document.keys()
    if missing or not all(type(value) is _FIELDS.get(name, (None,))[0] for name, value in document.items()):
        raise ValueError
    if document["kind"] not in KINDS or document["state"] not in STATES:
        raise ValueError
    times = {name: datetime.datetime.fromisoformat(document[name]) for name in ("at", "made") if name in document}
    if any(time.tzinfo is None for time in times.values()):
        raise ValueError
    return Word(**{**document, **times})


def last_words(words: Iterable[Word], since: datetime.datetime) -> list[Word]:
    """The last word on each thing, of what was said after `since`, in the order of time."""
    last: dict[Key, Word] = {}
    for word in sorted((word for word in words if word.at > since), key=lambda word: (word.at, word.id)):
        last.pop(word.key, None)
        last[word.key] = word
    return list(last.values())


def plan(words: Iterable[Word], standing: Mapping[Key, Standing]) -> Plan:
    """What the last words (see `last_words`) ask for."""
    sorted_: dict[str, list[Word]] = {"revoke": [], "reissue": [], "changed": [], "missing": []}
    for word in words:
        for what in _judge(word, standing.get(word.key)):
            sorted_[what].append(word)
    sorted_["revoke"].sort(key=lambda word: KINDS.index(word.kind))
    return Plan(**{what: tuple(found) for what, found in sorted_.items()})


def _judge(word: Word, here: Standing | None) -> Iterable[str]:
    if here is None:
        if word.state == "deleted":
            return ()
        if word.client_id is not None:
            return ("reissue",) if word.state == "enabled" else ()
        return ("missing",)
    if word.made != here.made and word.state != "deleted":
        # What is here was deleted, and made anew under the same name.
        return (*_out_again(word, here), "missing")
    if word.state != "enabled":
        return _out_again(word, here)
    newer = word.version is not None and here.version is not None and word.version > here.version
    of_device = word.kind == "user" and word.client_id is not None
    return ("changed",) if not here.enabled or (newer and not of_device) else ()


def _out_again(word: Word, here: Standing) -> tuple[str, ...]:
    if not here.enabled:
        return ()
    return ("revoke",) if word.kind in REVOCABLE else ("changed",)
