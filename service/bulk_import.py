"""
An import from a file: every row is checked before the first is written, then they are written in batches.

It reads the file twice and keeps of a row only its names and one byte, so that a file may be as long as it likes. What
checks and what writes rows is called with rows and may be anywhere: a written row may be written again, unchanged.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service import keys
from service.core.imports import CHANGED, CREATED, REFUSED, UNCHANGED, Outcome, Row
from service.core.problems import InvalidInput, Problem
from service.core.requests import gets_activation_key
from service.import_file import Read, Reader, identity
from service.import_results import PENDING, ResultFile

BATCH = 1000
MOST_BATCH = 5000

Work = Callable[[Sequence[Row]], Awaitable[list[Outcome]]]

# What the check pass remembers of a row for the write pass.
SKIP, CREATE, CREATE_SHARED, CHANGE, CHANGE_WITH_KEY = range(5)


@dataclass(kw_only=True)
class Seen:
    """What the rows of one file said so far, so that a row that contradicts an earlier one is told."""

    # {client id: line}
    client_ids: dict[str, int] = field(default_factory=dict)
    # {username in lower case: [username, password, line, rows]}
    usernames: dict[str, list[Any]] = field(default_factory=dict, repr=False)

    def note(self, row: Row) -> Iterator[Problem]:
        """Every contradiction to an earlier row of the file."""
        new = row.new
        first = self.client_ids.setdefault(new.client_id, row.line)
        if first != row.line:
            yield Problem(field="client_id", rule="duplicate", text=f"is in line {first} already")
        entry = self.usernames.setdefault(
            new.provision_username.lower(), [new.provision_username, new.provision_password, row.line, 0]
        )
        entry[3] += 1
        name, password, line, _ = entry
        if name != new.provision_username:
            yield Problem(
                field="provision_username", rule="other_case", text=f"is written in other letters in line {line}"
            )
        elif password != new.provision_password:
            yield Problem(
                field="provision_password", rule="differs", text=f"is another one for this username in line {line}"
            )

    def is_shared(self, username: str) -> bool:
        """Whether several rows have a username."""
        entry = self.usernames.get(username.lower())
        return entry is not None and entry[3] > 1


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One problem of one row."""

    line: int
    client_id: str
    problem: Problem

    def to_document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "line": self.line,
            "client_id": self.client_id,
            "field": self.problem.field,
            "rule": self.problem.rule,
            "text": self.problem.text,
        }


