"""Whether a chain of events is whole, and what is wrong with one that is not (design I9)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What was done to a chain, as far as it can be told."""

    REMOVED = "removed"
    EDITED = "edited"
    ADDED = "added"
    CUT_OFF = "cut_off"
    HEAD_CHANGED = "head_changed"
    REQUEST_REMOVED = "request_removed"
    CHECKPOINT_CHANGED = "checkpoint_changed"


TEXTS = {
    Fault.REMOVED: "events are missing from here on",
    Fault.EDITED: "this event is not as it was written, or it was written under another key",
    Fault.ADDED: "this event does not belong here",
    Fault.CUT_OFF: "the chain's last events are missing, from here on",
    Fault.HEAD_CHANGED: "what is kept as the chain's last link is not",
    Fault.REQUEST_REMOVED: "the provision request is gone without the event of its deletion",
    Fault.CHECKPOINT_CHANGED: "the chain's checkpoint is not as it was written",
}


@dataclass(frozen=True, kw_only=True)
class Chain:
    """
    What the database says of one chain.

    `request_id` is 0 for an account's chain of administrators' changes. Numbers count from 1. `bad_number` is the
    first event that does not follow from the one before (`bad_step`: how far its number is from that one's);
    `cut` is how many events were dropped behind a checkpoint, `checkpoint` how many there were at the last one.
    """

    account_id: int | None
    request_id: int
    client_id: str | None = None
    events: int = 0
    last_number: int | None = None
    last_kind: str | None = None
    bad_number: int | None = None
    bad_step: int | None = None
    # None: nothing says where the chain ends.
    head_count: int | None = None
    head_fits: bool = False
    live: bool = False
    cut: int = 0
    checkpoint: int = 0
    checkpoint_fits: bool = True
    seals_fit: bool = True


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A chain that is not whole: the first bad number, and what is wrong there."""

    account_id: int | None
    request_id: int
    client_id: str | None
    number: int
    fault: Fault

    @property
    def text(self) -> str:
        """A sentence for people."""
        return TEXTS[self.fault]


def judge(chain: Chain) -> Broken | None:
    """The first thing that is wrong with a chain; None where it is whole."""
    found = _fault(chain)
    if found is None:
        return None
    number, fault = found
    return Broken(
        account_id=chain.account_id,
        request_id=chain.request_id,
        client_id=chain.client_id,
        number=number,
        fault=fault,
    )


def _fault(chain: Chain) -> tuple[int, Fault] | None:
    last = chain.last_number if chain.last_number is not None else chain.cut
    if not chain.seals_fit:
        return max(chain.cut, chain.checkpoint), Fault.CHECKPOINT_CHANGED
    if chain.head_count is None:
        return last + 1, Fault.REQUEST_REMOVED if chain.request_id else Fault.HEAD_CHANGED
    if chain.bad_number is not None:
        return _bad_event(chain, chain.bad_number, chain.bad_step or 0)
    if last < max(chain.head_count, chain.checkpoint):
        return last + 1, Fault.CUT_OFF
    if last > chain.head_count:
        return chain.head_count + 1, Fault.ADDED
    if last and not chain.head_fits:
        return last, Fault.HEAD_CHANGED
    if not chain.checkpoint_fits:
        return chain.checkpoint, Fault.EDITED
    if chain.request_id and not chain.live and chain.events and chain.last_kind != "request_deleted":
        return last + 1, Fault.REQUEST_REMOVED
    return None


def _bad_event(chain: Chain, number: int, step: int) -> tuple[int, Fault]:
    """The first event that does not follow: by its number if that is wrong, else by its link."""
    if step <= 0 or (chain.head_count is not None and number > chain.head_count):
        return number, Fault.ADDED
    if step > 1:
        return number - step + 1, Fault.REMOVED
    return number, Fault.EDITED
