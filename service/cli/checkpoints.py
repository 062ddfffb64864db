"""The file of a checkpoint of the events: a line with the digest of the others, then one a chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from service.cli.calls import Caller
from service.core.problems import InvalidInput, NotPossible, Problem

# Lines in one question.
PAGE = 1000

Line = tuple[int, int, int, str]


def _refused(text: str) -> InvalidInput:
    return InvalidInput([Problem(field="checkpoint", rule="checkpoint", text=text)])


async def write(call: Caller, file: TextIO, noted: Mapping[str, Any]) -> str:
    """
    Write the checkpoint that was just made.

    Returns the SHA-256 in hex of the lines after the first. Raises NotPossible where another one was made meanwhile.
    """
    digest, lines = hashlib.sha256(), []
    place = (-1, -1)
    while True:
        query = {"account_id": place[0], "request_id": place[1]}
        page = await call("list_checkpoint_lines", query=query)
        if page["digest"] != noted["digest"]:
            raise NotPossible("checkpoint", "changed", "another checkpoint was made meanwhile: make this one again")
        if not page["items"]:
            break
        lines += [json.dumps(row) + "\n" for row in page["items"]]
        place = (page["items"][-1]["account_id"], page["items"][-1]["request_id"])
    for line in lines:
        digest.update(line.encode())
    header = {"events_checkpoint": 1, "chains": len(lines), "digest": digest.hexdigest()}
    file.write(json.dumps(header) + "\n")
    file.writelines(lines)
    return digest.hexdigest()


def check(file: TextIO) -> None:
    """Raises InvalidInput where it is no such file, or not as it was written."""
    header = _header(file.readline())
    digest, lines = hashlib.sha256(), 0
    for text in file:
        digest.update(text.encode())
        _line(text)
        lines += 1
    if (lines, digest.hexdigest()) != (header.get("chains"), header.get("digest")):
        raise _refused("is not as it was written: its digest does not fit")


def pages(file: TextIO) -> Iterator[list[Line]]:
    """Its lines, as many as fit into one question."""
    file.seek(0)
    file.readline()
    page: list[Line] = []
    for text in file:
        page.append(_line(text))
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _header(text: str) -> Mapping[str, Any]:
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or "events_checkpoint" not in header:
        raise _refused("is no file of `provision events checkpoint`")
    return header


def _line(text: str) -> Line:
    try:
        line = json.loads(text)
        numbers = [line["account_id"], line["request_id"], line["count"]]
        head = bytes.fromhex(line["head"])
    except (ValueError, KeyError, TypeError) as error:
        raise _refused("has a line that is no chain") from error
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers) or len(head) != 32:
        raise _refused("has a line that is no chain")
    return numbers[0], numbers[1], numbers[2], head.hex()
