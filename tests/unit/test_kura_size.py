"""What a request is judged by is never less than what is sent to a gateway."""

from __future__ import annotations

import random
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import kura_xml
from service.core.device_config import Value
from service.core.kura_configuration import merge_for_kura
from service.core.kura_size import AROUND, GZIP_ABOVE, longest_configuration
from service.mqtt import kura_payload

PLACE = {"endpoint": "mqtts://broker.example:8883", "account": "acme", "client_id": "gw-1"}


def sent(configuration: dict[str, dict[str, Value]], password: str) -> int:
    merged = merge_for_kura(configuration, **PLACE, username="d-" + "a2" * 13, password=password)
    metrics: dict[str, kura_payload.Metric] = {"request.id": "f" * 32, "requester.client.id": "~gw-1"}
    return len(kura_payload.encode(metrics, kura_xml.render(merged), timestamp=2**42))


texts = st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\x7f"), max_size=60)


@given(
    st.dictionaries(
        texts, st.dictionaries(texts, st.tuples(st.sampled_from(["String", "Password"]), texts), max_size=6), max_size=6
    ),
    st.text(string.ascii_letters + string.digits + "-_", min_size=43, max_size=43),
)
def test_nothing_that_is_sent_is_longer(document: dict[str, dict[str, tuple[str, str]]], password: str) -> None:
    configuration = {
        component: {name: Value(type=type_, clear=text) for name, (type_, text) in parameters.items()}
        for component, parameters in document.items()
    }
    assert sent(configuration, password) <= longest_configuration(**PLACE, configuration=configuration)


@pytest.mark.parametrize("type_", ["String", "Password"])
@pytest.mark.parametrize("count", [1, 20, 200, 400])
def test_long_ones_with_texts_that_do_not_compress(type_: str, count: int) -> None:
    source = random.Random(count)
    letters = string.ascii_letters + string.digits
    configuration = {
        "org.example.Secrets": {
            f"secret-{number}": Value(type=type_, clear="".join(source.choices(letters, k=100)))
            for number in range(count)
        }
    }
    size = longest_configuration(**PLACE, configuration=configuration)
    assert sent(configuration, "Zx9-" * 10 + "abc") <= size
    assert size <= sent(configuration, "Zx9-" * 10 + "abc") + 1024 + 45 * count


def test_what_compresses_counts_as_it_is_sent() -> None:
    configuration = {"org.example.Long": {"text": Value(type="String", clear="x" * 500_000)}}
    assert longest_configuration(**PLACE, configuration=configuration) < 4096


def size_of(count: int) -> int:
    """Of a configuration with a text of so many letters."""
    configuration = {"c": {"text": Value(type="String", clear="x" * count)}}
    return longest_configuration(**PLACE, configuration=configuration)


def test_what_is_long_is_sent_compressed() -> None:
    """Up to 8 KiB as it is; one letter more, and it is gzip that counts."""
    count = GZIP_ABOVE - size_of(0)
    assert [size_of(count - 1), size_of(count)] == [GZIP_ABOVE - 1, GZIP_ABOVE]
    assert size_of(count + 1) < GZIP_ABOVE / 2


def test_a_password_counts_in_full_and_the_rest_as_it_compresses() -> None:
    def whole(secret: str) -> dict[str, dict[str, Value]]:
        return {
            "c": {
                "text": Value(type="String", clear="x" * 20_000),
                "password": Value(type="Password", clear=secret),
            }
        }

    place = {**PLACE, "username": "d-" + "u" * 26, "password": "p" * 43}
    empty = len(zlib.compress(kura_xml.render(merge_for_kura(whole(""), **place))))
    for count in (0, 1, 500):
        found = longest_configuration(**PLACE, configuration=whole("s" * count))
        assert found == empty + count + AROUND
