"""
Result files of imports: NDJSON, a line for each activation key before its row is written, then what became of it.

    {"import": 1, "account", "source_sha256", ...}                                    the first line: whose file it is
    {"line", "client_id", "provision_username", "outcome": "pending", "activation_key"}  on disk before the row is
    {"line", "client_id", "outcome": "created" | "changed" | "refused", "fields"?}    afterwards

So an import may end at any moment: a key whose row never came to be is given again, and no other is ever lost. A file
is its owner's alone, and one process's at a time.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from service.core.imports import CHANGED, CREATED
from service.core.problems import InvalidInput, Problem

VERSION = 1
PENDING = "pending"
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def _refused(path: str, rule: str, text: str) -> InvalidInput:
    return InvalidInput([Problem(field="result", rule=rule, text=f"{path}: {text}")])


@dataclass(kw_only=True)
class ResultFile:
    """
    An open result file, locked.

    `pending`: {client id: activation key} of rows that nothing is known of yet: an import was interrupted.
    """

    path: str
    handle: int
    is_new: bool
    pending: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str, header: Mapping[str, Any]) -> ResultFile:
        """A new file, or the one of the same import. Raises InvalidInput where it is neither."""
        handle, is_new = _open(path)
        made = cls(path=path, handle=handle, is_new=is_new)
        try:
            made._begin({"import": VERSION, **header})
        except BaseException:
            os.close(handle)
            raise
        return made

    def _begin(self, header: Mapping[str, Any]) -> None:
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _refused(self.path, "in_use", "is in use by another import") from error
        if self._repair() == 0:
            self._write([header])
            os.fsync(self.handle)
            _sync_folder(self.path)
            return
        lines = read_lines(self.path, self.handle)
        if next(lines) != header:
            raise _refused(self.path, "of_another_import", "belongs to another import: name a new file")
        for document in lines:
            if document["outcome"] == PENDING:
                self.pending[document["client_id"]] = document["activation_key"]
            else:
                self.pending.pop(document["client_id"], None)

    def _repair(self) -> int:
        """Cut a last line off that was not written whole: nothing was written for it elsewhere. Returns the size."""
        size = os.fstat(self.handle).st_size
        end = size
        while end:
            start = max(0, end - 65_536)
            place = os.pread(self.handle, end - start, start).rfind(b"\n")
            if place >= 0:
                end = start + place + 1
                break
            end = start
        if end != size:
            os.ftruncate(self.handle, end)
            os.fsync(self.handle)
        return end

    def add(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Append lines. Raises OSError."""
        self._write(documents)

    def sync(self) -> None:
        """What was added is on disk when this returns. Raises OSError."""
        os.fsync(self.handle)

    def _write(self, documents: Iterable[Mapping[str, Any]]) -> None:
        data = memoryview(b"".join(_encode(document) + b"\n" for document in documents))
        while data:
            data = data[os.write(self.handle, data) :]

    def close(self, *, discard: bool = False) -> None:
        """Let it go; `discard` a new one that nothing came into."""
        if discard and self.is_new:
            os.unlink(self.path)
        os.close(self.handle)


def _open(path: str) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
    except FileExistsError:
        pass
    except (OSError, ValueError) as error:
        raise _refused(path, "unwritable", getattr(error, "strerror", None) or "cannot be made") from error
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise _refused(path, "not_ours", f"{error.strerror}: name a new file") from error
    found = os.fstat(handle)
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    if not ours or found.st_nlink != 1:
        os.close(handle)
        raise _refused(path, "not_ours", "must be a file of yours that nobody else can read (0600), and no link")
    return handle, False


def _sync_folder(path: str) -> None:
    folder = os.open(Path(path).resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_lines(path: str, handle: int) -> Iterator[dict[str, Any]]:
    """The header and all lines after it; a last one that was not written whole is left out. Raises InvalidInput."""
    with open(handle, "rb", closefd=False) as file:
        file.seek(0)
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            yield _checked(path, number, line)


def _checked(path: str, number: int, line: bytes) -> dict[str, Any]:
    try:
        document = _decode(line)
    except msgspec.DecodeError:
        document = {}
    needed: tuple[str, ...] = ("client_id", "outcome") if number > 1 else ("import", "account")
    if document.get("outcome") == PENDING:
        needed += ("activation_key",)
    if not all(name in document for name in needed):
        raise _refused(path, "not_a_result_file", f"line {number} is not one of a result file")
    return document


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a device is told: an activation key that its request has."""

    account: str
    client_id: str
    activation_key: str = field(repr=False)


def read_labels(path: str) -> tuple[list[Label], int]:
    """The keys of all rows that came to be, in their order, and how many are pending. Raises InvalidInput."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _refused(path, "unreadable", getattr(error, "strerror", None) or "cannot be read") from error
    try:
        lines = read_lines(path, handle)
        header = next(lines, None)
        if header is None:
            raise _refused(path, "not_a_result_file", "is empty")
        found: dict[str, Label] = {}
        pending: dict[str, str] = {}
        for document in lines:
            client_id, outcome = document["client_id"], document["outcome"]
            if outcome == PENDING:
                pending[client_id] = document["activation_key"]
                continue
            key = pending.pop(client_id, None)
            if key is not None and outcome in (CREATED, CHANGED):
                found[client_id] = Label(account=header["account"], client_id=client_id, activation_key=key)
        return list(found.values()), len(pending)
    finally:
        os.close(handle)
