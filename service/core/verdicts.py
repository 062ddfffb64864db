"""What a decision returns: `Denied` is falsy and carries the true reason, which operators read and devices never do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Denied:
    """A refusal. `reason` is one of the words in docs/access.md."""

    reason: str

    def __bool__(self) -> bool:
        return False
