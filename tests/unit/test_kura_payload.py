"""Kura's payload: what is written is read, anything else raises one exception, and no message inflates without end."""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.kura_size import GZIP_ABOVE
from service.mqtt import kura_payload, kura_payload_pb2
from service.mqtt.kura_payload import READ_LIMIT, Metric, Unreadable, decode, encode

KINDS = kura_payload_pb2.KuraPayload.KuraMetric
FOLDER = Path(kura_payload.__file__).parent

metrics: st.SearchStrategy[dict[str, Metric]] = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=40),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.booleans(),
        st.binary(max_size=40),
    ),
    max_size=8,
)


@given(metrics, st.binary(max_size=200))
def test_what_is_written_is_read(written: dict[str, Metric], body: bytes) -> None:
    read = decode(encode(written, body, timestamp=1))
    assert (dict(read.metrics), read.body) == (written, body)
    assert {name: type(value) for name, value in read.metrics.items()} == {n: type(v) for n, v in written.items()}


def read_or_refused(data: bytes, limit: int = READ_LIMIT) -> None:
    with contextlib.suppress(Unreadable):
        decode(data, limit)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_raise_one_exception(data: bytes) -> None:
    read_or_refused(data)
    read_or_refused(b"\x1f\x8b" + data)
    read_or_refused(gzip.compress(data))
    read_or_refused(gzip.compress(data) + data)


@given(metrics, st.data())
def test_any_spoilt_payload_is_read_or_raises_one_exception(written: dict[str, Metric], data: st.DataObject) -> None:
    """Near to what is right: one byte changed, or the end lost."""
    payload = bytearray(encode(written, b"body"))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    read_or_refused(bytes(payload))
    read_or_refused(bytes(payload[:place]))


@pytest.mark.parametrize("size", [0, GZIP_ABOVE, GZIP_ABOVE + 1])
def test_long_payloads_are_gzipped(size: int) -> None:
    body = b"x" * size
    payload = encode({}, body)
    assert payload.startswith(b"\x1f\x8b") is (size >= GZIP_ABOVE)  # the body's own head adds a few bytes
    assert decode(payload).body == body


@pytest.mark.parametrize("members", [1, 3])
def test_no_message_inflates_beyond_the_limit(members: int) -> None:
    """A thousand times as long as it is sent: read no further than the limit."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024)) * members
    with pytest.raises(Unreadable) as refused:
        decode(bomb)
    assert refused.value.reason == "too_large"
    assert len(kura_payload._inflate(gzip.compress(b"x" * 100), 100)) == 100


def test_the_limit_counts_what_is_not_gzipped_as_well() -> None:
    with pytest.raises(Unreadable) as refused:
        decode(encode({"a": "b"}), 3)
    assert refused.value.reason == "too_large"


def test_two_members_of_gzip_are_one_payload() -> None:
    plain = encode({"a": "b"})
    assert decode(gzip.compress(plain[:3]) + gzip.compress(plain[3:])).metrics == {"a": "b"}


def build(**fields: object) -> bytes:
    message = kura_payload_pb2.KuraPayload()
    message.metric.add(**fields)
    partial: bytes = message.SerializePartialToString()
    return partial


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(build(name="a", type=KINDS.STRING), id="no value"),
        pytest.param(build(name="a", type=KINDS.INT64, string_value="1"), id="a value of another type"),
        pytest.param(build(name="a"), id="no type"),
        pytest.param(build(type=KINDS.BOOL, bool_value=True), id="no name"),
        pytest.param(b"\xc2\xb8\x02\x07\x0a\x01\xff\x10\x05\x42\x00", id="a name that is not UTF-8"),
        pytest.param(b"\xc2\xb8\x02\x08\x0a\x01a\x10\x05\x42\x01\xff", id="a text that is not UTF-8"),
        pytest.param(gzip.compress(encode({"a": "b"}))[:-1], id="gzip without its end"),
        pytest.param(gzip.compress(b"\xff\xff"), id="gzip of something else"),
        pytest.param(zlib.compress(encode({"a": "b"})), id="zlib"),
        pytest.param(b"{}", id="JSON"),
    ],
)
def test_what_is_not_kura_s_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable) as refused:
        decode(data)
    assert refused.value.reason == "not_kura"


def test_what_others_send_is_read() -> None:
    """Every type by its number, a position, and fields of versions that we do not know."""
    message = kura_payload_pb2.KuraPayload(timestamp=5, body=b"b")
    message.position.latitude = message.position.longitude = 1.0
    message.metric.add(name="double", type=KINDS.DOUBLE, double_value=0.5)
    message.metric.add(name="float", type=KINDS.FLOAT, float_value=0.5)
    message.metric.add(name="long", type=KINDS.INT64, long_value=2**62)
    message.metric.add(name="int", type=KINDS.INT32, int_value=-1)
    message.metric.add(name="bool", type=KINDS.BOOL, bool_value=False)
    message.metric.add(name="string", type=KINDS.STRING, string_value="")
    message.metric.add(name="bytes", type=KINDS.BYTES, bytes_value=b"")
    read = decode(message.SerializeToString() + b"\xa0\x06\x01")
    assert read.metrics == {
        "double": 0.5, "float": 0.5, "long": 2**62, "int": -1, "bool": False, "string": "", "bytes": b"",
    }  # fmt: skip
    assert read.body == b"b"


def test_the_bytes_are_those_of_kura_s_numbers() -> None:
    """metric = 5000, body = 5001; name 1, type 2, string 8."""
    assert encode({"a": "b"}, b"c") == b"\xc2\xb8\x02\x08\x0a\x01a\x10\x05\x42\x01b\xca\xb8\x02\x01c"


def test_the_generated_code_is_fresh(tmp_path: Path) -> None:
    """`make proto` writes what is here."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(FOLDER)]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", str(FOLDER / "kura_payload.proto")]
    subprocess.run(command, check=True)
    for name in ("kura_payload_pb2.py", "kura_payload_pb2.pyi"):
        assert (FOLDER / name).read_text() == (tmp_path / name).read_text(), "run `make proto`"


def test_a_payload_shows_no_secret() -> None:
    assert "sesame" not in repr(decode(encode({"activationKey": "sesame"}, b"sesame")))
