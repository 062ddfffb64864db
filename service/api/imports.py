"""Many provision requests at once: rows are checked, and written a batch at a time, each with what became of it."""

from __future__ import annotations

import datetime
import json
import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.api.accounts import ACCOUNT
from service.api.documents import Applications, Strict
from service.api.routes import Call, Route
from service.core import device_config
from service.core.imports import COLUMNS, REFUSED, Outcome, Row
from service.core.problems import Problem
from service.core.requests import NewRequest
from service.operations import imports
from service.operations.administration import Administration

MOST_ROWS = 1000
# As keys.new_activation_key makes them: a shorter one could be guessed.
_KEY = re.compile(r"[a-z2-7]{32}", re.ASCII)


class ImportRow(Strict):
    """
    A row: the request that it wants, and in `given` which of its fields it says something of.

    `line` names it in the answer. Whoever writes the row makes its `activation_key`, 160 random bits as 32 characters
    of base32 in lower case, so that it is known whatever happens to the answer.
    """

    line: int
    given: list[str]
    client_id: str
    provision_username: str
    provision_password: str
    activation_key: str | None = None
    generate_activation_key: bool | None = None
    provision_endpoint: str | None = None
    activates_on: datetime.datetime | None = None
    expires_on: datetime.datetime | None = None
    reserve_user: bool = True
    device_connection_coupling: str = "INHERITED"
    additional_device_configuration: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    applications: Applications = msgspec.field(default_factory=list)
    maximum_attempts: int = 5
    start_on_birth: bool = False
    enabled: bool = True


class ImportRows(Strict):
    """Rows of one import; `update`: requests that are otherwise than their rows are changed."""

    rows: Annotated[list[ImportRow], Meta(max_length=MOST_ROWS)]
    update: bool = False


def to_document(row: Row) -> dict[str, Any]:
    """A row as it is sent."""
    new = vars(row.new)
    configuration = device_config.to_document(row.new.additional_device_configuration)
    return {
        **{name: value for name, value in new.items() if value is not None},
        "line": row.line,
        "given": sorted(row.given),
        "activation_key": row.activation_key,
        "additional_device_configuration": configuration,
    }


def read_outcome(document: dict[str, Any]) -> Outcome:
    """What became of a row, from its document."""
    problems = tuple(Problem(**problem) for problem in document["problems"])
    return Outcome(**{**document, "fields": tuple(document["fields"]), "problems": problems})


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {**vars(outcome), "problems": [vars(problem) for problem in outcome.problems]}


def _read(sent: ImportRow) -> Row | Outcome:
    """The row, or that it is refused."""
    values = msgspec.structs.asdict(sent)
    line, given, key = values.pop("line"), frozenset(values.pop("given")), values.pop("activation_key")
    problems = []
    if given - set(COLUMNS):
        problems.append(Problem(field="given", rule="columns", text=f"must be some of {', '.join(COLUMNS)}"))
    if key is not None and not _KEY.fullmatch(key):
        problems.append(Problem(field="activation_key", rule="activation_key", text="must be 32 characters of base32"))
    if sent.additional_device_configuration:
        configuration, wrong = device_config.parse(json.dumps(sent.additional_device_configuration))
        values["additional_device_configuration"] = configuration
        problems += wrong
    if problems:
        return Outcome(line=line, client_id=sent.client_id, outcome=REFUSED, problems=tuple(problems))
    return Row(line=line, new=NewRequest(**values), given=given, activation_key=key)


async def _each(admin: Administration, call: Call, operation: Any) -> Any:
    body: ImportRows = call.body
    read = [_read(row) for row in body.rows]
    rows = [row for row in read if isinstance(row, Row)]
    outcomes = iter(await operation(admin, call.path["account"], rows, update=body.update, hashes=admin.hashes))
    return {"items": [_outcome(next(outcomes) if isinstance(row, Row) else row) for row in read]}


async def _check(admin: Administration, call: Call) -> Any:
    return await _each(admin, call, imports.check_rows)


async def _write(admin: Administration, call: Call) -> Any:
    return await _each(admin, call, imports.write_batch)


ROUTES = (
    Route(
        name="check_import_rows",
        method="POST",
        path=f"{ACCOUNT}/imports/check",
        summary="What would become of each row, with every problem; nothing is written",
        run=_check,
        body=ImportRows,
        repeatable=True,
    ),
    Route(
        name="write_import_rows",
        method="POST",
        path=f"{ACCOUNT}/imports/rows",
        summary="Create or change each row's request, in one transaction; written again, a row is unchanged",
        run=_write,
        body=ImportRows,
        repeatable=True,
    ),
)
