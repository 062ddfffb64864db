"""Inputs that have the right form and the wrong content, by target: for where mutated bytes seldom get to."""

from __future__ import annotations

import gzip
import json
from typing import Any

from hypothesis import strategies as st

from service.core import device_config
from service.core.imports import COLUMNS
from service.mqtt import kura_payload_pb2
from tests.fuzz import seeds
from tests.unit.strategies import any_text

scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4), max_leaves=10
)
dumped = st.sampled_from([True, False])


def as_json(documents: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """With and without escapes, lone surrogates as they are."""
    return st.builds(
        lambda document, escaped: json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass"),
        documents,
        dumped,
    )


def near(document: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A document with some fields missing, others of any content, and some more."""
    fields = {name: st.just(value) | anything for name, value in document.items()}
    return st.builds(
        lambda known, more: {**known, **more},
        st.fixed_dictionaries({}, optional=fields),
        st.just({}) | st.dictionaries(any_text, anything, max_size=2),
    )


typed = st.fixed_dictionaries({"type": st.sampled_from(sorted(device_config.TYPES)) | any_text, "value": anything})
configurations = st.dictionaries(
    st.sampled_from(["c", device_config.TRANSPORT]) | any_text,
    st.dictionaries(any_text, typed | anything, max_size=4) | anything,
    max_size=3,
)


@st.composite
def kura_bytes(draw: st.DrawFn) -> bytes:
    """Payloads as protobuf writes them, with types that do not fit, none at all, or two values."""
    kinds = kura_payload_pb2.KuraPayload.KuraMetric
    message = kura_payload_pb2.KuraPayload()
    names = st.sampled_from(sorted(seeds.METRICS)) | st.text(max_size=8)
    for name in draw(st.lists(names, max_size=8)):
        metric = message.metric.add(name=name, type=draw(st.sampled_from(kinds.ValueType.values())))
        for _ in range(draw(st.integers(0, 2))):
            match draw(st.integers(0, 6)):
                case 0:
                    metric.string_value = draw(st.text(max_size=2000))
                case 1:
                    metric.long_value = draw(st.integers(-(2**63), 2**63 - 1))
                case 2:
                    metric.int_value = draw(st.integers(-(2**31), 2**31 - 1))
                case 3:
                    metric.double_value = draw(st.floats())
                case 4:
                    metric.float_value = draw(st.floats(width=32))
                case 5:
                    metric.bool_value = draw(st.booleans())
                case _:
                    metric.bytes_value = draw(st.binary(max_size=50))
    if draw(st.booleans()):
        message.body = draw(st.binary(max_size=50))
    plain = message.SerializePartialToString()
    return gzip.compress(plain, mtime=0) if draw(st.booleans()) else plain


def import_rows() -> st.SearchStrategy[bytes]:
    """NDJSON of rows."""
    known = {**seeds.REQUEST, **dict.fromkeys(COLUMNS, "x")}
    return st.lists(as_json(near(known)), max_size=3).map(b"\n".join)


levels = st.sampled_from(["+", "#", "", "a", "b", "$SYS", "$share", "a+", "é"])
topic_texts = st.lists(levels, min_size=1, max_size=5).map("/".join)

STRUCTURED: dict[str, st.SearchStrategy[bytes]] = {
    "ask": as_json(near({"id": "1", "activation_key": "k", "seal": True, "device": {"a": "b"}}))
    | as_json(near({"run": "r", "state": "failed", "step": "s", "detail": "d"})),
    "kura_payload": kura_bytes(),
    "topics": st.lists(topic_texts, min_size=3, max_size=3).map(lambda lines: "\n".join(lines).encode()),
    "configuration": as_json(configurations),
    "applications": as_json(st.lists(near(seeds.APPLICATION) | anything, max_size=11)),
    "import": import_rows(),
    "hook_body": as_json(near(seeds.USER)) | as_json(near(seeds.ACL)) | as_json(near(seeds.REPORTS)),
    "api_body": as_json(near(seeds.REQUEST)) | as_json(near({"name": "n", "role": "r", "days": 1})),
}
