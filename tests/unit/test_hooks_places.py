"""Which of several hooks processes a connection goes to, and the metrics of all as those of one (decision 0010)."""

from __future__ import annotations

import base64
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service.web.metrics import merge
from service.web.several import HEAD_BYTES, MOST_NAMES, Places, broker_name
from tests.support.raw_http import JSON, basic, request_bytes

PROVISION = basic("provision-broker", "a-secret:with:colons")


def head(authorization: str | None, **more: object) -> bytes:
    return request_bytes(
        "/hooks/user", b'{"x":"\r\nAuthorization: Basic eDp5"}', mode=JSON, authorization=authorization, port=1
    )


def test_a_head_tells_the_broker() -> None:
    assert broker_name(head(PROVISION)) == "provision-broker"
    assert broker_name(head(PROVISION).replace(b"Authorization: Basic", b"authorization:basic ")) == "provision-broker"


def test_what_is_no_broker_s_head_is_nobody_s() -> None:
    """The body is not looked at, nor a header that only looks alike."""
    for authorization in (
        None,
        "Basic !!",
        "Basic eDp5 eDp5",
        "Bearer eDp5",
        "Basic " + base64.b64encode(b"\xff:x").decode(),
    ):
        assert broker_name(head(authorization)) == "", authorization
    assert broker_name(head(None).replace(b"Host", b"X-Authorization: Basic eDp5\r\nHost")) == ""
    assert broker_name(b"x" * HEAD_BYTES) == ""


@given(st.integers(0, 400))
def test_a_head_in_pieces_tells_the_same_or_nothing_yet(length: int) -> None:
    whole = head(PROVISION)
    said = broker_name(whole[:length])
    assert said == ("provision-broker" if length >= whole.index(b"\r\nContent-Type") + 2 else None)


@given(st.lists(st.text(max_size=5), max_size=60), st.integers(1, 8))
def test_a_broker_stays_where_it_is_and_all_have_as_many(names: list[str], processes: int) -> None:
    places = Places(processes)
    first = {name: places.of(name) for name in names}
    assert all(places.of(name) == place for name, place in first.items())
    taken = Counter(first.values())
    assert max(taken.values(), default=0) - min((taken[place] for place in range(processes)), default=0) <= 1


def test_strangers_names_take_no_memory_for_ever_and_move_nobody() -> None:
    places = Places(3)
    before = {name: places.of(name) for name in ("provision-broker", "account-broker")}
    for number in range(2 * MOST_NAMES):
        assert 0 <= places.of(f"stranger-{number}") < 3
    assert places.of("stranger-1999") == places.of("stranger-1999")
    assert {name: places.of(name) for name in before} == before
    assert len(vars(places)["_known"]) == MOST_NAMES


ONE = """# HELP hook_questions_total Questions of brokers
# TYPE hook_questions_total counter
hook_questions_total{outcome="allowed",route="user"} 3.0
# TYPE hook_questions_created gauge
hook_questions_created{outcome="allowed",route="user"} 200.0
# TYPE hook_seconds histogram
hook_seconds_bucket{le="0.1",route="user"} 2.0
hook_seconds_bucket{le="+Inf",route="user"} 3.0
hook_seconds_count{route="user"} 3.0
hook_seconds_sum{route="user"} 0.5
# TYPE process_max_fds gauge
process_max_fds 1024.0
"""


@pytest.mark.parametrize("texts", [[ONE, ONE.replace("200.0", "100.0")], [ONE.replace("200.0", "100.0"), ONE, ""]])
def test_metrics_of_several_are_sums(texts: list[str]) -> None:
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(merge(texts).decode())
        for sample in family.samples
    }
    assert found == {
        ("hook_questions_total", "allowed", "user"): 6.0,
        ("hook_questions_created", "allowed", "user"): 100.0,
        ("hook_seconds_bucket", "0.1", "user"): 4.0,
        ("hook_seconds_bucket", "+Inf", "user"): 6.0,
        ("hook_seconds_count", "user"): 6.0,
        ("hook_seconds_sum", "user"): 1.0,
        ("process_max_fds",): 1024.0,
    }
