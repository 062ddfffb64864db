"""
Credentials of provision requests: rotation with an overlap, and when a shared one must be taken for leaked (D12).

Whoever has a fleet's credential still needs client ids and activation keys: it shows in client ids that no request has,
in wrong keys, and in the number of addresses that it comes from.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from service.core.problems import Problem

LONGEST_OVERLAP = datetime.timedelta(days=366)
OVERLAP = datetime.timedelta(days=30)

# Uses are counted by the hour, and judged over this hour and the one before.
WINDOW = datetime.timedelta(hours=2)

MOST = 1000  # so many are counted one by one


@dataclass(frozen=True, kw_only=True)
class Watch:
    """From how many within the window a leak is suspected; 0: never."""

    unknown_client_ids: int = 20
    wrong_keys: int = 20
    # Every device has one of its own, and a fleet behind one router has one together: nobody knows but who runs it.
    addresses: int = 0

    @classmethod
    def from_stored(cls, **stored: int | None) -> Watch:
        """What was set, and the rest as it is above (None: not set)."""
        return cls(**{name: value for name, value in stored.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Uses:
    """How many within the window: client ids without a request, wrong activation keys, distinct addresses."""

    unknown_client_ids: int
    wrong_keys: int
    addresses: int


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A leak is suspected for these reasons; `hold`: the credential is held until an administrator lifts it."""

    signs: tuple[str, ...]
    hold: bool


def decide_leak(
    uses: Uses,
    watch: Watch,
    *,
    hold_on_leak: bool,
    held: bool,
    suspected_at: datetime.datetime | None,
    now: datetime.datetime,
) -> Leak | None:
    """A leak to tell of now, if any: once a window, unless it has to be held by now. A held one is known."""
    signs = tuple(
        name
        for name in ("unknown_client_ids", "wrong_keys", "addresses")
        if 0 < getattr(watch, name) <= getattr(uses, name)
    )
    told = suspected_at is not None and now - suspected_at < WINDOW
    if not signs or held or (told and not hold_on_leak):
        return None
    return Leak(signs=signs, hold=hold_on_leak)


def check_watch(values: dict[str, int]) -> Iterator[Problem]:
    """Each must be within what is counted one by one."""
    for name, value in values.items():
        if not 0 <= value <= MOST:
            yield Problem(field=name, rule=name, text=f"must be 0 (not watched) to {MOST}")


def check_overlap(overlap: datetime.timedelta) -> Iterator[Problem]:
    """With an overlap of nothing the old password is good no more at once."""
    if not datetime.timedelta() <= overlap <= LONGEST_OVERLAP:
        yield Problem(field="overlap", rule="overlap", text=f"must be 0 to {LONGEST_OVERLAP.days} days")


def check_rotation(*, same_password: bool, overlap_open: bool) -> Iterator[Problem]:
    """What stands against a new password."""
    if same_password:
        yield Problem(field="provision_password", rule="same_password", text="must be another one than now")
    if overlap_open:
        yield Problem(
            field="username", rule="rotation_open", text="is being rotated already: finish that, or wait for its end"
        )


def check_finish(*, overlap_open: bool, waiting: int, even_so: bool) -> Iterator[Problem]:
    """An overlap is ended when nobody needs it any more. `waiting`: clients to be provisioned that used the old one."""
    if not overlap_open:
        yield Problem(field="username", rule="no_rotation", text="is not being rotated")
    elif waiting and not even_so:
        yield Problem(
            field="username",
            rule="old_password_in_use",
            text=f"{waiting} clients that are still to be provisioned came with the old password last: "
            "they will be refused; say so, or wait",
        )
