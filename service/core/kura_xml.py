"""A configuration as Kura's XML, the body of `CONF-V1/PUT/configurations` (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from service.core.device_config import Configuration, Scalar, Value

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<esf:configurations xmlns:ocd="http://www.osgi.org/xmlns/metatype/v1.2.0" xmlns:esf="http://eurotech.com/esf/2.0">'
)
_TYPES: Mapping[str, str] = {"Character": "Char"}
# A line end or a tab in an attribute reads as a blank, a carriage return in text as a line end: XML 1.0, 3.3.3, 2.11.
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


def render(configuration: Configuration) -> bytes:
    """In UTF-8, the same bytes for the same configuration. Every Password must have been opened."""
    return "".join(_render(configuration)).encode("utf-8")


def _render(configuration: Configuration) -> Iterator[str]:
    yield _HEAD
    for component, parameters in configuration.items():
        yield f'<esf:configuration pid="{_escape(component)}"><esf:properties>'
        for name, value in parameters.items():
            yield from _render_property(name, value)
        yield "</esf:properties></esf:configuration>"
    yield "</esf:configurations>"


def _render_property(name: str, value: Value) -> Iterator[str]:
    assert value.clear is not None
    is_array = isinstance(value.clear, tuple)
    type_ = _TYPES.get(value.type, value.type)
    array = "true" if is_array else "false"
    yield f'<esf:property name="{_escape(name)}" array="{array}" encrypted="false" type="{type_}">'
    for item in value.clear if isinstance(value.clear, tuple) else (value.clear,):
        yield f"<esf:value>{_escape(_text(item))}</esf:value>"
    yield "</esf:property>"


def _text(item: Scalar) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    return repr(item) if isinstance(item, float) else str(item)


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)
