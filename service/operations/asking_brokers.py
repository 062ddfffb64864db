"""Who asks the hooks: brokers, by HTTP Basic `<name>:<secret>` (design section 3)."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field

from service import keys
from service.db.hooks import BrokerSecrets, HookStore

# Right headers that are remembered: one a broker, two while its secret is being rotated.
MOST_AUTHENTICATED = 1000


@dataclass
class AskingBrokers:
    """The brokers that one hooks process knows, and `loaded`: whether it has read them at all."""

    store: HookStore
    known: dict[str, BrokerSecrets] = field(default_factory=dict)
    loaded: bool = False
    # Headers that were right, until brokers are loaded anew.
    _authenticated: dict[str, BrokerSecrets] = field(default_factory=dict, repr=False)

    async def load(self) -> None:
        """Brokers and their secrets, at start and whenever one of them changes. Raises Unavailable."""
        self.known = {broker.name: broker for broker in await self.store.brokers()}
        self._authenticated.clear()
        self.loaded = True

    def authenticate(self, authorization: str | None) -> BrokerSecrets | None:
        """Who asks, by the header of that name, without a query. None: nobody we know."""
        if authorization is None:
            return None
        remembered = self._authenticated.get(authorization)
        if remembered is not None:
            return remembered
        broker = self._check_basic(authorization)
        if broker is not None and len(self._authenticated) < MOST_AUTHENTICATED:
            self._authenticated[authorization] = broker
        return broker

    def _check_basic(self, authorization: str) -> BrokerSecrets | None:
        if not authorization.startswith("Basic "):
            return None
        try:
            name, separator, secret = base64.b64decode(authorization[6:], validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
        broker = self.known.get(name)
        computed = keys.secret_hash(keys.BROKER, secret)
        hashes = broker.hashes if broker is not None else (bytes(len(computed)),)
        good = [hmac.compare_digest(stored, computed) for stored in hashes]
        return broker if separator and broker is not None and any(good) else None
