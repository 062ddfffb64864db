"""The `accepted` answer (design 4.1): its digest, that it never changes (I12), and how long it can become."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.answers import ANSWER_LIMIT_BYTES, Answer, Seal, connection, encode_accepted, longest_accepted
from service.core.derivation import open_answer
from tests.unit import vectors

NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
ANSWER = Answer(
    run="r" * 22,
    connection={
        "endpoint": "mqtts://broker:8883",
        "account": "acme",
        "client_id": "gw-1",
        "username": "d-" + "a" * 26,
        "password": "p" * 43,
    },
    configuration={"com.acme.Pump": {"rate": 0.5}},
    applications=[{"name": "pump", "version": "1.0", "url": "https://x/y", "sha256": "00" * 32, "size": 5}],
)
SEAL = Seal(activation_key="k" * 32, nonce=bytes(12))


def encode(answer: Answer = ANSWER, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"ask_id": "1", "client_id": "gw-1", "now": NOON, "confirm_within": 3600, "seal": None}
    document: dict[str, Any] = json.loads(encode_accepted(answer, **{**arguments, **changes}))
    return document


@pytest.mark.parametrize("row", vectors.rows("answers", "digests"))
def test_the_digest_is_sha_256_over_rfc_8785(row: dict[str, Any]) -> None:
    answer = Answer(
        run="any", connection=row["connection"], configuration=row["configuration"], applications=row["applications"]
    )
    assert answer.digest == row["digest"] == hashlib.sha256(row["canonical"].encode()).hexdigest()


def test_the_digest_does_not_depend_on_the_order_of_names() -> None:
    turned = dataclasses.replace(ANSWER, connection=dict(reversed(list(ANSWER.connection.items()))))
    assert turned.digest == ANSWER.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"connection": {**ANSWER.connection, "password": "q" * 43}},
        {"configuration": {}},
        {"configuration": {"com.acme.Pump": {"rate": 0.25}}},
        {"applications": []},
        {"applications": [*ANSWER.applications, *ANSWER.applications]},
    ],
)
def test_the_digest_changes_with_the_content(changes: dict[str, Any]) -> None:
    assert dataclasses.replace(ANSWER, **changes).digest != ANSWER.digest


def test_an_answer_has_these_fields_and_no_others() -> None:
    assert encode() == {
        "id": "1",
        "result": "accepted",
        "run": ANSWER.run,
        "server_time": "2030-01-31T12:00:00.000Z",
        "confirm_within": 3600,
        "connection": ANSWER.connection,
        "configuration": ANSWER.configuration,
        "applications": ANSWER.applications,
        "digest": ANSWER.digest,
    }


def test_a_sealed_answer_hides_everything_but_whose_it_is() -> None:
    sealed = encode(seal=SEAL)
    assert set(sealed) == {"id", "result", "server_time", "confirm_within", "sealed"}
    clear = open_answer(activation_key="k" * 32, ask_id="1", client_id="gw-1", sealed=sealed["sealed"])
    plain = encode()
    assert json.loads(clear) == {
        name: plain[name] for name in ("run", "connection", "configuration", "applications", "digest")
    }


def test_two_answers_of_one_run_differ_only_in_id_and_time() -> None:
    """I12, sealed or not."""
    later: dict[str, Any] = {"ask_id": "2", "now": NOON + datetime.timedelta(days=1), "confirm_within": 5}
    changing = {"id", "server_time", "confirm_within"}
    first, second = encode(), encode(**later)
    assert {name for name in first if first[name] != second[name]} == changing
    assert list(first) == list(second)
    opened = [
        open_answer(activation_key="k" * 32, ask_id=answer["id"], client_id="gw-1", sealed=answer["sealed"])
        for answer in (encode(seal=SEAL), encode(seal=Seal(activation_key="k" * 32, nonce=b"\1" * 12), **later))
    ]
    assert opened[0] == opened[1]


def test_answers_and_keys_do_not_show_themselves() -> None:
    assert repr(ANSWER) == "Answer(***)"
    assert repr(SEAL) == "Seal(***)"
    assert "ppp" not in f"{ANSWER} {[ANSWER]}"


@pytest.mark.parametrize("ca", [None, "-----BEGIN CERTIFICATE-----"])
def test_a_connection_is_where_and_as_whom_to_log_in(ca: str | None) -> None:
    """And which CA alone to trust there, if any."""
    known = {"endpoint": "mqtts://b", "account": "acme", "client_id": "gw-1", "username": "d-1", "password": "secret"}
    assert connection(**known, ca=ca) == (known if ca is None else {**known, "ca": ca})


def test_the_limit_is_the_design_s() -> None:
    assert ANSWER_LIMIT_BYTES == 48 * 1024


def length(answer: Answer, client_id: str, ask_id: str, confirm_within: int, sealed: bool) -> int:
    return len(
        encode_accepted(
            answer,
            ask_id=ask_id,
            client_id=client_id,
            now=NOON,
            confirm_within=confirm_within,
            seal=SEAL if sealed else None,
        )
    )


base32 = "abcdefghijklmnopqrstuvwxyz234567"
base64url = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
ids = st.from_regex(r"[ -~]{1,64}", fullmatch=True) | st.text('"\\', min_size=1, max_size=64) | st.just('"' * 64)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
configurations = st.dictionaries(
    texts,
    st.dictionaries(texts, texts | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans() | st.just(0.5), max_size=3),
    max_size=3,
)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """What a request fixes of its answers."""
    return {
        "endpoint": draw(st.sampled_from(["mqtt://b", "mqtts://broker.example:8883", 'wss://b/\\"mqtt'])),
        "account": draw(st.from_regex(r"[A-Za-z0-9_-]{3,20}", fullmatch=True)),
        "ca": draw(st.none() | st.text("A-\n", max_size=40)),
        "client_id": draw(st.from_regex(r"[A-Za-z0-9_.:-]{1,23}", fullmatch=True)),
        "configuration": draw(configurations),
        "applications": draw(
            st.lists(st.fixed_dictionaries({"name": texts, "size": st.integers(1, 10**9)}), max_size=2)
        ),
    }


@given(contents(), ids, st.text(base64url, min_size=65, max_size=65), st.integers(0, 40 * 86_400), st.booleans())
def test_no_answer_of_a_request_is_longer_than_the_longest(
    content: dict[str, Any], ask_id: str, chance: str, confirm_within: int, sealed: bool
) -> None:
    """Whatever the ask's id (quotes and backslashes double in JSON), the generated names and the time left."""
    answer = Answer(
        run=chance[:22],
        connection=connection(
            **{name: content[name] for name in ("endpoint", "account", "client_id", "ca")},
            username="d-" + "".join(base32[ord(c) % 32] for c in chance[:26]),
            password=chance[-43:],
        ),
        configuration=content["configuration"],
        applications=content["applications"],
    )
    assert length(answer, content["client_id"], ask_id, confirm_within, sealed) <= longest_accepted(**content)


@given(contents())
def test_the_longest_is_reached_within_a_few_bytes(content: dict[str, Any]) -> None:
    """A bound that nothing ever reaches would refuse requests for nothing."""
    answer = Answer(
        run="r" * 22,
        connection=connection(
            **{name: content[name] for name in ("endpoint", "account", "client_id", "ca")},
            username="d-" + "u" * 26,
            password="p" * 43,
        ),
        configuration=content["configuration"],
        applications=content["applications"],
    )
    reached = length(answer, content["client_id"], '"' * 64, 30 * 86_400, sealed=True)
    assert longest_accepted(**content) - 16 <= reached
