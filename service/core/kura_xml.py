"""
Kura's XML of configurations (`esf:configurations`), as CONF-V1 carries it and snapshots are: what is written, and what
is made of the properties of a file.

The names are Kura's own. One differs from the metatype's: where Kura reads a property, a Character's type is `Char`.
Anything else but these ten is dropped by Kura without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.core import device_config
from service.core.device_config import Configuration, Misfit, Scalar, Value
from service.core.problems import Problem

ESF = "http://eurotech.com/esf/2.0"
OCD = "http://www.osgi.org/xmlns/metatype/v1.2.0"

_TYPE_OF_KURA = {"Char": "Character"}
_KURA_TYPE = {ours: kuras for kuras, ours in _TYPE_OF_KURA.items()}

# A parser takes a bare carriage return for a line's end, and in an attribute any of these for a space.
_IN_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTE = {**_IN_TEXT, **str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})}

# Whoever reads a preview sees what is not the administrator's own.
MARK = "<!-- provisioning sets this, whatever the additional device configuration says -->"

Marks = Mapping[str, frozenset[str]]
_NOTHING: Marks = {}


def render(configuration: Configuration, *, marked: Marks = _NOTHING) -> bytes:
    """
    As Kura reads it, in the configuration's order: the same bytes for the same configuration.

    Every Password must have been opened: Kura gets it in the clear. A parameter of `marked` gets a comment, for people.
    """
    return "\n".join(_lines(configuration, marked)).encode() + b"\n"


def _lines(configuration: Configuration, marked: Marks) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f'<esf:configurations xmlns:ocd="{OCD}" xmlns:esf="{ESF}">'
    for component, parameters in configuration.items():
        yield f"  <esf:configuration pid={_quoted(component)}>"
        yield "    <esf:properties>"
        for name, value in parameters.items():
            if name in marked.get(component, ()):
                yield f"      {MARK}"
            yield from _property(name, value)
        yield "    </esf:properties>"
        yield "  </esf:configuration>"
    yield "</esf:configurations>"


def _property(name: str, value: Value) -> Iterator[str]:
    assert value.clear is not None
    array = "true" if isinstance(value.clear, tuple) else "false"
    type_ = _KURA_TYPE.get(value.type, value.type)
    yield f'      <esf:property name={_quoted(name)} array="{array}" encrypted="false" type="{type_}">'
    for item in value.clear if isinstance(value.clear, tuple) else (value.clear,):
        yield f"        <esf:value>{_text(item).translate(_IN_TEXT)}</esf:value>"
    yield "      </esf:property>"


def _quoted(text: str) -> str:
    return f'"{text.translate(_IN_ATTRIBUTE)}"'


def _text(item: Scalar) -> str:
    """As Java's parsers read it: of a float the shortest digits that are the same number again."""
    if isinstance(item, bool):
        return "true" if item else "false"
    return item if isinstance(item, str) else repr(item)


@dataclass(frozen=True, kw_only=True)
class Property:
    """An `esf:property` as a file has it; what is missing is None."""

    name: str | None
    type: str | None
    array: str | None
    encrypted: str | None
    values: tuple[str, ...] = field(repr=False)


def interpret(
    components: Iterable[tuple[str, Iterable[Property]]],
) -> tuple[dict[str, dict[str, Value]], list[Problem]]:
    """The configuration that a file's components and properties say, and every problem."""
    return device_config.assemble(
        ((component, [(p.name or "", p) for p in properties]) for component, properties in components), _read
    )


def _read(property_: Property) -> Value | Misfit:
    type_ = _TYPE_OF_KURA.get(property_.type or "", property_.type)
    array, encrypted = _flag(property_.array), _flag(property_.encrypted)
    if type_ is None or type_ not in device_config.TYPES:
        return Misfit(rule="type", text=f"must have a type of {device_config.TYPES_TEXT}")
    if array is None or encrypted is None:
        return Misfit(rule="attribute", text="array and encrypted must be true or false")
    if encrypted and any(property_.values):
        return Misfit(
            rule="encrypted",
            text="is encrypted, with a key that only the device has which it comes from: "
            'put the clear value there with encrypted="false", or leave the property out',
        )
    if not array and len(property_.values) != 1:
        return Misfit(rule="one_value", text='must have one esf:value, or array="true"')
    items = [_parse(type_, text) for text in property_.values]
    value = device_config.typed(type_, items if array else items[0])
    return value if value is not None else Misfit(rule="value", text=f"must be what fits type {type_}")


def _flag(text: str | None) -> bool | None:
    """An attribute, false where it is missing."""
    return _boolean(text) if text else False


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.strip().lower())


def _round_to_float(number: float) -> float:
    """Java prints the largest Float as 3.4028235E38, which is above it and rounds to it."""
    largest = device_config.LARGEST_FLOAT
    return math.copysign(largest, number) if largest < abs(number) < largest + 2.0**103 else number


_INTEGER = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
# What Java prints of a Float or Double, and reads; NaN and the infinities are no values.
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?[fFdD]?", re.ASCII)


def _parse(type_: str, text: str) -> Any:
    """What the text says; None where it is not of the type. Whether it fits is judged by whoever asks."""
    if type_ in ("String", "Password", "Character"):
        return text
    text = text.strip()
    if type_ == "Boolean":
        return _boolean(text)
    if type_ in ("Float", "Double"):
        number = float(text.rstrip("fFdD")) if _DECIMAL.fullmatch(text) else None
        return _round_to_float(number) if type_ == "Float" and number is not None else number
    return int(text) if _INTEGER.fullmatch(text) else None
