"""
The whole product as real processes: two Mosquittos with a real plugin, hooks, responder, Postgres. Ports of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedded import brokers
from embedded.processes import Managed, accepts, answers, free_port
from service.certificates import Pair
from service.keys import new_key
from service.operations import accounts, users
from service.operations.administration import Administration
from tests.support.certificates import Certificates, make_certificates, new_authority
from tests.support.database import Database

ROOT = Path(__file__).resolve().parents[2]


def plugin_file() -> Path:
    """The plugin under test: PLUGIN, or our own, built now."""
    if os.environ.get("PLUGIN"):
        return Path(os.environ["PLUGIN"]).resolve()
    built = ROOT / "mosquitto" / "plugin" / "build" / "provisioning.so"
    subprocess.run(["make", "-s", "-C", str(ROOT / "mosquitto" / "plugin"), "all"], check=True)
    return built


def is_own_plugin() -> bool:
    """Ours speaks plugin API 5, go-auth 4."""
    return b"mosquitto_plugin_version" in plugin_file().read_bytes()


@dataclass(kw_only=True)
class World:
    """Everything that runs for one test."""

    database: Database
    admin: Administration
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="provisioning-world-")))
    provision_port: int = field(default_factory=free_port)
    account_port: int = field(default_factory=free_port)
    provision_tls_port: int = field(default_factory=free_port)
    account_tls_port: int = field(default_factory=free_port)
    hooks_port: int = field(default_factory=free_port)
    hooks_metrics_port: int = field(default_factory=free_port)
    settings: Mapping[str, str] = field(default_factory=dict)
    responder_password: str = ""
    # The account broker's endpoint is its TLS listener, and devices are handed its CA.
    encrypted: bool = False
    authority: Pair = field(default_factory=new_authority)
    started: list[Managed] = field(default_factory=list)

    @property
    def provision_url(self) -> str:
        return f"mqtt://127.0.0.1:{self.provision_port}"

    @property
    def account_url(self) -> str:
        return f"mqtt://127.0.0.1:{self.account_port}"

    @property
    def provision_tls_url(self) -> str:
        return f"mqtts://127.0.0.1:{self.provision_tls_port}"

    @property
    def account_tls_url(self) -> str:
        return f"mqtts://127.0.0.1:{self.account_tls_port}"

    def certify(self, role: str, **changes: Any) -> Certificates:
        """A certificate for a broker, in place of the one it had."""
        made = make_certificates(self.folder / f"{role}-tls", **{"authority": self.authority, **changes})
        made.ca.parent.chmod(0o755)
        brokers.give_to_broker(made.certificate, made.key)
        return made

    async def prepare(self) -> None:
        """Brokers, an account and our own user, as an operator makes them."""
        self.folder.chmod(0o755)
        secret = await accounts.create_broker(self.admin, "provision-broker", role="provision")
        self._write_broker("provision", "provision-broker", secret, (self.provision_port, self.provision_tls_port))
        url, ca = (self.account_tls_url, self.authority.pem.decode()) if self.encrypted else (self.account_url, None)
        secret = await accounts.create_broker(self.admin, "account-broker", role="account", urls=[url], ca=ca)
        self._write_broker("account", "account-broker", secret, (self.account_port, self.account_tls_port))
        await accounts.create_account(self.admin, "acme")
        self.responder_password = await users.put_responder_password(self.admin)
        self.hooks = self._service("hooks", f"http://127.0.0.1:{self.hooks_metrics_port}/readyz")
        self.responder = self.new_responder("responder")
        self.provision_broker = self._broker("provision", self.provision_port, self.provision_tls_port)
        self.account_broker = self._broker("account", self.account_port, self.account_tls_port)

    async def add_account_broker(self, name: str) -> tuple[Managed, int]:
        """One more account broker, registered and not started, with its port."""
        port, tls_port = free_port(), free_port()
        url = f"mqtt://127.0.0.1:{port}"
        secret = await accounts.create_broker(self.admin, name, role="account", urls=[url])
        return self._add_broker("account", name, secret, (port, tls_port)), port

    async def add_provision_broker(self, name: str) -> tuple[Managed, Managed, int]:
        """One more provision broker and its responder, registered and not started, with its port."""
        ports = free_port(), free_port()
        secret = await accounts.create_broker(self.admin, name, role="provision")
        responder = self.new_responder(
            f"{name}-responder",
            PROVISION_PROVISION_BROKER=f"mqtt://127.0.0.1:{ports[0]}",
            PROVISION_PROVISION_BROKER_NAME=name,
            PROVISION_ACCOUNT_BROKERS="",
        )
        return self._add_broker("provision", name, secret, ports), responder, ports[0]

    def _add_broker(self, role: str, name: str, secret: str, ports: tuple[int, int]) -> Managed:
        self._write_broker(role, name, secret, ports, file=name)
        return self._broker(name, *ports)

    def _write_broker(self, role: str, name: str, secret: str, ports: tuple[int, int], *, file: str = "") -> None:
        certificates = self.certify(file or role)
        plugin = self.folder / "plugin.so"
        if not plugin.exists():
            shutil.copy(plugin_file(), plugin)
        secret_file = self.folder / f"{file or role}.secret"
        brokers.write_private(secret_file, secret + "\n")
        words = {
            "PORT": str(ports[0]),
            "ADDRESS": "127.0.0.1",
            "TLS_PORT": str(ports[1]),
            "TLS_ADDRESS": "127.0.0.1",
            "CERTIFICATE_FILE": str(certificates.certificate),
            "KEY_FILE": str(certificates.key),
            "PLUGIN": str(plugin),
            "BROKER": name,
            "SECRET": secret,
            "SECRET_FILE": str(secret_file),
            "HOOKS_URL": f"http://127.0.0.1:{self.hooks_port}",
            "HOOKS_HOST": "127.0.0.1",
            "HOOKS_PORT": str(self.hooks_port),
        }
        template = f"{role}.conf" if is_own_plugin() else f"go-auth/{role}.conf"
        brokers.write_private(self.folder / f"{file or role}.conf", brokers.render(template, words))

    def environment(self, **more: str) -> dict[str, str]:
        """What a service of ours is started with."""
        database = self.database
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PROVISION_HOOKS_DATABASE_URL": database.url("hooks").reveal(),
            "PROVISION_RESPONDER_DATABASE_URL": database.url("responder").reveal(),
            "PROVISION_ADMIN_DATABASE_URL": database.url("admin").reveal(),
            "PROVISION_PLATFORM_DATABASE_URL": database.url("platform").reveal(),
            "PROVISION_EVENT_KEY": _base64(database.event_key),
            "PROVISION_DERIVATION_KEY": _base64(database.derivation_key),
            "PROVISION_SEALING_KEYS": f"k1:{_base64(database.sealing_keys.keys[0][1])}",
            "PROVISION_HOOKS_PORT": str(self.hooks_port),
            "PROVISION_HOOKS_METRICS_PORT": str(self.hooks_metrics_port),
            "PROVISION_PROVISION_BROKER": self.provision_url,
            "PROVISION_ACCOUNT_BROKERS": f"account-broker={self.account_url}",
            "PROVISION_RESPONDER_PASSWORD": self.responder_password,
            "PROVISION_BCRYPT_COST": "4",
            **self.settings,
            **more,
        }

    def _service(self, command: str, ready_url: str, **more: str) -> Managed:
        return Managed(
            name=more.pop("name", command),
            command=[sys.executable, "-m", "service", command],
            folder=self.folder,
            environment=self.environment(**more),
            is_ready=lambda: answers(ready_url),
        )

    def new_responder(self, name: str, **more: str) -> Managed:
        """One more responder, not started; `more` are settings of its own."""
        port = str(free_port())
        return self._service(
            "responder", f"http://127.0.0.1:{port}/readyz", name=name, PROVISION_RESPONDER_METRICS_PORT=port, **more
        )

    def _broker(self, role: str, *ports: int) -> Managed:
        return Managed(
            name=f"{role}-broker",
            command=[brokers.find_mosquitto(), "-c", str(self.folder / f"{role}.conf")],
            folder=self.folder,
            environment={"PATH": os.environ["PATH"]},
            is_ready=lambda: all(accepts(port) for port in ports),
        )

    def start(self, *managed: Managed) -> None:
        """Start processes, all of them by default; they find one another in any order."""
        chosen = managed or (self.hooks, self.provision_broker, self.account_broker, self.responder)
        for process in chosen:
            process.begin()
            if process not in self.started:
                self.started.append(process)
        for process in chosen:
            process.wait_ready()

    def close(self) -> None:
        """End all that was started, at once, and forget it: that they end in order is shown where it is meant."""
        for process in reversed(self.started):
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self) -> str:
        """What every process wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))


def _base64(key: bytes) -> str:
    import base64

    return base64.b64encode(key).decode()


__all__ = ["World", "is_own_plugin", "new_key", "plugin_file"]
