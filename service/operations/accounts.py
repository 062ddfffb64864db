"""Accounts and the brokers that serve them: the platform's own operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service import keys
from service.core import endpoints, names
from service.core.problems import InvalidInput, NotFound, NotPossible, Problem, raise_problems
from service.db import queries
from service.db.pool import Connection
from service.db.records import Broker
from service.operations import broker_ca, events
from service.operations.administration import Administration, find_account

_ACCOUNTS = queries.load("accounts")
_BROKERS = queries.load("brokers")

ROLES = ("provision", "account")


async def create_account(
    admin: Administration, name: str, *, brokers: Sequence[str] = (), coupling: str = "STRICT"
) -> list[str]:
    """
    Create an account; by default it is served by the only account broker, where there is just one.

    Returns the names of the brokers that serve it. Raises InvalidInput.
    """
    problems = list(names.check_username(name, "name"))
    if name.lower() == admin.provision_account.lower():
        problems.append(Problem(field="name", rule="reserved", text="is the provision account's name"))
    problems += _check_coupling(coupling)
    async with admin.platform_transaction() as connection:
        await admin.begin_once(connection)
        chosen = [await _find_account_broker(connection, broker, problems) for broker in brokers]
        raise_problems(problems)
        serving = [broker for broker in chosen if broker is not None] or await _only_account_broker(connection)
        account_id = await connection.fetchval(_ACCOUNTS["insert"], name, coupling)
        for broker in serving:
            await connection.execute(_BROKERS["serve"], broker.id, account_id)
        served_by = [broker.name for broker in serving]
        await events.append(connection, admin.author, "account_created", account_id=account_id, brokers=served_by)
    return served_by


async def _find_account_broker(connection: Connection, name: str, problems: list[Problem]) -> Broker | None:
    row = await connection.fetchrow(_BROKERS["find"], name)
    if row is None or row["role"] != "account":
        problems.append(Problem(field="broker", rule="not_found", text=f"there is no account broker {name!r}"))
        return None
    return Broker.from_row(row)


async def _only_account_broker(connection: Connection) -> list[Broker]:
    rows = [row for row in await connection.fetch(_BROKERS["list"]) if row["role"] == "account"]
    if len(rows) != 1:
        return []
    row = await connection.fetchrow(_BROKERS["find"], rows[0]["name"])
    return [Broker.from_row(row)] if row else []


async def set_account_enabled(admin: Administration, name: str, *, enabled: bool) -> None:
    """Let an account's devices and persons in, or keep them out: at once, also those that are connected."""
    async with admin.platform_transaction() as connection:
        account = await find_account(connection, name)
        await admin.check_version(connection, "account", account.id)
        if account.enabled == enabled:
            return
        await connection.execute(_ACCOUNTS["set_enabled"], account.id, enabled)
        kind = "account_enabled" if enabled else "account_disabled"
        await events.append(connection, admin.author, kind, account_id=account.id)


async def change_account(
    admin: Administration, name: str, *, coupling: str | None = None, mandatory_provisioning: bool | None = None
) -> list[str]:
    """
    Change what INHERITED means, or whether provisioning is mandatory; None leaves it. Raises InvalidInput.

    Whoever is connected and may not be any more loses every right at once. Returns notices for whoever did it.
    """
    async with admin.platform_transaction() as connection:
        account = await find_account(connection, name)
        await admin.check_version(connection, "account", account.id)
        raise_problems(_check_coupling(coupling) if coupling is not None else [])
        wanted = {"device_connection_coupling": coupling, "mandatory_provisioning": mandatory_provisioning}
        changed: dict[str, Any] = {
            field: value for field, value in wanted.items() if value is not None and value != getattr(account, field)
        }
        if changed:
            await connection.execute(_ACCOUNTS["change"], account.id, coupling, mandatory_provisioning)
            await events.append(connection, admin.author, "account_changed", account_id=account.id, **changed)
        left_out = await connection.fetchval(_ACCOUNTS["unprovisioned_devices"], account.id)
    if not changed.get("mandatory_provisioning") or not left_out:
        return []
    return [f"mandatory_provisioning: {left_out} device(s) have no completed provision request and are kept out now"]


def _check_coupling(coupling: str) -> list[Problem]:
    if coupling in ("LOOSE", "STRICT"):
        return []
    return [Problem(field="coupling", rule="coupling", text="must be LOOSE or STRICT")]


async def show_account(admin: Administration, name: str) -> dict[str, Any]:
    """One account with what it has. Raises NotFound."""
    async with admin.platform_transaction() as connection:
        account = await find_account(connection, name)
        row = next(row for row in await connection.fetch(_ACCOUNTS["list"]) if row["id"] == account.id)
        counts = await connection.fetchrow(_ACCOUNTS["counts"], account.id)
    return {**_without_id(row), **dict(counts or {})}


