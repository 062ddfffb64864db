"""
What every administrator's operation is done with: the two databases' roles, who acts, and keys that only seal.

An account's work runs as provisioning_admin, which sees one account at a time; what concerns more than one runs as
provisioning_platform (D13). The helpers here are the only ones that open their transactions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from service.core.problems import InvalidInput, NotFound, Problem
from service.core.requests import Limits
from service.db import queries
from service.db.pool import Connection, Pool, transaction
from service.db.records import Account
from service.hashes import Hashes
from service.keys import SealingKeys
from service.operations.events import Author
from service.passwords import DEFAULT_COST
from service.settings import AdministratorSettings

_ACCOUNTS = queries.load("accounts")
_VERSIONS = queries.load("versions")

# A constraint's name is the rule that it keeps: field, rule, and a sentence for people.
CONSTRAINTS: dict[str, Problem] = {
    name: Problem(field=field_, rule=rule, text=text)
    for name, field_, rule, text in (
        ("client_id_belongs_to_one_account", "client_id", "client_id_taken", "is already in use"),
        ("provision_requests_client_id_unique", "client_id", "client_id_taken", "is already in use"),
        ("users_name_unique", "username", "username_taken", "is already used"),
        (
            "device_connections_reserved_user_unique",
            "reserved_user",
            "reserved_already",
            "is reserved for another connection",
        ),
        ("releases_one_open_per_client_id", "client_id", "already_released", "is released already; cancel that first"),
        (
            "releases_by_holder",
            "client_id",
            "not_found",
            "there is no such device or provision request in this account",
        ),
        ("releases_to_another_account", "to", "same_account", "must be another account"),
        ("releases_until_after_created", "until", "until_past", "must be in the future"),
        ("accounts_name_unique", "name", "name_taken", "is already used"),
        ("api_tokens_name_unique", "name", "name_taken", "is already used"),
        ("brokers_name_unique", "name", "name_taken", "is already used"),
        ("owned_by_an_account", "account", "provision_account", "the provision account owns nothing"),
        ("provision_requests_move_known", "state", "state", "the request's state does not allow this"),
        (
            "provision_requests_broker_serves_account",
            "provision_endpoint",
            "endpoint_not_served",
            "must be an endpoint of a broker that serves the account",
        ),
    )
}


class VersionDiffers(Exception):
    """Somebody changed the thing since its caller looked."""


class DoneBefore(Exception):
    """This creation was done under the same Idempotency-Key. `same`: and asked for in the same words."""

    def __init__(self, *, same: bool) -> None:
        self.same = same
        super().__init__()


@dataclass(frozen=True, kw_only=True)
class Once:
    """A creation that happens once: whose key it is, and hashes of the key and of what was asked."""

    token_id: int
    key_sha256: bytes
    request_sha256: bytes


@dataclass(frozen=True, kw_only=True)
class Administration:
    """
    The administrators' side, once a process.

    For one call it may carry what that call is bound to: `version`, which the thing to change must have, and `once`.
    """

    admin_pool: Pool
    platform_pool: Pool
    author: Author
    sealing_keys: SealingKeys = field(repr=False)
    limits: Limits = field(default_factory=Limits)
    bcrypt_cost: int = DEFAULT_COST
    provision_account: str = "provision"
    version: int | None = None
    once: Once | None = None
    hashes: Hashes = field(default_factory=Hashes, repr=False)

    @classmethod
    def opened(
        cls, settings: AdministratorSettings, admin_pool: Pool, platform_pool: Pool, *, actor: str, source: str
    ) -> Administration:
        """As the settings say."""
        return cls(
            admin_pool=admin_pool,
            platform_pool=platform_pool,
            author=Author(actor=actor, source=source, event_key=settings.event_key),
            sealing_keys=settings.sealing_keys,
            limits=Limits(
                client_id_length=settings.client_id_length,
                answer_bytes=settings.answer_limit,
                most_applications=settings.most_applications,
            ),
            bcrypt_cost=settings.bcrypt_cost,
            provision_account=settings.provision_account,
        )

    @asynccontextmanager
    async def account_transaction(self, account_id: int) -> AsyncIterator[Connection]:
        """One transaction that sees this account and no other. Constraint violations become InvalidInput."""
        async with _explaining(), transaction(self.admin_pool) as connection:
            await connection.execute("SELECT set_config('app.account_id', $1, true)", str(account_id))
            yield connection

    @asynccontextmanager
    async def platform_transaction(self) -> AsyncIterator[Connection]:
        """One transaction that sees every account. Constraint violations become InvalidInput."""
        async with _explaining(), transaction(self.platform_pool) as connection:
            yield connection

    async def check_version(self, connection: Connection, kind: str, id_: int) -> None:
        """Hold a row, and see that it has the version that the caller named, if any. Raises VersionDiffers."""
        if self.version is not None and await connection.fetchval(_VERSIONS[kind], id_) != self.version:
            raise VersionDiffers

    async def begin_once(self, connection: Connection) -> None:
        """In the transaction of a creation, first: remember its key, or find that it was done. Raises DoneBefore."""
        once = self.once
        if once is None:
            return
        arguments = (once.token_id, once.key_sha256, once.request_sha256)
        if await connection.fetchval(_VERSIONS["begin_once"], *arguments) is None:
            found = await connection.fetchval(_VERSIONS["done_before"], once.token_id, once.key_sha256)
            raise DoneBefore(same=found == once.request_sha256)

    async def account(self, name: str) -> Account:
        """An account by name. Raises NotFound."""
        async with self.platform_transaction() as connection:
            return await find_account(connection, name)


async def find_account(connection: Connection, name: str) -> Account:
    """A tenant's account by name, as the platform sees it. Raises NotFound."""
    row = await connection.fetchrow(_ACCOUNTS["find"], name)
    if row is None or row["kind"] != "account":
        raise NotFound("account", f"there is no account {name!r}")
    return Account.from_row(row)


@asynccontextmanager
async def _explaining() -> AsyncIterator[None]:
    """Turn a violated constraint into the problem it stands for."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        problem = CONSTRAINTS.get(error.constraint_name or "")
        if problem is None:
            raise
        raise InvalidInput([problem]) from error
