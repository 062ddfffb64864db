"""
What compose.yaml does once, in containers of our image: `secrets`, then `setup`, and a demonstration as `device`.

`setup` runs as root because it gives files to the users of other containers; nothing of ours that stays running does.
Everything is made only where it is missing, so that it can be run again at any time.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded import brokers, postgres, tls
from embedded.setup import Place, demonstrate, make_keys, register, with_administration
from service.db.migrations import Migrator
from service.keys import Secret
from service.operations.administration import Administration

DATABASE = "provisioning"
# What each container reads; all of it is with `setup` alone.
SECRETS = {
    "hooks": ("hooks-database-url", "event-key"),
    "responder": ("responder-database-url", "event-key", "derivation-key", "sealing-keys", "responder-password"),
    "administrator": ("admin-database-url", "platform-database-url", "event-key", "sealing-keys"),
    "api": ("admin-database-url", "platform-database-url", "event-key", "sealing-keys"),
}
SERVICE_USER, BROKER_USER = 10001, 1883


@dataclass(frozen=True)
class Volumes:
    """Where compose.yaml mounts them; tests put them elsewhere."""

    postgres_secret: Path = Path("/postgres-secret")
    secrets: Path = Path("/secrets")
    brokers: Path = Path("/brokers")
    device: Path = Path("/device")
    # Mounted by `setup` alone: the key that signs brokers' certificates.
    ca: Path = Path("/ca")
    # A volume for each container of ours, mounted there as /secrets: none reads what another one must keep (D5).
    services: Path = Path("/services")


def make_superuser_password(volumes: Volumes) -> None:
    """Before Postgres starts for the first time."""
    path = volumes.postgres_secret / "password"
    if not path.exists():
        brokers.write_private(path, secrets.token_urlsafe(32))
    # The image's entry point reads it as root, and hands over to its own user.
    path.chmod(0o600)


async def set_up(volumes: Volumes, environ: Mapping[str, str]) -> None:
    """Roles, database, schema, keys, brokers with their files, account."""
    host = environ.get("POSTGRES_ADDRESS", "postgres:5432")
    password = (volumes.postgres_secret / "password").read_text(encoding="ascii").strip()
    place = Place(volumes.secrets)
    if not all(place.has(f"{role}-database-url") for role in postgres.ROLES):
        passwords = {role: secrets.token_urlsafe(32) for role in postgres.ROLES}
        superuser = f"postgresql://postgres:{password}@{host}/postgres"
        postgres.create_roles(superuser, passwords)
        postgres.create_database_once(superuser, DATABASE)
        for role, text in passwords.items():
            place.put(f"{role}-database-url", f"postgresql://provisioning_{role}:{text}@{host}/{DATABASE}")
    await asyncio.to_thread(Migrator(Secret(place.get("migrator-database-url"))).up)
    make_keys(place)
    ca = _make_certificates(volumes)

    async def work(admin: Administration) -> None:
        await register(
            place,
            admin,
            endpoint=environ["ACCOUNT_ENDPOINT"],
            ca=ca,
            has_files=lambda role: (volumes.brokers / f"{role}.conf").exists(),
            write_files=lambda role, secret: write_broker_file(volumes, role, secret),
        )

    await with_administration(place, work)
    for service, names in SECRETS.items():
        own = Place(volumes.services / service)
        for name in names:
            own.put(name, place.get(name))
        _give(own.folder, SERVICE_USER)
    _give(volumes.brokers, BROKER_USER)
    _give(volumes.device, SERVICE_USER)


def _make_certificates(volumes: Volumes) -> str:
    """A development CA, and certificates for the names that containers and this machine know the brokers by."""
    tls.make_ca(volumes.ca / "development")
    for role in ("provision", "account"):
        hosts = (f"{role}-broker", *tls.HERE)
        tls.make_certificate(volumes.ca / "development", volumes.brokers / f"{role}-tls", hosts, give=_keep)
    made = tls.ca_file(volumes.ca / "development").read_text(encoding="ascii")
    # What the demonstration's device trusts at the provision broker, as its maker would put it there.
    (volumes.device / "ca.pem").write_text(made, encoding="ascii")
    return made


def _keep(*_paths: Path) -> None:
    """All of the volume is given to the brokers' user, at the end."""


def write_broker_file(volumes: Volumes, role: str, secret: str) -> None:
    """The shipped go-auth file, filled in; it holds the broker's secret, so it is its owner's alone."""
    words = {
        "PORT": "1883",
        "ADDRESS": "0.0.0.0",  # noqa: S104  (inside its container; compose.yaml publishes it on loopback)
        "TLS_PORT": "8883",
        "TLS_ADDRESS": "0.0.0.0",  # noqa: S104  (as above)
        **tls.words(volumes.brokers / f"{role}-tls"),
        "PLUGIN": "/mosquitto/go-auth.so",
        "BROKER": f"{role}-broker",
        "SECRET": secret,
        "HOOKS_HOST": "hooks",
        "HOOKS_PORT": "8081",
    }
    path = volumes.brokers / f"{role}.conf"
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(brokers.render(f"go-auth/{role}.conf", words))


def _give(folder: Path, user: int) -> None:
    """A volume and its files to the user of the containers that read them."""
    if os.geteuid() != 0 or not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user)
    folder.chmod(0o700)


async def be_device(volumes: Volumes, environ: Mapping[str, str]) -> None:
    """A provision request and a device that it fits, told step by step."""
    place = Place(volumes.secrets)

    async def work(admin: Administration) -> None:
        store = volumes.device / "answer.json"
        await demonstrate(
            admin,
            broker=environ["PROVISION_BROKER"],
            ca_file=volumes.device / "ca.pem",
            store=store,
            keeps=Place(volumes.device),
        )

    await with_administration(place, work)


def main() -> int:
    """Exit status."""
    volumes = Volumes()
    commands: dict[str, Callable[[], object]] = {
        "secrets": lambda: make_superuser_password(volumes),
        "setup": lambda: asyncio.run(set_up(volumes, os.environ)),
        "device": lambda: asyncio.run(be_device(volumes, os.environ)),
    }
    command = commands.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if command is None:
        print(__doc__, file=sys.stderr)
        return 2
    command()
    return 0


if __name__ == "__main__":
    sys.exit(main())
