"""Client ids on their way from one account to another, in every state of the release."""

from __future__ import annotations

from tests.oracle.world import Account, World

# What becomes of the release, what the old account has under the client id, and what the new one.
MOVES = (
    ("open", "PROVISIONED", None),
    ("open", "OPEN", "OPEN"),
    ("open", "PROVISIONED", "OPEN"),
    ("open", "device", "ABANDONED"),
    ("open", "PROVISIONED", "RUNNING"),
    ("open", "RUNNING", "overdue"),
    ("expired", "PROVISIONED", None),
    ("expired", "PROVISIONED", "OPEN"),
    ("expired", "PROVISIONED", "RUNNING"),
    ("expired", "PROVISIONED", "overdue"),
    ("cancelled", "PROVISIONED", None),
    ("cancelled", "PROVISIONED", "OPEN"),
    ("cancelled", "OPEN", "OPEN"),
    ("used", "PROVISIONED", "PROVISIONED"),
    ("used", "device", "PROVISIONED"),
    ("used", "PROVISIONED", None),
    ("used, then back: open", "PROVISIONED", "PROVISIONED"),
    ("used, then back: open", "OPEN", "PROVISIONED"),
    ("used, then back: used", "PROVISIONED", "PROVISIONED"),
    ("used, then back: expired", "RUNNING", "PROVISIONED"),
    ("cancelled, then on: open", "PROVISIONED", "OPEN"),
    ("cancelled, then on: used", "PROVISIONED", "OPEN"),
)
RELEASED, TAKEN, ENDED, RELEASED_AGAIN, TAKEN_AGAIN, ENDED_AGAIN = range(2, 8)


def make_moves(world: World, times: int) -> None:
    """Every kind of move so many times, each with rows that are enabled or not."""
    accounts = [account for account in world.accounts.values() if account.broker_id is not None]
    for number, (state, old, new) in enumerate(MOVES * times):
        a, b, c = world.random.sample(accounts, 3)
        _make_move(world, f"moved-{number}", state, (a, old), (b, new), c)


def _make_move(
    world: World, client_id: str, state: str, old: tuple[Account, str], new: tuple[Account, str | None], third: Account
) -> None:
    first, _, second = state.partition(", then ")
    world.make_unit(old[0], client_id, old[1], enabled=world.often(0.7))
    release_id = _release(world, client_id, old[0], new[0], RELEASED)
    if new[1] is not None:
        world.make_unit(new[0], client_id, new[1], phase=TAKEN, enabled=world.often(0.7))
    _end(world, release_id, first, ENDED, at=-3)
    if not second:
        return
    where, _, again = second.partition(": ")
    giver, taker = (new[0], old[0]) if where == "back" else (old[0], third)
    release_id = _release(world, client_id, giver, taker, RELEASED_AGAIN)
    if taker is third:
        shape = "PROVISIONED" if again == "used" else "OPEN"
        world.make_unit(taker, client_id, shape, phase=TAKEN_AGAIN, enabled=world.often(0.7))
    _end(world, release_id, again, ENDED_AGAIN, at=-1)


def _release(world: World, client_id: str, giver: Account, taker: Account, phase: int) -> int:
    return world.rows.add(
        "releases",
        phase,
        client_id=client_id,
        account_id=giver.id,
        to_account_id=taker.id,
        created_at=world.at(-8),
        expires_on=world.at(8),
        created_by="oracle",
    )


def _end(world: World, release_id: int, state: str, phase: int, *, at: float) -> None:
    column = {"expired": "expires_on", "cancelled": "cancelled_at", "used": "used_at"}.get(state)
    if column is not None:
        world.rows.change("releases", phase, release_id, **{column: world.at(at)})
