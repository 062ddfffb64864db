"""The JSON wire (design 4.1): what is read from a payload, what is refused, and what an answer looks like."""

from __future__ import annotations

import datetime
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.messages import (
    CODES,
    Ask,
    Malformed,
    Status,
    encode,
    encode_refused,
    parse_ask,
    parse_status,
    rfc3339,
)
from service.core.states import RunState
from tests.unit import vectors

NOON = datetime.datetime(2030, 1, 31, 12, 0, 0, 123_999, tzinfo=datetime.UTC)
ASK = {"id": "1"}
STATUS = {"run": "r", "state": "failed"}


def short(row: dict[str, Any]) -> str:
    return vectors.shown(row["text"])


def write(document: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({**document, **more}).encode()


@pytest.mark.parametrize("row", vectors.rows("messages", "asks"), ids=short)
def test_an_ask_is_read_as_in_the_table(row: dict[str, Any]) -> None:
    expected = Ask(**row["ask"]) if "ask" in row else Malformed(row["reason"], row.get("id"))
    assert parse_ask(row["text"].encode()) == expected


@pytest.mark.parametrize("row", vectors.rows("messages", "statuses"), ids=short)
def test_a_status_is_read_as_in_the_table(row: dict[str, Any]) -> None:
    expected: Status | Malformed
    if "status" in row:
        expected = Status(**{**row["status"], "state": RunState(row["status"]["state"])})
    else:
        expected = Malformed(row["reason"])
    assert parse_status(row["text"].encode()) == expected


@pytest.mark.parametrize(("field", "longest"), [("id", 64), ("activation_key", 128)])
def test_a_text_of_an_ask_has_its_longest_length(field: str, longest: int) -> None:
    fits, too_long = (
        parse_ask(write(ASK, **{field: "x" * longest})),
        parse_ask(write(ASK, **{field: "x" * (longest + 1)})),
    )
    assert getattr(fits, field) == "x" * longest
    assert isinstance(too_long, Malformed)
    assert too_long.reason == f"bad_{field}"


def test_a_device_describes_itself_in_sixteen_short_fields_at_most() -> None:
    def reads(device: dict[str, str]) -> bool:
        return isinstance(parse_ask(write(ASK, device=device)), Ask)

    assert reads({str(n): "x" for n in range(16)})
    assert not reads({str(n): "x" for n in range(17)})
    assert reads({"n" * 64: "x" * 256})
    assert not reads({"n" * 65: "x"})
    assert not reads({"n": "x" * 257})


@pytest.mark.parametrize(("field", "longest"), [("run", 64), ("step", 256), ("detail", 1024)])
def test_a_text_of_a_status_has_its_longest_length(field: str, longest: int) -> None:
    assert isinstance(parse_status(write(STATUS, **{field: "x" * longest})), Status)
    assert isinstance(parse_status(write(STATUS, **{field: "x" * (longest + 1)})), Malformed)


def test_secrets_of_a_message_do_not_show() -> None:
    assert "hunter2" not in repr(parse_ask(write(ASK, activation_key="hunter2")))
    assert "hunter2" not in repr(parse_status(write(STATUS, run="hunter2")))


REFUSED = {"code": "refused", "now": NOON, "correlation_id": "c0ffee"}


def test_a_refusal_has_these_fields_and_no_others() -> None:
    plain = json.loads(encode_refused(ask_id="1", **REFUSED))  # type: ignore[arg-type]
    assert plain == {
        "id": "1",
        "result": "refused",
        "code": "refused",
        "server_time": "2030-01-31T12:00:00.123Z",
        "correlation_id": "c0ffee",
    }
    full = json.loads(
        encode_refused(ask_id="1", retry_after=0, not_before=NOON, **REFUSED)  # type: ignore[arg-type]
    )
    assert full == {**plain, "retry_after": 0, "not_before": "2030-01-31T12:00:00.123Z"}


def test_an_id_that_could_not_be_read_is_left_out() -> None:
    assert "id" not in json.loads(encode_refused(ask_id=None, **REFUSED))  # type: ignore[arg-type]


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_design_can_be_sent(code: str) -> None:
    assert json.loads(encode_refused(ask_id="1", code=code, now=NOON, correlation_id="c"))["code"] == code


def test_no_other_code_can() -> None:
    assert CODES == (
        "bad_message",
        "refused",
        "not_yet_active",
        "expired",
        "already_provisioned",
        "busy",
        "server_error",
    )
    with pytest.raises(AssertionError):
        encode_refused(ask_id="1", code="wrong_activation_key", now=NOON, correlation_id="c")


@given(st.from_regex(r"[ -~]{1,64}", fullmatch=True), st.sampled_from(CODES), st.integers(0, 86_400))
def test_a_refusal_reads_back(ask_id: str, code: str, retry_after: int) -> None:
    """Every id that an ask may have comes back to the letter, also quotes and backslashes."""
    ask = parse_ask(write({"id": ask_id}))
    assert isinstance(ask, Ask)
    payload = encode_refused(ask_id=ask.id, code=code, now=NOON, correlation_id="c", retry_after=retry_after)
    document = json.loads(payload)
    assert (document["id"], document["code"], document["retry_after"]) == (ask_id, code, retry_after)


def moments() -> st.SearchStrategy[datetime.datetime]:
    zones = st.integers(-23, 23).map(lambda hours: datetime.timezone(datetime.timedelta(hours=hours, minutes=30)))
    return st.datetimes(
        datetime.datetime(2000, 1, 2),
        datetime.datetime(9999, 12, 30),
        timezones=st.one_of(zones, st.just(datetime.UTC)),
    )


@given(moments())
def test_a_moment_reads_back_to_the_millisecond(moment: datetime.datetime) -> None:
    text = rfc3339(moment)
    assert len(text) == len("2030-01-31T12:00:00.123Z")
    assert text.endswith("Z")
    read = datetime.datetime.fromisoformat(text)
    assert datetime.timedelta(0) <= moment - read < datetime.timedelta(milliseconds=1)


def test_a_moment_is_written_in_utc() -> None:
    east = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    assert rfc3339(datetime.datetime(2030, 1, 1, 1, 2, 3, tzinfo=east)) == "2029-12-31T19:32:03.000Z"


def test_a_message_is_the_shortest_json_in_utf_8() -> None:
    assert encode({"id": "é", "more": [1, None]}) == '{"id":"é","more":[1,null]}'.encode()


def test_a_moment_without_an_offset_of_its_own_is_none_of_this_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the service runs."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert rfc3339(NOON) == "2030-01-31T12:00:00.123Z"
    finally:
        monkeypatch.undo()
        time.tzset()
