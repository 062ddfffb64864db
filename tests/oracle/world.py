"""
A generated platform for the oracle: accounts, users, devices, requests, connections and releases in every combination
that the tables take, those that no operation makes among them. It has no events, so the invariants do not speak of it.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import bcrypt

from service.keys import TAKEOVER, USER, secret_hash
from tests.oracle.rows import FIRST, Rows

PROVISION, SERVED, OTHER, UNKNOWN = "provision-broker", "account-broker", "other-broker", "no-broker"
# Names that are prefixes, topic levels or look-alikes of one another.
ACCOUNTS = (
    "acme-1", "acme-2", "acm", "Prov", "REPLY", "EDC", "MQTT", "a--", "___", "gw-1", "v1-", "request", "NOTIFY",
    "acme_2",
)  # fmt: skip
CLIENT_IDS = (
    "gw-1", "GW-1", "gw.1", "gw:1", "gw_1", "gw-11", "g", "-", ".", ":", "_", "..", "reply", "request", "MQTT", "REPLY",
    "NOTIFY", "acme", "prov", "v1", "provision", "EDC", "x" * 23, "y" * 24, "z" * 255, "a:b:c", ":a:", "0",
)  # fmt: skip
PERMISSIONS = ("broker:connect", "device:manage", "data:manage", "data:view")
LIVE_STATES = ("RUNNING", "APPS_INSTALLING", "APPS_INSTALLED", "CONF_UPDATING", "CONF_UPDATED")
SHAPES = ("nothing", "device", "OPEN", "ABANDONED", "RUNNING", "overdue", "ended", "PROVISIONED", "PROVISIONED")
HOUR = datetime.timedelta(hours=1)
# What hooks were away for, all in all; some runs began after it.
OUTAGE = 2 * HOUR
OLD = "Before-The-Rotation-1"


@dataclass(frozen=True, kw_only=True)
class Passwords:
    """What a user may say: the right one, and of a factory user the one before a rotation."""

    current: str
    previous: str = ""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A client id in an account, and the usernames that have to do with it."""

    account: str
    client_id: str
    usernames: list[str]


@dataclass(frozen=True, kw_only=True)
class Account:
    """What rows of an account need."""

    id: int
    name: str
    broker_id: int | None
    persons: list[str]


