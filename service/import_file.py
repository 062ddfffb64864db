"""
Files of provision requests, a row a line: CSV (RFC 4180, with a header) and NDJSON, read as a stream.

What is wrong with a file as a whole raises InvalidInput; what is wrong with a row is its own, and reading goes on.
"""

from __future__ import annotations

import codecs
import csv
import datetime
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from cachetools import LRUCache

from service import configuration_file
from service.configuration_file import MOST_BYTES
from service.core import applications, device_config
from service.core.imports import COLUMNS, NEEDED, Row
from service.core.problems import InvalidInput, Problem, shown
from service.core.requests import NewRequest

FORMATS = ("csv", "ndjson")
# In bytes. A row with a configuration in it is long; one that never ends is no row.
LONGEST_LINE = 2 * MOST_BYTES
# As far as a problem shows it, in characters.
LONGEST_PATH = 1024
# Names that are not columns, or are given twice, as far as they are told.
MOST_UNKNOWN = 20
# Files that rows name, kept: many rows name the same.
MOST_KEPT = 256
_ENDINGS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}


@dataclass(frozen=True, kw_only=True)
class Read:
    """A row as it was read: what it asks for, or why that cannot be told."""

    line: int
    row: Row | None
    problems: Sequence[Problem] = ()
    client_id: str = ""


class _Bad(Exception):
    """A value, or a row, that cannot be read."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__()


def _problem(field_: str, rule: str, text: str) -> Problem:
    return Problem(field=field_, rule=rule, text=text)


def _file_problem(rule: str, text: str) -> InvalidInput:
    return InvalidInput([_problem("file", rule, text)])


def tell_format(path: Path, said: str | None) -> str:
    """As was said, or by the file's name. Raises InvalidInput."""
    told = said or _ENDINGS.get(path.suffix.lower())
    if told is None:
        raise _file_problem("format", f"{path}: say --format csv or ndjson, or name it *.csv or *.ndjson")
    return told


@dataclass(kw_only=True)
class Reader:
    """
    Reads the rows of one file, as often as wanted.

    `defaults`: for rows without one, {column: text}. Files that rows name are found from the `folder`.
    """

    file: BinaryIO
    format: str
    folder: Path
    defaults: Mapping[str, str] = field(default_factory=dict, repr=False)
    _kept: LRUCache[tuple[str, str], Any] = field(default_factory=lambda: LRUCache(maxsize=MOST_KEPT), repr=False)

    def rows(self) -> Iterator[Read]:
        """From the file's begin. Raises InvalidInput where it is no such file at all."""
        self.file.seek(0)
        yield from (self._csv() if self.format == "csv" else self._ndjson())

    def columns(self) -> tuple[str, ...]:
        """What a CSV file's header names, or nothing. Raises InvalidInput where it is no header."""
        if self.format != "csv":
            return ()
        self.file.seek(0)
        return tuple(self._header(csv.reader(self._lines(), strict=True)))

    def _lines(self) -> Iterator[str]:
        """Physical lines. What is not UTF-8 is kept as surrogates, which no row may have."""
        first = True
        while line := self.file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise _file_problem("too_long", f"has a line of more than {LONGEST_LINE} bytes")
            if first:
                if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise _file_problem("not_utf8", "is UTF-16: save it as UTF-8")
                line = line.removeprefix(codecs.BOM_UTF8)
            first = False
            yield line.decode("utf-8", "surrogateescape")

    def _csv(self) -> Iterator[Read]:
        lines = csv.reader(self._lines(), strict=True)
        header = self._header(lines)
        while True:
            line = lines.line_num + 1
            try:
                cells = next(lines, None)
            except csv.Error as error:
                yield Read(
                    line=line, row=None, problems=[_problem("row", "not_csv", f"is not CSV (RFC 4180): {error}")]
                )
                continue
            if cells is None:
                return
            if not cells:
                continue
            if len(cells) != len(header):
                text = f"has {len(cells)} values, the header has {len(header)}"
                yield Read(line=line, row=None, problems=[_problem("row", "columns", text)])
                continue
            given = {name: cell for name, cell in zip(header, cells, strict=True) if cell != ""}
            yield self._read(line, given, is_text=True)

    def _header(self, lines: Iterator[list[str]]) -> list[str]:
        try:
            header = next(lines, [])
        except csv.Error as error:
            raise _file_problem("header", f"has no CSV header (RFC 4180): {error}") from error
        for separator, name in ((";", "semicolons"), ("\t", "tabs")):
            if len(header) == 1 and separator in header[0]:
                text = f"is separated by {name}, as Excel does in some languages: save it with commas"
                raise _file_problem("separator", text)
        unknown = [name for name in header if name not in COLUMNS][:MOST_UNKNOWN]
        problems = [
            _problem("file", "unknown_column", f"has a column {shown(name)!r}; columns are {', '.join(COLUMNS)}")
            for name in unknown
        ]
        problems += [
            _problem("file", "duplicate_column", f"has the column {shown(name)!r} twice")
            for name in _twice(header)[:MOST_UNKNOWN]
        ]
        problems += [
            _problem("file", "missing_column", f"has no column {name!r} in its header")
            for name in NEEDED
            if name not in header and name not in self.defaults
        ]
        if problems:
            raise InvalidInput(problems)
        return header

    def _ndjson(self) -> Iterator[Read]:
        for number, text in enumerate(self._lines(), 1):
            if not text.strip():
                continue
            try:
                document = json.loads(text, object_pairs_hook=_Object.of, parse_constant=_no_constant)
            except (ValueError, RecursionError):
                wrong = [_problem("row", "not_json", "is not JSON")]
            else:
                if isinstance(document, _Object):
                    names = document.twice[:MOST_UNKNOWN]
                    twice = [_problem(shown(name), "duplicate", "is given twice") for name in names]
                    yield self._read(number, dict(document), is_text=False, problems=twice)
                    continue
                wrong = [_problem("row", "not_an_object", "is not a JSON object")]
            yield Read(line=number, row=None, problems=wrong)

    def _read(self, line: int, given: Mapping[str, Any], *, is_text: bool, problems: Iterable[Problem] = ()) -> Read:
        """Every value as its field has it, and every problem."""
        unknown = [name for name, raw in given.items() if raw is not None and name not in COLUMNS][:MOST_UNKNOWN]
        text = f"is unknown; columns are {', '.join(COLUMNS)}"
        found = [*problems, *(_problem(shown(name), "unknown_column", text) for name in unknown)]
        values: dict[str, Any] = {}
        for name, raw in {**self.defaults, **given}.items():
            if raw is None or name not in COLUMNS:
                continue
            try:
                values[name] = self._value(name, raw, is_text=is_text)
            except _Bad as bad:
                found += bad.problems
        found += [_problem(name, "missing", "is needed") for name in NEEDED if name not in {**self.defaults, **given}]
        client_id = values.get("client_id", "")
        if found or any(name not in values for name in NEEDED):
            return Read(
                line=line, row=None, problems=found or [_problem("row", "missing", "is empty")], client_id=client_id
            )
        names = frozenset(values)
        values["generate_activation_key"] = values.pop("activation_key", None)
        return Read(line=line, row=Row(line=line, new=NewRequest(**values), given=names), client_id=client_id)

    def _value(self, name: str, raw: Any, *, is_text: bool) -> Any:
        if isinstance(raw, str):
            _check_text(name, raw)
        if name in _FILES:
            return self._content(name, raw)
        return _CONVERT[name](name, raw, is_text)

    def _content(self, name: str, raw: Any) -> Any:
        """What stands in the row, or in a file that it names."""
        if not isinstance(raw, str):
            return _parsed(name, json.dumps(raw).encode())
        if raw.lstrip().startswith(("{", "[", "<")):
            return _parsed(name, raw.encode())
        key = (name, raw)
        if key not in self._kept:
            self._kept[key] = self._file_content(name, raw)
        found = self._kept[key]
        if isinstance(found, _Bad):
            raise found
        return found

    def _file_content(self, name: str, path: str) -> Any:
        try:
            with open(self.folder / path, "rb") as file:
                return _parsed(name, file.read(MOST_BYTES + 1))
        except _Bad as bad:
            return bad
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "cannot be read"
            return _Bad(_problem(name, "unreadable", f"{shown(path, LONGEST_PATH)}: {why}"))


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


