"""Many confirmed devices, written straight into the database, each with its user, permission and connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg

from tests.support.database import Database

_FILL = """
SET session_replication_role = replica;  -- no trigger, no look at what a row refers to
WITH account AS (SELECT id FROM accounts WHERE name = '{account}'), made AS (
    INSERT INTO users (account_id, name, kind, secret_sha256, confirmed_at)
    SELECT account.id, 'd-' || lpad(n::text, 26, '0'), 'device', sha256(
            convert_to('mosquitto-provisioning', 'UTF8') || '\\x00' || convert_to('user', 'UTF8') || '\\x00'
            || convert_to('bench-password-of-' || n, 'UTF8')
        ), clock_timestamp()
    FROM account, generate_series(0, {count} - 1) AS n RETURNING id, account_id, name
), permitted AS (
    INSERT INTO user_permissions (account_id, user_id, permission) SELECT account_id, id, 'broker:connect' FROM made
), registered AS (
    INSERT INTO devices (account_id, client_id)
    SELECT account_id, 'gw-' || substr(name, 20) FROM made RETURNING id, account_id, client_id
)
INSERT INTO device_connections (account_id, client_id, device_id, user_id, status)
SELECT made.account_id, registered.client_id, registered.id, made.id, 'CONNECTED'
FROM made JOIN registered ON registered.client_id = 'gw-' || substr(made.name, 20);
"""


async def fill(database: Database, count: int, account: str = "acme") -> None:
    """So many of them, numbered from 0."""
    connection = await asyncpg.connect(database.url().reveal())
    try:
        text = _FILL.format(account=account, count=count)
        await connection.execute(text)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def username(number: int) -> str:
    """Of the device with this number."""
    return f"d-{number:026}"


def password(number: int) -> str:
    """Of the device with this number."""
    return f"bench-password-of-{number}"


def client_id(number: int) -> str:
    """Of the device with this number."""
    return f"gw-{number:09}"


def connect_question(number: int) -> dict[str, Any]:
    """As our plugin asks at its CONNECT."""
    return {
        "username": username(number), "password": password(number), "clientid": client_id(number),
        "address": "192.0.2.1", "protocol": 4, "clean": True, "grants": True,
    }  # fmt: skip


def topic_question(number: int, account: str = "acme") -> dict[str, Any]:
    """A publish below its own topics."""
    name = client_id(number)
    return {"username": username(number), "clientid": name, "topic": f"{account}/{name}/data", "acc": 2}


def lines(questions: Iterator[dict[str, Any]]) -> str:
    """A line of JSON each."""
    return "".join(json.dumps(question, separators=(",", ":")) + "\n" for question in questions)