@dataclass(kw_only=True)
class World:
    """
    What was made. `broker_ids`: of the brokers that are there, by name.

    `one_time_passwords`: of ~takeover, each with its client id and whether it is good still.
    """

    random: random.Random
    broker_ids: dict[str, int]
    now: datetime.datetime
    rows: Rows = field(default_factory=Rows)
    accounts: dict[str, Account] = field(default_factory=dict)
    units: list[Unit] = field(default_factory=list)
    passwords: dict[str, Passwords] = field(default_factory=dict)
    user_ids: dict[str, int] = field(default_factory=dict)
    account_of: dict[str, str] = field(default_factory=dict)
    one_time_passwords: list[tuple[str, str, bool]] = field(default_factory=list)
    _shared: dict[str, list[str]] = field(default_factory=dict)
    _couplings: Iterator[tuple[Any, ...]] = field(init=False)

    def __post_init__(self) -> None:
        combinations = list(itertools.product(("INHERITED", "LOOSE", "STRICT"), "-so", "-so", (False, True)))
        self.random.shuffle(combinations)
        self._couplings = itertools.cycle(combinations)

    def often(self, chance: float) -> bool:
        """Of so many, this one."""
        return self.random.random() < chance

    def at(self, hours: float) -> str:
        """So many hours from now."""
        return (self.now + hours * HOUR).isoformat()

    def make(self, units: int) -> None:
        """Accounts, and so many client ids in them."""
        for number, name in enumerate(ACCOUNTS):
            self._make_account(name, number)
        with_requests = [account for account in self.accounts.values() if account.broker_id is not None]
        ids = itertools.chain(CLIENT_IDS, (f"unit-{number}" for number in itertools.count()))
        for client_id in itertools.islice(ids, units):
            self.make_unit(self.random.choice(with_requests), client_id)
        # Under client ids that nobody else has ever come under: it ends nobody who came meanwhile.
        for number in range(40):
            self._make_one_time_password(f"once-{number}", good=self.often(0.7))

    def _make_account(self, name: str, number: int) -> None:
        """Coupling and mandatory provisioning in all combinations; served by one broker, by both, by none."""
        served = ((SERVED,), (SERVED,), (SERVED,), (SERVED, OTHER), (OTHER,), (SERVED,), (), (SERVED,))[number % 8]
        account_id = self.rows.add(
            "accounts",
            name=name,
            enabled=number != 5,
            device_connection_coupling=("STRICT", "LOOSE")[number % 2],
            mandatory_provisioning=number % 4 == 2 or number % 4 == 3,
        )
        for broker in served:
            self.rows.put("broker_accounts", broker_id=self.broker_ids[broker], account_id=account_id)
        broker_id = self.broker_ids[served[0]] if served else None
        account = Account(id=account_id, name=name, broker_id=broker_id, persons=[])
        self.accounts[name] = account
        for one, wanted in enumerate(itertools.product((True, False), repeat=len(PERMISSIONS))):
            may = [permission for permission, yes in zip(PERMISSIONS, wanted, strict=True) if yes]
            person = f"person{one}-{account_id}"
            self.make_user(account, "person", person, may, enabled=one != 3)
            account.persons.append(person)

    def make_user(
        self, account: Account, kind: str, name: str, may: list[str], *, phase: int = FIRST, **more: Any
    ) -> int:
        """A user with a password."""
        secret: dict[str, Any]
        if kind == "provision":
            long = "Factory!" * 9  # 72 bytes, no longer one is taken
            self.passwords[name] = Passwords(current=long if self.often(0.1) else f"Factory-{name[:40]}", previous=OLD)
            secret = {"password_bcrypt": _bcrypt(self.passwords[name].current)}
        else:
            self.passwords[name] = Passwords(current=hashlib.sha256(name.encode()).hexdigest()[:43])
            secret = {"secret_sha256": hexadecimal(secret_hash(USER, self.passwords[name].current))}
        number = self.rows.add("users", phase, account_id=account.id, name=name, kind=kind, **secret, **more)
        self.user_ids[name] = number
        self.account_of[name] = account.name
        for permission in may:
            self.rows.put("user_permissions", phase, account_id=account.id, user_id=number, permission=permission)
        return number

    def make_unit(
        self, account: Account, client_id: str, shape: str | None = None, *, phase: int = FIRST, enabled: bool = False
    ) -> Unit:
        """
        A client id in an account: nothing at all, a device alone, a request in one of its states.

        `enabled`: so is all of it; else something is disabled now and then.
        """
        shape = shape or self.random.choice(SHAPES)
        unit = Unit(account=account.name, client_id=client_id, usernames=[])
        self.units.append(unit)
        request_id = None
        if shape not in ("nothing", "device"):
            request_id = self._make_request(account, unit, shape, phase, enabled)
        device_id = None
        if shape in ("device", "RUNNING", "PROVISIONED", "overdue") or self.often(0.2 if shape != "nothing" else 0):
            on = enabled or self.often(0.85)
            device_id = self.rows.add("devices", phase, account_id=account.id, client_id=client_id, enabled=on)
        if shape in ("RUNNING", "PROVISIONED", "overdue", "ended") or self.often(0.3):
            # A user without its request: an administrator deleted that, and kept what it had made.
            kept = shape not in ("RUNNING", "PROVISIONED", "overdue", "ended")
            self._make_generated(account, unit, None if kept else request_id, device_id, shape, phase, enabled)
        if self.often(0.75):
            self._make_connection(account, unit, phase)
        return unit

    def _make_request(self, account: Account, unit: Unit, shape: str, phase: int, enabled: bool) -> int:
        shared = self._shared.setdefault(account.name, [])
        if shared and phase == FIRST and self.often(0.3):
            factory = self.random.choice(shared)
        else:
            factory = self._make_factory_user(account, phase, enabled)
            if phase == FIRST:
                shared.append(factory)
        unit.usernames.append(factory)
        window = self.random.choice([(-9, None), (-9, 9), (-9, -3), (3, None)])
        assert account.broker_id is not None
        return self.rows.add(
            "provision_requests",
            phase,
            account_id=account.id,
            client_id=unit.client_id,
            user_id=self.user_ids[factory],
            provision_endpoint="mqtt://account.example",
            broker_id=account.broker_id,
            activates_on=self.at(window[0]),
            expires_on=self.at(window[1]) if window[1] is not None else None,
            enabled=enabled or shape in ("RUNNING", "overdue") or self.often(0.8),
            state={"overdue": "RUNNING", "ended": "OPEN"}.get(shape, shape),
            created_by="oracle",
            modified_by="oracle",
        )

    def _make_factory_user(self, account: Account, phase: int, enabled: bool) -> str:
        number = len(self.user_ids)
        name = self.random.choice([f"Factory-{number}", f"f_{number}", f"{number:03}", f"-{number}-" + "n" * 240])
        user_id = self.make_user(account, "provision", name, [], phase=phase, enabled=enabled or self.often(0.93))
        if self.often(0.25):
            overlap, held = self.random.choice([None, -1, 5]), self.often(0.5)
            self.rows.put(
                "credentials",
                phase,
                account_id=account.id,
                user_id=user_id,
                previous_password_bcrypt=None if overlap is None else _bcrypt(OLD),
                overlap_until=None if overlap is None else self.at(overlap),
                rotated_at=self.at(-9),
                held_at=self.at(-1) if held else None,
                held_by="somebody" if held else None,
            )
        return name

    def _make_generated(
        self, account: Account, unit: Unit, request_id: int | None, device_id: int | None, shape: str, phase: int,
        enabled: bool,
    ) -> None:  # fmt: skip
        name = _device_username(self.random)
        confirmed = shape not in ("RUNNING", "overdue", "ended")
        user_id = self.make_user(
            account,
            "device",
            name,
            ["broker:connect"] if self.often(0.95) else [],
            phase=phase,
            enabled=enabled or self.often(0.9),
            confirmed_at=self.at(-2) if confirmed else None,
        )
        unit.usernames.append(name)
        if request_id is None:
            return
        live = shape in ("RUNNING", "overdue")
        # In time: by the clock, or by what an outage gave back. Overdue: all outages considered.
        in_time = self.random.choice([(9, 0), (9, 2), (-1, 0)])
        hours, outage = (-5, self.random.choice([0, 2])) if shape == "overdue" else in_time
        ended = {"PROVISIONED": "COMPLETED", "ended": self.random.choice(["FAILED", "STOPPED"])}.get(shape, "COMPLETED")
        self.rows.add(
            "provision_runs",
            phase,
            account_id=account.id,
            request_id=request_id,
            number=1,
            wire=self.random.choice(["json", "kura"]),
            state=self.random.choice(LIVE_STATES) if live else ended,
            token_sha256=hexadecimal(bytes(32)),
            salt=hexadecimal(bytes(32)) if live else None,
            user_id=user_id,
            username=name,
            device_id=device_id,
            made_device=True,
            answer={},
            confirm_by=self.at(hours),
            outage=f"{outage} hours",
            ended_at=None if live else self.at(-2),
        )

    def _make_connection(self, account: Account, unit: Unit, phase: int) -> None:
        """Its own user is one of the unit's, the other one a person or whoever else is there."""
        coupling, reserved, last, change = next(self._couplings)
        own = [name for name in unit.usernames if self.passwords[name].previous == ""]
        person = f"{unit.client_id[:20].replace(':', '-').replace('.', '-')}-{len(self.user_ids)}"
        self.make_user(
            account, "person", person, ["broker:connect", *self.random.choices(PERMISSIONS[1:])], phase=phase
        )
        unit.usernames.append(person)
        who = {"s": own[0] if own else person, "o": person}
        self.rows.add(
            "device_connections",
            phase,
            account_id=account.id,
            client_id=unit.client_id,
            coupling=coupling,
            user_id=self.user_ids[who[last]] if last in who else None,
            reserved_user_id=self.user_ids[who[reserved]] if reserved in who else None,
            allow_user_change=change,
        )

    def _make_one_time_password(self, client_id: str, *, good: bool) -> None:
        password = f"once-{client_id}-{len(self.one_time_passwords)}"
        self.one_time_passwords.append((client_id, password, good))
        self.rows.put(
            "one_time_passwords",
            secret_sha256=hexadecimal(secret_hash(TAKEOVER, password)),
            client_id=client_id,
            expires_at=self.at(9 if good else -1),
        )


def _device_username(chance: random.Random) -> str:
    """As the responder makes them, by the seed."""
    return "d-" + "".join(chance.choices("abcdefghijklmnopqrstuvwxyz234567", k=26))


def hexadecimal(data: bytes) -> str:
    """As Postgres reads bytea."""
    return "\\x" + data.hex()


def _bcrypt(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