async def list_accounts(admin: Administration) -> list[dict[str, Any]]:
    """Every account, the provision account first."""
    async with admin.platform_transaction() as connection:
        return [_without_id(row) for row in await connection.fetch(_ACCOUNTS["list"])]


def _without_id(row: Any) -> dict[str, Any]:
    return {name: value for name, value in dict(row).items() if name != "id"}


async def create_broker(
    admin: Administration,
    name: str,
    *,
    role: str,
    urls: Sequence[str] = (),
    serves: Sequence[str] = (),
    ca: str | None = None,
) -> str:
    """
    Register a broker; returns its secret, which is shown this once. Raises InvalidInput.

    `urls`: where devices reach it. `serves`: accounts, for an account broker; a provision broker serves all of them.
    `ca`: PEM, what devices are told to trust there.
    """
    problems = list(names.check_username(name, "name"))
    if role not in ROLES:
        problems.append(Problem(field="role", rule="role", text=f"must be one of {', '.join(ROLES)}"))
    if role == "provision" and serves:
        problems.append(Problem(field="serves", rule="serves_all", text="a provision broker serves every account"))
    for url in urls:
        problems += endpoints.check_endpoint(url, "endpoint")
    handed_out, ca_problems = broker_ca.read(ca, role)
    raise_problems([*problems, *ca_problems])
    secret = keys.new_secret()
    async with admin.platform_transaction() as connection:
        await admin.begin_once(connection)
        if role == "provision":
            await _put_provision_account(connection, admin.provision_account)
        accounts = [await find_account(connection, account) for account in serves]
        broker_id = await connection.fetchval(
            _BROKERS["insert"],
            name,
            role,
            keys.secret_hash(keys.BROKER, secret),
            list(dict.fromkeys(urls)),
            handed_out,
        )
        for account in accounts:
            await connection.execute(_BROKERS["serve"], broker_id, account.id)
        await events.append(connection, admin.author, "broker_created", broker=name, role=role)
    return secret


async def _put_provision_account(connection: Connection, name: str) -> None:
    """The row that provision users are shown under. Its name is part of topics, so it does not change."""
    await connection.execute(_ACCOUNTS["put_provision_account"], name)
    found = await connection.fetchval(_ACCOUNTS["provision_account"])
    if found is None:
        raise InvalidInput(
            [Problem(field="provision_account", rule="name_taken", text=f"{name!r} is an account already")]
        )
    if found != name:
        raise NotPossible("provision_account", "named_already", f"is {found!r} in this database, not {name!r}")


async def serve_account(admin: Administration, broker_name: str, account_name: str) -> None:
    """An account broker serves one more account. That it does already is no change, and no event."""
    async with admin.platform_transaction() as connection:
        problems: list[Problem] = []
        broker = await _find_account_broker(connection, broker_name, problems)
        raise_problems(problems)
        assert broker is not None
        account = await find_account(connection, account_name)
        if await connection.fetchval(_BROKERS["serve"], broker.id, account.id):
            await events.append(connection, admin.author, "broker_serves", account_id=account.id, broker=broker.name)


async def begin_rotation(admin: Administration, name: str) -> str:
    """A new secret for a broker, shown this once; the old one stays good until the rotation is finished."""
    secret = keys.new_secret()
    async with admin.platform_transaction() as connection:
        broker = await find_broker(connection, name)
        await admin.check_version(connection, "broker", broker.id)
        hashed = keys.secret_hash(keys.BROKER, secret)
        if await connection.fetchval(_BROKERS["begin_rotation"], broker.id, hashed) is None:
            raise NotPossible("broker", "rotating", "a rotation is open already; finish it first")
        await events.append(connection, admin.author, "broker_rotation_begun", broker=broker.name)
    return secret


async def finish_rotation(admin: Administration, name: str) -> None:
    """The broker's old secret is good no more."""
    async with admin.platform_transaction() as connection:
        broker = await find_broker(connection, name)
        await admin.check_version(connection, "broker", broker.id)
        if await connection.fetchval(_BROKERS["finish_rotation"], broker.id) is None:
            raise NotPossible("broker", "not_rotating", "no rotation is open")
        await events.append(connection, admin.author, "broker_rotation_finished", broker=broker.name)


async def find_broker(connection: Connection, name: str) -> Broker:
    """A broker of either role by name. Raises NotFound."""
    row = await connection.fetchrow(_BROKERS["find"], name)
    if row is None:
        raise NotFound("broker", f"there is no broker {name!r}")
    return Broker.from_row(row)


async def list_brokers(admin: Administration) -> list[dict[str, Any]]:
    """Every broker with the accounts it serves; never a secret."""
    async with admin.platform_transaction() as connection:
        return [broker_ca.as_shown(_without_id(row)) for row in await connection.fetch(_BROKERS["list"])]