class _Object(dict[str, Any]):
    """A JSON object, and the names that it gives twice."""

    twice: Sequence[str] = ()

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> _Object:
        """Called by the parser."""
        made = cls(pairs)
        made.twice = _twice(name for name, _ in pairs) if len(made) < len(pairs) else ()
        return made


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _check_text(name: str, raw: str) -> None:
    if "\0" in raw:
        raise _Bad(_problem(name, "nul", "has a NUL character"))
    if not raw.isascii() and any("\ud800" <= character <= "\udfff" for character in raw):
        raise _Bad(_problem(name, "not_utf8", "is not UTF-8"))


def _parsed(name: str, data: bytes) -> Any:
    read: Callable[[bytes], tuple[Any, list[Problem]]] = _FILES[name]
    found, problems = read(data)
    if problems:
        raise _Bad(*problems)
    return found


_FILES: Mapping[str, Callable[[bytes], tuple[Any, list[Problem]]]] = {
    device_config.FIELD: configuration_file.read,
    applications.FIELD: applications.parse,
}


def _text(name: str, raw: Any, _is_text: bool) -> str:
    if not isinstance(raw, str):
        raise _Bad(_problem(name, "type", "must be text"))
    return raw


def _boolean(name: str, raw: Any, is_text: bool) -> bool:
    if is_text and isinstance(raw, str) and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    if not isinstance(raw, bool):
        raise _Bad(_problem(name, "type", "must be true or false"))
    return raw


def _number(name: str, raw: Any, is_text: bool) -> int:
    if is_text and isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 10:
        return int(raw)
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise _Bad(_problem(name, "type", "must be a whole number"))
    return raw


def _moment(name: str, raw: Any, _is_text: bool) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(raw)
        if moment.tzinfo is None:
            raise _Bad(_problem(name, "no_time_zone", "must have a time zone, such as 2030-01-31T08:00:00Z"))
        return moment.astimezone(datetime.UTC)
    except (TypeError, ValueError, OverflowError):
        raise _Bad(_problem(name, "type", "must be a moment such as 2030-01-31T08:00:00Z")) from None


def _moment_or_never(name: str, raw: Any, is_text: bool) -> datetime.datetime | None:
    return None if raw == "never" else _moment(name, raw, is_text)


_CONVERT: Mapping[str, Callable[[str, Any, bool], Any]] = {
    **dict.fromkeys(COLUMNS, _text),
    "activation_key": _boolean,
    "reserve_user": _boolean,
    "enabled": _boolean,
    "start_on_birth": _boolean,
    "maximum_attempts": _number,
    "activates_on": _moment,
    "expires_on": _moment_or_never,
}


def identity(file: BinaryIO) -> tuple[int, int, int]:
    """Changes where somebody writes to the file while it is read."""
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns
