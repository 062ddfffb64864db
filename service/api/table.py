"""Every route of the API, once."""

from __future__ import annotations

from service.api import (
    accounts,
    brokers,
    callers,
    credentials,
    devices,
    events,
    imports,
    recovery,
    requests,
    tokens,
    users,
)
from service.api.routes import Route

ROUTES: tuple[Route, ...] = (
    *callers.ROUTES,
    *accounts.ROUTES,
    *requests.ROUTES,
    *imports.ROUTES,
    *devices.ROUTES,
    *users.ROUTES,
    *credentials.ROUTES,
    *tokens.ROUTES,
    *events.ROUTES,
    *brokers.ROUTES,
    *recovery.ROUTES,
)
