"""The device registry, as far as administrators change it."""

from __future__ import annotations

import json
from typing import Any

from service.core.problems import NotFound, NotPossible
from service.db import queries
from service.operations import events, releases
from service.operations.administration import Administration

_DEVICES = queries.load("devices")


# What a device's connection may be; NEVER: it never logged in.
STATUSES = ("CONNECTED", "DISCONNECTED", "MISSING", "NEVER")


async def list_devices(
    admin: Administration,
    account_name: str | None,
    client_id: str | None = None,
    *,
    status: str | None = None,
    text: str | None = None,
) -> list[dict[str, Any]]:
    """
    Devices with their connections: of one account, or of all.

    `status` is one of STATUSES; `text` stands anywhere in client id, display name or username, in whatever case.
    """
    filters = (client_id, status, text)
    if account_name is None:
        async with admin.platform_transaction() as connection:
            rows = await connection.fetch(_DEVICES["list"], None, *filters)
    else:
        account = await admin.account(account_name)
        async with admin.account_transaction(account.id) as connection:
            rows = await connection.fetch(_DEVICES["list"], account.id, *filters)
    return [{name: value for name, value in dict(row).items() if name != "id"} for row in rows]


async def set_device_enabled(admin: Administration, account_name: str, client_id: str, *, enabled: bool) -> None:
    """Let a device in at its account's brokers, or keep it out: at once, also where it is connected."""
    account = await admin.account(account_name)
    async with admin.account_transaction(account.id) as connection:
        device_id = await connection.fetchval(_DEVICES["lock"], account.id, client_id)
        if device_id is None:
            raise NotFound("client_id", f"there is no device {client_id!r}")
        await admin.check_version(connection, "device", device_id)
        await connection.execute(_DEVICES["set_enabled"], device_id, enabled)
        await events.append(
            connection,
            admin.author,
            "device_enabled" if enabled else "device_disabled",
            account_id=account.id,
            client_id=client_id,
        )


async def find_account_of_device(admin: Administration, client_id: str) -> str:
    """The account of a device, for operators who work on all of them. Raises NotFound."""
    found = sorted(row["account"] for row in await list_devices(admin, None, client_id))
    if not found:
        raise NotFound("client_id", f"there is no device {client_id!r}")
    if len(found) > 1:  # during a move, and after one
        raise NotPossible("account", "ambiguous", f"name one of the accounts {', '.join(found)}")
    return str(found[0])


async def show_device(admin: Administration, account_name: str | None, client_id: str) -> dict[str, Any]:
    """
    One device with its connection, its releases, and what it said of itself last (`birth`: metrics by name, or None).

    Raises NotFound, and NotPossible where two accounts have one.
    """
    name = account_name or await find_account_of_device(admin, client_id)
    rows = await list_devices(admin, name, client_id)
    if not rows:
        raise NotFound("client_id", f"there is no device {client_id!r}")
    account = await admin.account(name)
    async with admin.account_transaction(account.id) as connection:
        row = await connection.fetchrow(_DEVICES["birth"], account.id, client_id)
    birth = {"birth": json.loads(row["birth"]) if row and row["birth"] else None, "birth_at": row and row["birth_at"]}
    return {**rows[0], **birth, "releases": await releases.list_releases(admin, name, client_id)}
