"""What a caller sent, read as the route wants it: the same whether it came over HTTP or from this process."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.api.routes import Route
from service.core.problems import InvalidInput, Problem


class NotUnderstood(Exception):
    """It cannot be read at all. The text says why."""


def read_body(route: Route, raw: bytes) -> Any:
    """A JSON body as the route's type. Raises NotUnderstood, and InvalidInput where a field does not fit."""
    if route.body is None:
        if raw:
            raise NotUnderstood("this operation takes no body")
        return None
    try:
        _refuse_duplicates(raw)
        return msgspec.json.decode(raw, type=route.body)
    except msgspec.ValidationError as error:
        raise InvalidInput([_misfit(str(error))]) from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise NotUnderstood("the body is not JSON in UTF-8, or says a field twice") from None


def _refuse_duplicates(raw: bytes) -> None:
    """msgspec takes the last of two fields with one name; who means which is nobody's to guess."""

    def pairs(found: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in found}) < len(found):
            raise ValueError

    json.loads(raw.decode("utf-8"), object_pairs_hook=pairs)


_WHERE = re.compile(r"`\$\.?([^`]*)`")
_UNKNOWN = re.compile(r"(?:unknown field|missing required field) `([^`]*)`")


def _misfit(text: str) -> Problem:
    """msgspec's words about a field, as one of our problems."""
    unknown, where = _UNKNOWN.search(text), _WHERE.search(text)
    place = ".".join(filter(None, [where[1] if where else "", unknown[1] if unknown else ""]))
    return Problem(field=place or "body", rule="type", text=text.partition(" - at ")[0])


def read_query(route: Route, parameters: Mapping[str, Sequence[str]]) -> Any:
    """Each parameter with all its values, as the route's type. Raises NotUnderstood and InvalidInput."""
    given: dict[str, Any] = {}
    for name, values in parameters.items():
        if any("\0" in value for value in values):
            raise NotUnderstood("a parameter holds a NUL")
        if _is_list(route.query, name):
            given[name] = list(values)
        elif len(values) > 1:
            raise InvalidInput([Problem(field=name, rule="twice", text="is given twice")])
        else:
            given[name] = values[0]
    try:
        return msgspec.convert(given, route.query, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput([_misfit(str(error))]) from None


@functools.cache
def _is_list(query: type[msgspec.Struct], name: str) -> bool:
    return any(
        field.name == name and isinstance(field.default_factory, type) and issubclass(field.default_factory, list)
        for field in msgspec.structs.fields(query)
    )


def encode(document: Any) -> bytes:
    """A document as it is sent."""
    return msgspec.json.encode(document, enc_hook=_encode)


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)