@dataclass(kw_only=True)
class Import:
    """
    One file into one account. `refused`, `changed` and `advanced` are told while it goes on.

    `check_rows` and `write_rows`: what becomes of rows, in their order (operations/imports.py).

    `advanced` gets how much of the file was checked, in bytes, or how many rows were written.
    """

    account: str
    reader: Reader
    check_rows: Work
    write_rows: Work
    batch: int = BATCH
    refused: Callable[[Refusal], None] = lambda _refusal: None
    changed: Callable[[Outcome], None] = lambda _outcome: None
    advanced: Callable[[int], None] = lambda _done: None
    # {outcome: rows}
    checked: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    keys_made: int = 0
    keys_reused: int = 0
    _seen: Seen = field(default_factory=Seen)
    _states: bytearray = field(default_factory=bytearray)
    _settled: list[dict[str, Any]] = field(default_factory=list)
    _identity: tuple[int, int, int] | None = None

    @property
    def to_write(self) -> int:
        """How many rows are to be created or changed."""
        return self.checked[CREATED] + self.checked[CHANGED]

    async def check(self, pending: Mapping[str, str]) -> None:
        """
        Check every row; nothing is written. Raises InvalidInput where the file cannot be read.

        `pending`: {client id: key} that an interrupted import made, whose rows came to be or did not.
        """
        self._identity = identity(self.reader.file)
        for reads in _in_batches(self.reader.rows(), self.batch):
            await self._check_batch(reads, pending)
            self.advanced(self.reader.file.tell())
        self._still_the_same()

    async def _check_batch(self, reads: Sequence[Read], pending: Mapping[str, str]) -> None:
        rows = [
            dataclasses.replace(read.row, activation_key=pending.get(read.client_id))
            for read in reads
            if read.row is not None
        ]
        outcomes = iter(await self.check_rows(rows))
        for read in reads:
            if read.row is None:
                self._refuse(self.checked, read.line, read.client_id, read.problems)
                continue
            outcome = next(outcomes)
            problems = [*self._seen.note(read.row), *outcome.problems]
            if outcome.client_id in pending and outcome.outcome != CREATED:
                self._settle(outcome)
            if problems:
                self._refuse(self.checked, read.line, read.client_id, problems)
                continue
            self.checked[outcome.outcome] += 1
            self._states.append(_state(outcome))
            if outcome.outcome == CHANGED:
                self.changed(outcome)

    def _refuse(self, counts: Counter[str], line: int, client_id: str, problems: Sequence[Problem]) -> None:
        counts[REFUSED] += 1
        if counts is self.checked:
            self._states.append(SKIP)
        for problem in problems:
            self.refused(Refusal(line=line, client_id=client_id, problem=problem))

    def _settle(self, outcome: Outcome) -> None:
        """A row was written before the import was interrupted, or somebody else was faster."""
        if outcome.key_matches:
            self._settled.append(_line(outcome, CREATED))
        elif outcome.outcome in (UNCHANGED, CHANGED) and not outcome.needs_key:
            self._settled.append(_line(outcome, REFUSED))

    def _still_the_same(self) -> None:
        if identity(self.reader.file) != self._identity:
            raise InvalidInput([Problem(field="file", rule="changed", text="was written to while it was read")])

    async def write(self, result: ResultFile) -> None:
        """Create and change what was checked and may be. Raises InvalidInput and OSError; what was written stays."""
        result.add(self._settled)
        for line in self._settled:
            result.pending.pop(line["client_id"], None)
        chosen = (
            (read.row, state)
            for read, state in zip(self.reader.rows(), self._states, strict=True)
            if state != SKIP and read.row is not None
        )
        for batch in _in_batches(chosen, self.batch):
            self._still_the_same()
            await self._write_batch([self._with_key(row, state, result.pending) for row, state in batch], result)
            self.advanced(sum(self.written.values()))
        result.sync()

    def _with_key(self, row: Row, state: int, pending: Mapping[str, str]) -> Row:
        """A key is made before its row is written, and given again where that did not happen."""
        new = row.new
        key = pending.get(new.client_id)
        if key is not None:
            self.keys_reused += 1
        elif state == CHANGE_WITH_KEY or (
            state in (CREATE, CREATE_SHARED)
            and gets_activation_key(new, shared=state == CREATE_SHARED or self._seen.is_shared(new.provision_username))
        ):
            key = keys.new_activation_key()
            self.keys_made += 1
        return dataclasses.replace(row, activation_key=key)

    async def _write_batch(self, rows: Sequence[Row], result: ResultFile) -> None:
        made = [row for row in rows if row.activation_key is not None and row.new.client_id not in result.pending]
        result.add(
            {
                "line": row.line,
                "client_id": row.new.client_id,
                "provision_username": row.new.provision_username,
                "outcome": PENDING,
                "activation_key": row.activation_key,
            }
            for row in made
        )
        if made:
            result.sync()
        outcomes = await self.write_rows(rows)
        result.add(_line(outcome, _said(outcome)) for outcome in outcomes)
        for outcome in outcomes:
            result.pending.pop(outcome.client_id, None)
            if outcome.problems:
                self._refuse(self.written, outcome.line, outcome.client_id, outcome.problems)
            else:
                self.written[outcome.outcome] += 1


def _said(outcome: Outcome) -> str:
    """Its own key came to be, or the row's key is void."""
    if outcome.outcome == UNCHANGED:
        return CREATED if outcome.key_matches else REFUSED
    return outcome.outcome


def _line(outcome: Outcome, said: str) -> dict[str, Any]:
    line = {"line": outcome.line, "client_id": outcome.client_id, "outcome": said}
    return {**line, "fields": list(outcome.fields)} if said == CHANGED else line


def _state(outcome: Outcome) -> int:
    if outcome.outcome == CREATED:
        return CREATE_SHARED if outcome.shared else CREATE
    if outcome.outcome == CHANGED:
        return CHANGE_WITH_KEY if outcome.needs_key else CHANGE
    return SKIP


def _in_batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
