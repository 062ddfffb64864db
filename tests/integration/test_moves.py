"""The moves of requests and runs: core's tables and the database's triggers, pair by pair, on real rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import asyncpg
import pytest

from service.core.states import ENDED, REQUEST_MOVES, RequestState, RunState, may_move_run
from tests.support.scene import Scene

REQUEST_PAIRS = list(itertools.permutations(RequestState, 2))
RUN_PAIRS = list(itertools.permutations(RunState, 2))

# What a row of this state must look like besides: CHECKs are not what is asked here.
RUN_ROW = (
    "state = $2, ended_at = CASE WHEN $3::boolean THEN clock_timestamp() END,"
    " salt = CASE WHEN $3 THEN NULL ELSE $4::bytea END"
)


async def allowed_moves(
    connection: asyncpg.Connection[asyncpg.Record], table: str, row: str, pairs: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Try each pair on the table's only row; everything is undone. Refusals must be the trigger's."""
    row_id = await connection.fetchval(f"SELECT id FROM {table}")
    allowed = set()
    for was, becomes in pairs:
        attempt = connection.transaction()
        await attempt.start()
        try:
            await connection.execute("SET LOCAL session_replication_role = replica")  # no triggers
            await connection.execute(f"UPDATE {table} SET {row} WHERE id = $1", row_id, *_values(was, row))
            await connection.execute("SET LOCAL session_replication_role = origin")
            await connection.execute(f"UPDATE {table} SET {row} WHERE id = $1", row_id, *_values(becomes, row))
            allowed.add((was, becomes))
        except asyncpg.CheckViolationError as error:
            if (error.constraint_name, error.table_name) != (f"{table}_move_known", table):
                raise
        finally:
            await attempt.rollback()
    return allowed


def _values(state: str, row: str) -> tuple[object, ...]:
    return (state,) if row == "state = $2" else (state, state in ENDED, bytes(32))


@pytest.fixture
async def connection(scene: Scene) -> asyncpg.Connection[asyncpg.Record]:
    """A superuser's, with one request RUNNING."""
    await scene.run()
    return await asyncpg.connect(scene.database.url().reveal())


async def test_requests_move_as_core_says(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    assert len(REQUEST_PAIRS) == 12
    try:
        allowed = await allowed_moves(connection, "provision_requests", "state = $2", REQUEST_PAIRS)
    finally:
        await connection.close()
    assert allowed == set(REQUEST_MOVES)


async def test_runs_move_as_core_says(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    assert len(RUN_PAIRS) == 13 * 12
    try:
        allowed = await allowed_moves(connection, "provision_runs", RUN_ROW, RUN_PAIRS)
    finally:
        await connection.close()
    assert allowed == {pair for pair in RUN_PAIRS if may_move_run(*pair)}


async def test_states_are_the_same_words(scene: Scene) -> None:
    """The CHECKs list core's states and no others."""
    for constraint, states in (
        ("provision_requests_state_known", RequestState),
        ("provision_runs_state_known", RunState),
    ):
        definition = await scene.database.value(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", constraint
        )
        assert sorted(definition.split("'")[1::2]) == sorted(states)


async def test_skipped_is_never_written(scene: Scene) -> None:
    """No move leads to SKIPPED, and no code names it but the list itself."""
    assert not any(may_move_run(state, RunState.SKIPPED) for state in RunState)
    functions = await scene.database.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosrc LIKE '%SKIPPED%'"
    )
    assert functions == []
