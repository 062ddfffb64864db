"""Secrets of a test, and a search for them wherever they should not be: in clear, base64, hex, URL form, reversed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

SHORTEST = 8
# What sets nothing apart in a database's files, and fills most of them.
_ZEROS = re.compile(rb"\0{64,}")


def _base64_forms(secret: bytes) -> Iterator[bytes]:
    """Whatever stands before it: the characters that depend on the secret alone, in each of the three alignments."""
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(bytes(shift) + secret).rstrip(b"=")
            begin = -(-shift * 8 // 6)
            yield text[begin : (shift + len(secret)) * 8 // 6]


def forms(secret: bytes) -> set[bytes]:
    """Every spelling that is looked for."""
    found = {secret, secret[::-1], secret.hex().encode(), secret.hex().upper().encode()}
    found |= set(_base64_forms(secret))
    found |= {quote(secret).encode(), quote(secret, safe="").encode(), quote_plus(secret).encode()}
    found |= {base64.b32encode(secret).rstrip(b"=")[:-1]}
    return found


@dataclass(kw_only=True)
class Canaries:
    """The secrets by what they are. A short one would be found by chance, and is refused."""

    _forms: dict[bytes, str] = field(default_factory=dict, repr=False)
    names: set[str] = field(default_factory=set)

    def add(self, name: str, *secrets: str | bytes) -> None:
        """One more, or several of one kind."""
        for secret in secrets:
            raw = secret.encode() if isinstance(secret, str) else secret
            assert len(raw) >= SHORTEST, name
            self.names.add(name)
            self._forms.update(dict.fromkeys(forms(raw), name))

    def found_in(self, data: bytes) -> set[str]:
        """Which of them stand in it, in whatever form."""
        data = _ZEROS.sub(b"\0" * 64, data)
        return {name for form, name in self._forms.items() if form in data}

    def found_in_files(self, files: Iterable[Path]) -> list[str]:
        """`<file>: <secret>` for each; a file that went away meanwhile holds nothing."""
        hits: list[str] = []
        for file in files:
            try:
                data = file.read_bytes()
            except FileNotFoundError:
                continue
            hits += [f"{file}: {name}" for name in sorted(self.found_in(data))]
        return hits


def files_below(folder: Path, *, since: float = 0.0) -> list[Path]:
    """Every file, changed after that moment (as files' times go)."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_mtime >= since]


def processes() -> Iterator[tuple[str, bytes]]:
    """What every process of the machine was started with, as anybody may read it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield str(path), path.read_bytes()
        except OSError:
            continue
