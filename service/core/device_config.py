"""
Device configurations: components with typed parameters, what an administrator adds, and what provisioning overrides.

A configuration is `{component: {parameter: Value}}`. Five parameters of the MQTT transport always come from the run
(design 4.3): wherever an additional configuration names them, in whatever case, they lose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from service.core.problems import MOST_PROBLEMS, Problem, shown

TRANSPORT = "org.eclipse.kura.core.data.transport.mqtt.MqttDataTransport"
# The page writes `clientId`, Kura `client-id`: both are removed.
OVERRIDDEN = frozenset({"broker-url", "topic.context.account-name", "client-id", "clientid", "username", "password"})

FIELD = "additional_device_configuration"
NAME_MAX_LENGTH = 255
MAX_COMPONENTS = 1_000
MAX_PARAMETERS = 10_000

_INTEGERS = {"Byte": 8, "Short": 16, "Integer": 32, "Long": 64}
# IEEE 754's largest finite numbers of 32 and 64 bits.
LARGEST_FLOAT, _LARGEST_DOUBLE = (2 - 2.0**-23) * 2.0**127, (2 - 2.0**-52) * 2.0**1023
_FLOATS = frozenset({"Float", "Double"})
_TEXTS = frozenset({"String", "Password"})
TYPES = frozenset({*_INTEGERS, *_FLOATS, *_TEXTS, "Boolean", "Character"})
TYPES_TEXT = ", ".join(sorted(TYPES))

Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Value:
    """
    A parameter's value: clear, or sealed where its type is Password.

    `type` is one of Kura's types; a tuple is an array. Exactly one of `clear` and `sealed` is set.
    """

    type: str
    clear: Scalar | tuple[Scalar, ...] | None = field(default=None, repr=False)
    sealed: str | None = field(default=None, repr=False)

    def to_document(self) -> dict[str, Any]:
        """As it is stored."""
        if self.sealed is not None:
            return {"type": self.type, "sealed": self.sealed}
        return {"type": self.type, "value": list(self.clear) if isinstance(self.clear, tuple) else self.clear}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Value:
        """From what `to_document` stored."""
        type_, clear = document["type"], document.get("value")
        if type_ in _FLOATS and clear is not None:
            # jsonb keeps 1e300 as a whole number of 301 digits.
            clear = [float(item) for item in clear] if isinstance(clear, list) else float(clear)
        return cls(type=type_, clear=tuple(clear) if isinstance(clear, list) else clear, sealed=document.get("sealed"))


Configuration = Mapping[str, Mapping[str, Value]]


def is_overridden(component: str, parameter: str) -> bool:
    """Whether provisioning owns this parameter: one of the five, in the transport or a named instance of it."""
    return component.strip().casefold().startswith(TRANSPORT.casefold()) and parameter.strip().casefold() in OVERRIDDEN


def without_overridden(configuration: Configuration) -> dict[str, dict[str, Value]]:
    """The configuration less what provisioning owns."""
    return {
        component: {name: value for name, value in parameters.items() if not is_overridden(component, name)}
        for component, parameters in configuration.items()
    }


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its duplicates."""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Why what a file says of a parameter is no value."""

    rule: str
    text: str


Read = Callable[[Any], Value | Misfit]


def parse(text: str) -> tuple[dict[str, dict[str, Value]], list[Problem]]:
    """
    Read `{component: {parameter: value}}` from JSON.

    A value is a scalar, an array of scalars of one type, or `{"type": <Kura type>, "value": ...}`. Returns what could
    be read and every problem; a duplicate of an overridden parameter is no problem, as it loses anyway.
    """
    try:
        document = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return {}, [problem("not_json", "must be JSON: {component: {parameter: value}}")]
    if not isinstance(document, _Pairs):
        return {}, [problem("not_an_object", "must be an object: {component: {parameter: value}}")]
    components = [(name, pairs if isinstance(pairs, _Pairs) else None) for name, pairs in document]
    return assemble(components, _read_json)


def assemble(
    components: Iterable[tuple[str, Iterable[tuple[str, Any]] | None]], read: Read
) -> tuple[dict[str, dict[str, Value]], list[Problem]]:
    """
    A configuration from what a file says, in whatever format: what could be read, and every problem, up to
    `MOST_PROBLEMS`; what comes after is not read.

    `read` makes a value of what stands for one; None instead of a component's parameters: they are none at all.
    """
    problems: list[Problem] = []
    configuration: dict[str, dict[str, Value]] = {}
    seen: set[str] = set()
    for component, parameters in components:
        problems += _check_component(component, parameters, component in seen)
        seen.add(component)
        if parameters is not None:
            found = _read_parameters(component, parameters, configuration.setdefault(component, {}), read)
            problems += islice(found, MOST_PROBLEMS + 1)
        if len(problems) > MOST_PROBLEMS:
            more = problem("too_many_problems", f"has more than {MOST_PROBLEMS} problems")
            return configuration, [*problems[:MOST_PROBLEMS], more]
    if len(configuration) > MAX_COMPONENTS or sum(map(len, configuration.values())) > MAX_PARAMETERS:
        problems.append(problem("too_many", f"at most {MAX_COMPONENTS} components and {MAX_PARAMETERS} parameters"))
    return configuration, problems


def _no_constant(_name: str) -> None:
    raise ValueError


def problem(rule: str, text: str) -> Problem:
    """A problem of an additional device configuration."""
    return Problem(field=FIELD, rule=rule, text=text)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= NAME_MAX_LENGTH and _is_text(name) and name == name.strip()


# XML 1.0, section 2.2 (Char): a Kura gateway gets its configuration as XML. Neither takes Postgres a NUL, nor JSON a
# lone surrogate.
_NO_TEXT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _is_text(text: str) -> bool:
    """What Postgres, XML and every device can carry."""
    return _NO_TEXT.search(text) is None


def _check_component(component: str, parameters: object | None, seen: bool) -> Iterator[Problem]:
    if not _is_name(component):
        yield problem(
            "component_name", f"a component's name must have 1 to {NAME_MAX_LENGTH} characters: {shown(component)!r}"
        )
    if seen:
        yield problem("duplicate_component", f"component {shown(component)!r} is given twice")
    if parameters is None:
        yield problem("component", f"component {shown(component)!r} must be an object of parameters")


def _read_parameters(
    component: str, pairs: Iterable[tuple[str, Any]], into: dict[str, Value], read: Read
) -> Iterator[Problem]:
    seen: set[str] = set()
    for name, raw in pairs:
        if name in seen and not is_overridden(component, name):
            yield problem("duplicate_parameter", f"{shown(component)}.{shown(name)} is given twice")
        seen.add(name)
        if not _is_name(name) and not is_overridden(component, name):
            yield problem(
                "parameter_name", f"{shown(component)}: a parameter's name must have 1 to {NAME_MAX_LENGTH} characters"
            )
        value = read(raw)
        if isinstance(value, Value):
            into[name] = value
        elif not is_overridden(component, name):
            yield problem(value.rule, f"{shown(component)}.{shown(name)}: {value.text}")


_NO_JSON_VALUE = Misfit(
    rule="value",
    text='must be a scalar, an array of scalars of one type, or {"type", "value"} '
    f"with a type of {TYPES_TEXT} that the value fits",
)


def _read_json(raw: object) -> Value | Misfit:
    value = _read_value(raw)
    return value if value is not None else _NO_JSON_VALUE


def _read_value(raw: object) -> Value | None:
    if isinstance(raw, _Pairs):
        given = dict(raw)
        if len(raw) != 2 or given.keys() != {"type", "value"}:
            return None
        if not isinstance(given["type"], str) or given["type"] not in TYPES:
            return None
        return typed(given["type"], given["value"])
    inferred = _infer(raw[0] if isinstance(raw, list) and raw else raw)
    return typed(inferred, raw) if inferred else None


def _infer(scalar: object) -> str | None:
    if isinstance(scalar, bool):
        return "Boolean"
    if isinstance(scalar, int):
        return "Integer" if -(2**31) <= scalar < 2**31 else "Long"
    if isinstance(scalar, float):
        return "Double"
    return "String" if isinstance(scalar, str) else None


def typed(type_: str, raw: Any) -> Value | None:
    """The value of a Kura type, of a list where it is an array; None where it does not fit."""
    is_array = isinstance(raw, list) and not isinstance(raw, _Pairs)
    items = raw if is_array else [raw]
    if not all(_CHECKS[type_](item) for item in items):
        return None
    # A whole number is a Double's value too, and is the same after its way through the database.
    values = [float(item) for item in items] if type_ in _FLOATS else items
    return Value(type=type_, clear=tuple(values) if is_array else values[0])


def _integer_fits(bits: int, value: Any) -> bool:
    largest: int = 2 ** (bits - 1) - 1
    return isinstance(value, int) and not isinstance(value, bool) and -largest - 1 <= value <= largest


def _float_fits(largest: float, value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= largest


_CHECKS: dict[str, Callable[[Any], bool]] = {
    **{name: partial(_integer_fits, bits) for name, bits in _INTEGERS.items()},
    "Float": partial(_float_fits, LARGEST_FLOAT),
    "Double": partial(_float_fits, _LARGEST_DOUBLE),
    **dict.fromkeys(_TEXTS, lambda value: isinstance(value, str) and _is_text(value)),
    "Boolean": lambda value: isinstance(value, bool),
    # Java's: one UTF-16 unit.
    "Character": lambda value: isinstance(value, str) and len(value) == 1 and value <= "\uffff" and _is_text(value),
}


def to_document(configuration: Configuration) -> dict[str, dict[str, Any]]:
    """As it is stored in jsonb."""
    return {
        component: {name: value.to_document() for name, value in parameters.items()}
        for component, parameters in configuration.items()
    }


def from_document(document: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Value]]:
    """From what `to_document` stored."""
    return {
        component: {name: Value.from_document(value) for name, value in parameters.items()}
        for component, parameters in document.items()
    }


Transform = Callable[[str, str, Value], Value]


def map_passwords(configuration: Configuration, transform: Transform) -> dict[str, dict[str, Value]]:
    """Every Password value replaced by `transform(component, parameter, value)`: sealing, opening, hiding."""
    return {
        component: {
            name: transform(component, name, value) if value.type == "Password" else value
            for name, value in parameters.items()
        }
        for component, parameters in configuration.items()
    }


def _json_scalar(value: Scalar | None) -> Scalar | None:
    """RFC 7493, section 2.2: a whole number that a double cannot hold exactly is sent as text."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return str(value)
    return value


def render_json(configuration: Configuration) -> dict[str, dict[str, Any]]:
    """As a JSON device reads it: bare values. Every Password must have been opened."""
    return {
        component: {
            name: [_json_scalar(item) for item in value.clear]
            if isinstance(value.clear, tuple)
            else _json_scalar(value.clear)
            for name, value in parameters.items()
        }
        for component, parameters in configuration.items()
    }
