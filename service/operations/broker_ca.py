"""The CA that devices must trust at a broker: runs hand out the one of the moment they begin."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from service.core import certificates
from service.core.problems import NotFound, Problem, raise_problems
from service.db import queries
from service.operations import events
from service.operations.administration import Administration

_BROKERS = queries.load("brokers")


def read(ca: str | None, role: str) -> tuple[str | None, list[Problem]]:
    """The CA as it is kept, or its problems. Who reached the provision broker trusts it already."""
    if ca is None:
        return None, []
    pem, problems = certificates.read_ca(ca, datetime.datetime.now(datetime.UTC))
    if role == "provision":
        problems.append(
            Problem(
                field="ca",
                rule="ca_of_provision_broker",
                text="a provision broker's CA is put into devices by their maker",
            )
        )
    return (None, problems) if problems else (pem, [])


async def change(admin: Administration, name: str, ca: str | None) -> None:
    """New runs answer this CA from now on, or none; what a run has answered stays. Raises InvalidInput."""
    async with admin.platform_transaction() as connection:
        broker = await connection.fetchrow(_BROKERS["find"], name)
        if broker is None:
            raise NotFound("broker", f"there is no broker {name!r}")
        await admin.check_version(connection, "broker", broker["id"])
        pem, problems = read(ca, broker["role"])
        raise_problems(problems)
        await connection.execute(_BROKERS["set_ca"], broker["id"], pem)
        digest = hashlib.sha256(pem.encode()).hexdigest() if pem is not None else None
        await events.append(connection, admin.author, "broker_ca_changed", broker=broker["name"], ca_sha256=digest)


def as_shown(row: dict[str, Any]) -> dict[str, Any]:
    """Of the CA people see when the first of its certificates ends."""
    ca = row.pop("ca")
    return {**row, "ca_expires_on": None if ca is None else certificates.expires_on(ca)}
