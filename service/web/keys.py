"""What the hooks' handlers find in an application and in a request."""

from __future__ import annotations

from aiohttp import web

from service.db.hooks import BrokerSecrets
from service.operations.admission import Admission

ADMISSION = web.AppKey("admission", Admission)
BROKER = web.RequestKey("broker", BrokerSecrets)
