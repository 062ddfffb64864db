"""schemathesis asks every operation what nobody would think of: no 500, no status that is not described."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from service.api.openapi import PREFIX, build
from tests.support.api import Api, serving
from tests.support.scene import Scene

SCHEMA = schemathesis.openapi.from_dict(build("test"))
OPERATIONS: list[Any] = [found.ok() for found in SCHEMA.get_all_operations()]  # type: ignore[union-attr]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def check(api: Api, case: Case[Any]) -> None:
    """The status is one that the description has, and says it the way it says."""
    headers: dict[str, Any] = {**dict(case.headers or {}), "Authorization": f"Bearer {api.token}"}
    response = case.call(base_url=api.url.removesuffix(PREFIX), headers=headers, timeout=30)
    known = case.operation.definition.raw["responses"]
    assert str(response.status_code) in known, (case.as_curl_command(), response.status_code, response.text[:500])
    # A request line beyond 8 KiB never gets to the API: aiohttp answers it.
    if response.status_code >= 400 and not (response.status_code == 400 and "Got more than" in response.text):
        assert response.headers["content-type"][0] == "application/problem+json", (response.status_code, response.text)


def ask_everything(api: Api, operation: Any, examples: int) -> None:
    """Cases in both modes, about an account that is there and about any other."""
    inside = {"path_parameters": {"account": "acme"}} if "{account}" in operation.path else {}
    cases = st.one_of(
        *(operation.as_strategy(generation_mode=mode, **given) for mode in MODES for given in ({}, inside))
    )

    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases)
    def run(case: Case[Any]) -> None:
        check(api, case)

    run()


async def fuzz(scene: Scene, operation: Any, examples: int) -> None:
    await scene.provision("gw-1")
    async with serving(scene.admin) as api:
        await asyncio.to_thread(ask_everything, api, operation, examples)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.definition.raw["operationId"])
async def test_an_operation_takes_anything(scene: Scene, operation: Any) -> None:
    await fuzz(scene, operation, 10)


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.definition.raw["operationId"])
async def test_an_operation_takes_anything_for_long(scene: Scene, operation: Any) -> None:
    await fuzz(scene, operation, 20_000 // len(OPERATIONS) + 1)
