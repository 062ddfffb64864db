"""
Kura's payload: protobuf, perhaps gzipped, as a mapping of metrics and a body (docs/protocol.md).

What devices send is read by strangers' rules: whatever cannot be read raises `Unreadable` and nothing else, and a small
message that inflates without end is read no further than the limit.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from google.protobuf.message import DecodeError

from service.core.kura_size import GZIP_ABOVE
from service.mqtt import kura_payload_pb2

# What we read of a device, inflated, in bytes.
READ_LIMIT = 64 * 1024
_GZIP_MAGIC = b"\x1f\x8b"

Metric = str | int | float | bool | bytes

_FIELDS = {
    kura_payload_pb2.KuraPayload.KuraMetric.DOUBLE: "double_value",
    kura_payload_pb2.KuraPayload.KuraMetric.FLOAT: "float_value",
    kura_payload_pb2.KuraPayload.KuraMetric.INT64: "long_value",
    kura_payload_pb2.KuraPayload.KuraMetric.INT32: "int_value",
    kura_payload_pb2.KuraPayload.KuraMetric.BOOL: "bool_value",
    kura_payload_pb2.KuraPayload.KuraMetric.STRING: "string_value",
    kura_payload_pb2.KuraPayload.KuraMetric.BYTES: "bytes_value",
}


class Unreadable(Exception):
    """Not a Kura payload, or too large. The reason says which, and never holds any of its content."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True)
class Payload:
    """Metrics by name; of two with one name the last one counts, as in Kura."""

    metrics: Mapping[str, Metric] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    body: bytes = field(default=b"", repr=False)


def decode(data: bytes, limit: int = READ_LIMIT) -> Payload:
    """Read a payload, gzipped or plain. Raises Unreadable."""
    plain = _inflate(data, limit) if data.startswith(_GZIP_MAGIC) else data
    if len(plain) > limit:
        raise Unreadable("too_large")
    message = kura_payload_pb2.KuraPayload()
    try:
        message.ParseFromString(plain)
        metrics = {metric.name: _value(metric) for metric in message.metric}
    except (DecodeError, UnicodeDecodeError) as error:
        raise Unreadable("not_kura") from error
    if not message.IsInitialized():
        raise Unreadable("not_kura")
    return Payload(metrics=MappingProxyType(metrics), body=message.body)


def _inflate(data: bytes, limit: int) -> bytes:
    """Whole gzip members, no further than one byte beyond the limit."""
    plain = b""
    try:
        while data:
            inflater = zlib.decompressobj(wbits=31)
            plain += inflater.decompress(data, limit + 1 - len(plain))
            if len(plain) > limit:
                raise Unreadable("too_large")
            if not inflater.eof:
                raise Unreadable("not_kura")
            data = inflater.unused_data
    except zlib.error as error:
        raise Unreadable("not_kura") from error
    return plain


def _value(metric: kura_payload_pb2.KuraPayload.KuraMetric) -> Metric:
    """The value that the metric's type names."""
    name = _FIELDS[metric.type]
    if not metric.HasField(name):
        raise Unreadable("not_kura")
    value: Metric = getattr(metric, name)
    is_text = metric.type == kura_payload_pb2.KuraPayload.KuraMetric.STRING
    if not _is_text(metric.name) or (is_text and not _is_text(value)):
        raise Unreadable("not_kura")
    return value


def _is_text(value: object) -> bool:
    """proto2 lets text pass that is not UTF-8, as bytes."""
    return isinstance(value, str)


def encode(metrics: Mapping[str, Metric], body: bytes = b"", *, timestamp: int | None = None) -> bytes:
    """
    A payload's bytes, gzipped where they are many. Whole numbers are sent as Kura's `Long`; `timestamp` is in
    milliseconds.
    """
    message = kura_payload_pb2.KuraPayload()
    if timestamp is not None:
        message.timestamp = timestamp
    for name, value in metrics.items():
        metric = message.metric.add(name=name, type=_type_of(value))
        setattr(metric, _FIELDS[metric.type], value)
    if body:
        message.body = body
    plain = message.SerializeToString()
    return gzip.compress(plain, mtime=0) if len(plain) > GZIP_ABOVE else plain


def _type_of(value: Metric) -> kura_payload_pb2.KuraPayload.KuraMetric.ValueType:
    kinds = kura_payload_pb2.KuraPayload.KuraMetric
    if isinstance(value, bool):  # a bool is an int, too
        return kinds.BOOL
    if isinstance(value, int):
        return kinds.INT64
    if isinstance(value, float):
        return kinds.DOUBLE
    return kinds.STRING if isinstance(value, str) else kinds.BYTES
