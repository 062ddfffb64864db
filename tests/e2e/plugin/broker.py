"""A real Mosquitto with the plugin under test, in a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedded.processes import free_port
from tests.e2e.mqtt_raw import WAIT, Client

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
NAME, SECRET = "b1", "S3cret-canary-0123456789"


def service_user() -> pwd.struct_passwd | None:
    """Whom Mosquitto becomes when root starts it; nobody else if it is not root who does."""
    return pwd.getpwnam("mosquitto") if os.geteuid() == 0 else None


def speaks_api_5(plugin: Path) -> bool:
    """Ours does; go-auth speaks API 4 and takes its options by other names."""
    return b"mosquitto_plugin_version" in plugin.read_bytes()


Lines = Sequence[tuple[str, str]]


@dataclass
class Broker:
    """Files, process and port. `options` are `plugin_opt_` lines; None takes one of the standard lines away."""

    plugin: Path
    url: str
    settings: Lines = ()
    options: Mapping[str, str | None] = field(default_factory=dict)
    more_options: Lines = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    become: pwd.struct_passwd | None = None
    """Start as this user, in place of letting Mosquitto drop root's rights by itself."""

    port: int = 0
    _process: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="plugin-test-"))
        shutil.copy(self.plugin, self.folder / "plugin.so")
        self.write_secret(SECRET)
        self._log = self.folder / "log"

    def _give(self, *paths: Path) -> None:
        owner = service_user()
        for path in paths:
            if owner is not None:
                os.chown(path, owner.pw_uid, owner.pw_gid)

    @property
    def secret_file(self) -> Path:
        """Where the standard options point."""
        return self.folder / "secret"

    def write_secret(self, content: str, mode: int = 0o600) -> None:
        """Replaces the secret file."""
        self.secret_file.write_text(content + "\n")
        self.secret_file.chmod(mode)
        self._give(self.secret_file)

    def _plugin_lines(self) -> list[tuple[str, str]]:
        path = str(self.folder / "plugin.so")
        if speaks_api_5(self.plugin):
            standard = {
                "url": self.url,
                "broker": NAME,
                "secret_file": str(self.secret_file),
                "timeout_ms": "10000",
                # Most tests are about the questions; test_following is about doing without.
                "grants": "off",
            }
            chosen = {**standard, **self.options}
            lines = [(name, value) for name, value in chosen.items() if value is not None]
            return [("plugin", path), *((f"plugin_opt_{name}", value) for name, value in [*lines, *self.more_options])]
        host, _, port = self.url.removeprefix("http://").partition(":")
        return [
            ("auth_plugin", path),
            ("auth_opt_backends", "http"),
            ("auth_opt_http_host", f"{NAME}:{SECRET}@{host}"),
            ("auth_opt_http_port", port),
            ("auth_opt_http_getuser_uri", "/hooks/user"),
            ("auth_opt_http_aclcheck_uri", "/hooks/acl"),
            ("auth_opt_http_response_mode", "json"),
            ("auth_opt_http_timeout", "2"),
            ("auth_opt_retry_count", "1"),
            ("auth_opt_disable_superuser", "true"),
            ("auth_opt_log_level", "warn"),
        ]

    def write_config(self) -> Path:
        """mosquitto.conf as it will be read at the start and at SIGHUP."""
        config = self.folder / "mosquitto.conf"
        lines = [
            *self.settings,
            ("listener", f"{self.port} 127.0.0.1"),
            ("allow_anonymous", "false"),
            ("sys_interval", "0"),
            ("log_dest", "stderr"),
            ("log_type", "all"),
            *self._plugin_lines(),
        ]
        config.write_text("".join(f"{name} {value}\n" for name, value in lines))
        self._give(self.folder, config)
        return config

    async def _spawn(self) -> asyncio.subprocess.Process:
        assert MOSQUITTO is not None
        self.port = free_port()
        config = self.write_config()
        user = {"user": self.become.pw_uid, "group": self.become.pw_gid, "extra_groups": []} if self.become else {}
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                MOSQUITTO,
                "-c",
                str(config),
                stderr=log,
                stdout=log,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                **user,  # type: ignore[arg-type]
            )

    async def start(self) -> None:
        """Returns when the broker accepts connections; fails with its log when it does not."""
        self._process = await self._spawn()
        async with asyncio.timeout(WAIT):
            while not await self._accepts():
                assert self._process.returncode is None, self.log
                await asyncio.sleep(0.01)

    async def _accepts(self) -> bool:
        try:
            (await Client.open(self.port)).close()
        except ConnectionError:
            return False
        return True

    async def run_to_its_end(self) -> int:
        """Starts a broker that is expected to stop by itself and returns its exit code."""
        self._process = await self._spawn()
        return await self.ended()

    async def ended(self) -> int:
        """The exit code, when the process has ended."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), WAIT)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the running broker."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def reload(self) -> None:
        """SIGHUP; returns when the broker has dealt with it, which it notices at most 0.1 s later.

        Mosquitto forgets a SIGHUP that comes while it deals with another one, so it is sent until it counts.
        """
        before = self.log.count("Reloading config.")
        async with asyncio.timeout(WAIT):
            while self.log.count("Reloading config.") == before:
                self.signal(signal.SIGHUP)
                with contextlib.suppress(TimeoutError):
                    await self.logged("Reloading config.", before + 1, seconds=1)
        # What follows in the same pass of the broker's loop is over when it accepts and serves a new connection.
        async with await Client.open(self.port) as client:
            await client.send(b"\xc0\x00")  # PINGREQ before CONNECT: it is closed at once, and no plugin is asked
            assert await client.read() is None

    async def logged(self, text: str, times: int = 1, seconds: float = WAIT) -> None:
        """Returns when a text stands in the log so many times."""
        async with asyncio.timeout(seconds):
            while self.log.count(text) < times:  # noqa: ASYNC110  another process writes it
                await asyncio.sleep(0.01)

    @property
    def log(self) -> str:
        """Everything that the broker and the plugin have written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def remove(self) -> None:
        """Ends the process if it is still there and removes the folder."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)  # a test may have stopped it
            self._process.kill()
            await self._process.wait()
        shutil.rmtree(self.folder)

    async def client(self, client_id: str, *, version: int = 4, clean: bool = True) -> Client:
        """A client that is logged in as user `u-<client id>`."""
        client = await Client.open(self.port, version=version)
        code = await client.connect(client_id, username=f"u-{client_id}", password="pw", clean=clean)
        assert code == 0, (code, self.log)
        return client
