"""The life of provision requests as a state machine (reliability.md 3.2): the model against real Postgres."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Life, stage
from tests.support import postgres
from tests.support.figures import record


def live(server: postgres.Server, template: str, *, examples: int, steps: int, command: str) -> None:
    """So many lives; what fails is shown as the shortest one that does."""

    with stage(server, template) as opened:

        class Here(Life):
            stage = opened

        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
    record(
        "I1-I9, I12",
        "lives of requests against a model of design section 6, all invariants after each step",
        "0 differences",
        f"{examples} lives, {opened.steps:,} steps, 0 differences",
        command,
        True,
    )


def test_sample(server: postgres.Server, template: str) -> None:
    live(server, template, examples=4, steps=15, command="make test ARGS=tests/model")


@pytest.mark.long
def test_all(server: postgres.Server, template: str) -> None:
    live(server, template, examples=500, steps=40, command="make test-long ARGS=tests/model")
