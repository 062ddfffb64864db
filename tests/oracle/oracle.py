"""Asks the oracle (oracle.sql): on the plain tables, as the superuser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.oracle.questions import Question

# The query compares each question's topic with each grant: more at once take longer each.
AT_ONCE = 1_000
_SQL = Path(__file__).with_name("oracle.sql").read_text()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`connect`: allow, deny, or held: trouble is what it looks like (503). `access`: whether the topic may be used."""

    connect: str
    access: bool


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """The oracle with the platform's settings."""

    connection: asyncpg.Connection[Any]
    provision_account: str = "provision"
    client_id_length: int = 23
    narrow_reply: bool = False

    async def answers(self, questions: Sequence[Question]) -> list[Answer]:
        """Of all of them, in their order."""
        answers = []
        for first in range(0, len(questions), AT_ONCE):
            answers += await self._answers(questions[first : first + AT_ONCE])
        return answers

    async def _answers(self, questions: Sequence[Question]) -> list[Answer]:
        asked = json.dumps([_row(number, question) for number, question in enumerate(questions)])
        rows = await self.connection.fetch(
            _SQL, asked, self.provision_account, self.client_id_length, self.narrow_reply
        )
        by_number = {row["n"]: Answer(connect=row["connect"], access=row["access"]) for row in rows}
        return [by_number[number] for number in range(len(questions))]


def _row(number: int, question: Question) -> dict[str, Any]:
    return {
        "n": number,
        "broker": question.broker,
        "username": _name(question.username),
        "password": question.says,
        "client_id": _name(question.client_id),
        "clean": question.clean,
        "topic": question.topic if _is_text(question.topic) else None,
        "acc": question.acc,
    }


def _name(name: str) -> str:
    """No Postgres text can hold it, so nobody has it for a name; neither has anybody this one."""
    return name if _is_text(name) else "not / a / text"


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
