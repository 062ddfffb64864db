"""`python -m service admin`: the administrators' API as a process."""

from __future__ import annotations

import asyncio
from importlib import metadata

from service import log
from service.db import queries
from service.db.pool import Pool, open_pool, transaction, wait_for_schema
from service.operations.administration import Administration
from service.settings import AdminSettings
from service.web.admin import build_app
from service.web.process import build_observability, every, running, serve
from service.web.wrong_tokens import WrongTokens

_VERSIONS = queries.load("versions")
_log = log.get("admin")


class AdminProcess:
    """Serves until it is told to stop."""

    PRUNE_EVERY = 600.0
    LOOK_EVERY = 1.0

    def __init__(self, settings: AdminSettings) -> None:
        self._settings = settings
        self._reached = False

    async def run(self) -> None:
        """Until SIGTERM. Raises WrongSchema and PortBusy."""
        settings = self._settings
        admin_pool = await open_pool(settings.admin_database_url, name="provisioning-admin", size=8, timeout=10.0)
        platform_pool = await open_pool(settings.platform_database_url, name="provisioning-admin", size=8, timeout=10.0)
        try:
            await wait_for_schema(platform_pool)
            await self._serve(
                Administration.opened(settings, admin_pool, platform_pool, actor="api", source="api"), platform_pool
            )
        finally:
            admin_pool.terminate()
            platform_pool.terminate()

    async def _serve(self, administration: Administration, pool: Pool) -> None:
        settings = self._settings
        wrong_tokens = WrongTokens(settings.api_wrong_token_rate, settings.api_wrong_token_burst)
        app = build_app(administration, version(), wrong_tokens)
        runners = [
            await serve(
                build_observability(lambda: None if self._reached else "Postgres"),
                settings.api_metrics_host,
                settings.api_metrics_port,
                "PROVISION_API_METRICS_PORT",
            ),
            await serve(app, settings.api_host, settings.api_port, "PROVISION_API_PORT"),
        ]
        try:
            async with running(
                every(self.PRUNE_EVERY, "prune", lambda: _prune(pool)),
                every(self.LOOK_EVERY, "look", lambda: self._look(pool)),
            ) as stop:
                _log.info("admin_ready", host=settings.api_host, port=settings.api_port)
                await stop.wait()
        finally:
            for runner in runners:
                await runner.cleanup()

    async def _look(self, pool: Pool) -> None:
        try:
            async with asyncio.timeout(2), pool.acquire() as connection:
                await connection.fetchval("SELECT 1")
            self._reached = True
        except Exception:
            self._reached = False
            raise


async def _prune(pool: Pool) -> None:
    """Idempotency-Keys are remembered for a day."""
    async with transaction(pool) as connection:
        await connection.execute(_VERSIONS["prune_once"])


def version() -> str:
    """Of this program, where it was installed as a package; else of the sources."""
    try:
        return metadata.version("mosquitto-provisioning")
    except metadata.PackageNotFoundError:
        return "0.1.0"
