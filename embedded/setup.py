"""
What `make up` and compose.yaml's containers have in common: keys, brokers, the account, the demonstration.

Each step makes only what is missing, and a step that was cut off is mended by the next run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from embedded.state import write_private
from service import keys
from service.cli.output import cell, escape
from service.core.access import Role
from service.core.problems import NotFound, NotPossible
from service.core.requests import Changes, NewRequest
from service.db.pool import open_pool
from service.keys import SealingKeys, Secret, parse_key
from service.mqtt.device import Device, Simulation
from service.operations import accounts, requests, tokens, users
from service.operations.administration import Administration
from service.operations.events import Author

ACCOUNT = "demo"
PLATFORM_TOKEN = "embedded"  # noqa: S105 (its name)
CLIENT_ID = "demo-device"
USERNAME = "demo-factory"

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Place:
    """A folder of secrets, a file of mode 0600 each."""

    folder: Path

    def has(self, name: str) -> bool:
        """Whether the secret was made."""
        return (self.folder / name).exists()

    def get(self, name: str) -> str:
        """The secret's text."""
        return (self.folder / name).read_text(encoding="utf-8").strip()

    def put(self, name: str, text: str) -> None:
        """Keep a secret, whole or not at all."""
        write_private(self.folder / name, text + "\n")

    def make(self, name: str, text: str) -> None:
        """Keep a secret where there is none."""
        if not self.has(name):
            self.put(name, text)


def make_keys(place: Place) -> None:
    """The services' keys."""
    place.make("event-key", keys.new_key())
    place.make("derivation-key", keys.new_key())
    place.make("sealing-keys", f"k1:{keys.new_key()}")


async def with_administration(place: Place, work: Callable[[Administration], Awaitable[None]]) -> None:
    """The same operations as the `provision` command."""
    pools = [
        await open_pool(Secret(place.get(f"{role}-database-url")), name="setup", size=2, timeout=30)
        for role in ("admin", "platform")
    ]
    try:
        await work(
            Administration(
                admin_pool=pools[0],
                platform_pool=pools[1],
                author=Author(actor="setup", source="cli", event_key=parse_key(place.get("event-key"))),
                sealing_keys=SealingKeys.parse(place.get("sealing-keys")),
            )
        )
    finally:
        for pool in pools:
            pool.terminate()


async def register(
    place: Place,
    admin: Administration,
    *,
    endpoint: str,
    ca: str,
    has_files: Callable[[str], bool],
    write_files: Callable[[str, str], None],
) -> list[str]:
    """Both brokers with their files, the account, and our own user. Returns what was made."""
    made = []
    known = {row["name"] for row in await accounts.list_brokers(admin)}
    for role in ("provision", "account"):
        name = f"{role}-broker"
        if name not in known:
            given: dict[str, Any] = {"urls": [endpoint], "ca": ca} if role == "account" else {}
            write_files(role, await accounts.create_broker(admin, name, role=role, **given))
            made.append(name)
        elif not has_files(role):
            # Cut off between the two writes, and its secret with it: a new one.
            write_files(role, await _replace_secret(admin, name))
            made.append(f"a new secret of {name}")
    if ACCOUNT not in {row["name"] for row in await accounts.list_accounts(admin)}:
        await accounts.create_account(admin, ACCOUNT)
        made.append(f"account {ACCOUNT}")
    if not place.has("responder-password"):
        place.put("responder-password", await users.put_responder_password(admin))
    if not place.has("platform-token"):
        place.put("platform-token", await _make_token(admin))
        made.append("a platform administrator's token")
    return made


async def _make_token(admin: Administration) -> str:
    """For the API; of one that was made and not kept, nobody has the text."""
    with suppress(NotFound):
        await tokens.revoke_token(admin, None, PLATFORM_TOKEN)
    role = Role.PLATFORM_ADMINISTRATOR
    return (await tokens.create_token(admin, None, PLATFORM_TOKEN, role=role, days=tokens.LONGEST_DAYS)).token


async def _replace_secret(admin: Administration, broker: str) -> str:
    with suppress(NotPossible):
        await accounts.finish_rotation(admin, broker)
    secret = await accounts.begin_rotation(admin, broker)
    await accounts.finish_rotation(admin, broker)
    return secret


async def demonstrate(admin: Administration, *, broker: str, ca_file: Path, store: Path, keeps: Place) -> None:
    """A provision request, and the simulated device that it fits. `keeps`: where the device has its factory secrets."""
    found = await requests.list_requests(admin, ACCOUNT, CLIENT_ID)
    if found and found[0]["status"] == "PROVISIONED":
        console.print(f"[green]✓[/] the device {CLIENT_ID} is provisioned already")
        return
    await _put_request(admin, keeps, exists=bool(found))
    console.print(f"\n[bold]The device {CLIENT_ID}[/], from its factory credentials to its account's broker:")
    device = Device(
        broker=broker,
        client_id=CLIENT_ID,
        username=USERNAME,
        password=keeps.get("demo-password"),
        activation_key=keeps.get("demo-activation-key"),
        seal=True,
        facts={"serial": "0001", "model": "simulated"},
        ca_file=str(ca_file),
        store=store,
        patience=60,
        first_wait=5,
    )
    await Simulation(device, _say).run()
    status = (await requests.list_requests(admin, ACCOUNT, CLIENT_ID))[0]["status"]
    console.print(f"\nThe provision request of {CLIENT_ID} is [bold]{status}[/].")


async def _put_request(admin: Administration, keeps: Place, *, exists: bool) -> None:
    keeps.make("demo-password", f"Demo-{keys.new_secret()[:24]}aA-")
    if exists and keeps.has("demo-activation-key"):
        return
    if exists:
        # Created by a run that was cut off before it kept the key: another one.
        created = await requests.change_request(admin, ACCOUNT, CLIENT_ID, Changes(new_activation_key=True))
    else:
        new = NewRequest(
            client_id=CLIENT_ID,
            provision_username=USERNAME,
            provision_password=keeps.get("demo-password"),
            generate_activation_key=True,
        )
        created = await requests.create_request(admin, ACCOUNT, new)
    assert created.activation_key is not None
    keeps.put("demo-activation-key", created.activation_key)


def _say(what: str, **details: Any) -> None:
    words = "  ".join(f"{name}={cell(value)}" for name, value in details.items())
    console.print(f"  [cyan]→[/] {what}" + (f"  [dim]{escape(words)}[/]" if words else ""))
