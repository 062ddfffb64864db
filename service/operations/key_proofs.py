"""
Activation keys that come with a CONNECT (docs/decisions/0014): checked before anything that others can use up.

Who proved its key waits for no budget, and for a while nobody takes its client id over without the key.
"""

from __future__ import annotations

import time

from service import keys
from service.db.hooks import HookStore
from service.operations.cases import Rate
from service.operations.questions import ConnectQuestion

# What one client that proved its key may have hashed beside the budgets: once it is right, its password is remembered.
HASHES_A_SECOND = 0.1
HASHES_AT_ONCE = 3


class KeyProofs:
    """Of one hooks process. Who proved what is in the database, where every process reads it with the facts."""

    def __init__(self, store: HookStore) -> None:
        self._store = store
        self._hashes = Rate(HASHES_A_SECOND, HASHES_AT_ONCE)

    async def prove(self, question: ConnectQuestion) -> bool:
        """Whether the CONNECT has its request's key: one SHA-256 and one look-up by it. Raises Unavailable."""
        if question.activation_key is None:
            return False
        hashed = keys.secret_hash(keys.ACTIVATION_KEY, question.activation_key)
        return await self._store.prove_key(question.username, question.client_id, hashed)

    def may_hash(self, client_id: str) -> bool:
        """Whether a password of this client, whose key is right, may be looked at once more."""
        return self._hashes.allows(client_id, time.monotonic())
