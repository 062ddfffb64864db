"""
Factory passwords (D5): who may have one looked at, what it is paid with, and which of a user's passwords it is.

A hash is paid for before it is made: a try of the username's and a token of the broker's. Who proved its activation key
has a share of its own (docs/decisions/0014).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from service.core import budget
from service.core.budget import Budget
from service.core.connect import Facts
from service.guesses import Guesses
from service.operations.key_proofs import KeyProofs
from service.operations.questions import (
    GUESSED_TOO_OFTEN,
    OVER_BUDGET,
    ConnectQuestion,
    Verdict,
    not_this_secret,
)
from service.passwords import DEFAULT_COST, Hasher, Verified, VerifiedPasswords, cost_of


def still_good(remembered: Verified | None, facts: Facts) -> bool:
    """Whether a password that was right once is right for the row as it is now."""
    user = facts.user
    if remembered is None or user is None or user.version != remembered.version:
        return False
    return not remembered.previous or user.previous_password_bcrypt is not None


@dataclass(kw_only=True)
class SlowHashes:
    """Of one hooks process. `rate`: tokens a second that each broker gets, up to `burst`; one pays for `seconds`."""

    hasher: Hasher
    passwords: VerifiedPasswords
    proofs: KeyProofs
    guesses: Guesses = field(default_factory=Guesses)
    rate: float = 4.0
    burst: float = 2.0
    seconds: float = budget.TOKEN_SECONDS
    _budgets: dict[str, Budget] = field(default_factory=dict)

    def refuse_unpaid(
        self, broker: str, question: ConnectQuestion, *, proved: bool, known_password: bool = False
    ) -> Verdict | None:
        """
        Pay for one password that is looked at: a try of the username's, and a token of the broker's; both or neither.

        None: paid. Whoever proved its key has a share of its own. `known_password`: it was right for this user before,
        so that the tries of others do not hold it back.
        """
        if not (proved and self.proofs.may_hash(question.client_id)):
            if not known_password and not self.guesses.allows(question.username):
                return GUESSED_TOO_OFTEN
            if not self._take_token(broker):
                return OVER_BUDGET
        self.guesses.spend(question.username)
        return None

    async def verify(
        self, broker: str, question: ConnectQuestion, facts: Facts, *, refuse_anyway: bool, proved: bool, asked: float
    ) -> Verified | Verdict:
        """
        Which of the user's passwords it is; else the refusal. `asked`: when the question came, monotonic.

        While any credential on the platform has two, whoever does not have the first pays for a second one as well.
        """
        user = facts.user
        stored = [user.password_bcrypt if user else None, user.previous_password_bcrypt if user else None]
        highest = max([facts.highest_cost or DEFAULT_COST, *(cost_of(one) for one in stored if one)])
        verified: Verified | None = None
        for previous, one in enumerate(stored if facts.overlap_open else stored[:1]):
            if previous and not proved and not self._take_token(broker):
                return OVER_BUDGET
            begun = time.monotonic()
            try:
                right = await self.hasher.verify(question.password, one, highest, asked=asked, pad=refuse_anyway)
            finally:
                if not proved:
                    self._settle(broker, begun)
            if right and verified is None and user is not None:
                verified = Verified(user.version, bool(previous))
            if verified is not None and not refuse_anyway:
                break
        if verified is None:
            self.passwords.forget(question.username, question.password)
            return not_this_secret(facts, user.password_bcrypt if user else None)
        self.passwords.remember(question.username, question.password, verified)
        return verified

    def _take_token(self, broker: str) -> bool:
        now = time.monotonic()
        before = self._budgets.get(broker) or budget.full_budget(self.rate, self.burst, now)
        self._budgets[broker], enough = budget.take(before, now)
        return enough

    def _settle(self, broker: str, begun: float) -> None:
        now = time.monotonic()
        self._budgets[broker] = budget.settle(self._budgets[broker], now, now - begun, self.seconds)
