"""
Additional device configurations as files: JSON, or Kura's XML; which of them is told by the content.

XML is read by defusedxml's SAX parser, which stops at a DOCTYPE, so that no entity is ever declared. It runs without
namespaces: expat writes a namespace's name out before each element and attribute, and a long one before many is the one
bomb that no DTD is needed for. The few prefixes are resolved here.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers.expat import XMLParserType
from xml.sax import ContentHandler, SAXParseException  # the names only: the parser is defusedxml's
from xml.sax.xmlreader import AttributesImpl

from defusedxml import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from service.core import device_config, kura_xml
from service.core.device_config import Value, problem
from service.core.kura_xml import ESF, OCD, Property
from service.core.problems import Problem

# A configuration that fits into an answer has a tenth of it.
MOST_BYTES = 1024 * 1024
MOST_ELEMENTS = 20_000
DEEPEST = 8
MOST_ATTRIBUTES = 32
LONGEST_TAG = 65_536
# In characters: what expat still reads after it was told to stop.
CHUNK = 16_384

Read = tuple[Mapping[str, Mapping[str, Value]], list[Problem]]


def read(data: bytes) -> Read:
    """The configuration that a file holds, and every problem; `MOST_BYTES` and one byte of a longer one will do."""
    if len(data) > MOST_BYTES:
        return {}, [problem("too_large", f"must have at most {MOST_BYTES} bytes")]
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        return {}, [problem("unreadable", "is not UTF-8")]
    return _read_xml(text) if _BEGINS.match(text) else device_config.parse(text)


class _Refused(Exception):
    """Not XML that we read: nothing of it is used."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.problem = problem(rule, text)


_BEGINS = re.compile(r"\s*<")
_ENCODING = re.compile(r"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([^"']{0,200})["']""")


def _read_xml(text: str) -> Read:
    declared = _ENCODING.match(text)
    if declared is not None and declared[1].upper() not in ("UTF-8", "UTF8", "US-ASCII"):
        return {}, [problem("unreadable", "must be, and say that it is, UTF-8")]
    handler = _Handler()
    parser = _Parser(forbid_dtd=True)
    parser.setContentHandler(handler)
    try:
        for chunk in _chunks(text):
            parser.feed(chunk)
            parser.check_unfinished(chunk)
        parser.close()
    except _Refused as refused:
        return {}, [refused.problem]
    except DefusedXmlException:
        return {}, [problem("doctype", "must be XML without DOCTYPE and entities")]
    except SAXParseException as error:
        return {}, [problem("not_xml", f"must be well-formed XML: line {error.getLineNumber()}: {error.getMessage()}")]
    return kura_xml.interpret((component.pid, component.properties) for component in handler.components)


class _Parser(DefusedExpatParser):
    """Hands text over in large pieces, and does not wait for the end of a tag that is too long."""

    _parser: XMLParserType
    _fed = 0

    def reset(self) -> None:
        """Called before the first piece."""
        super().reset()
        self._parser.buffer_text = True

    def check_unfinished(self, chunk: str) -> None:
        """Of all that was fed, expat leaves what is not whole: text never, a tag or comment until its end."""
        self._fed += len(chunk.encode())
        if self._fed - self._parser.CurrentByteIndex > LONGEST_TAG:
            raise _Refused("too_many", f"must have at most {LONGEST_TAG} bytes in one tag or comment")


def _chunks(text: str) -> Iterator[str]:
    for start in range(0, len(text), CHUNK):
        yield text[start : start + CHUNK]


@dataclass(kw_only=True)
class _Component:
    pid: str
    properties: list[Property] = field(default_factory=list)


@dataclass(kw_only=True)
class _Open:
    """A property whose end has not come yet."""

    attributes: Mapping[str, str]
    values: list[str] = field(default_factory=list, repr=False)


# What may stand where. An OCD is a snapshot's description of a component: it is passed over.
_PATH = ("configurations", "configuration", "properties", "property", "value")


class _Handler(ContentHandler):
    """Keeps components and properties, and refuses everything else at once."""

    def __init__(self) -> None:
        super().__init__()
        self.components: list[_Component] = []
        self._scopes: list[Mapping[str, str]] = [{}]
        self._names: list[str] = []
        self._described = 0  # how deep in an OCD
        self._elements = 0
        self._property = _Open(attributes={})
        self._text: list[str] = []

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        """Judged before anything of it is kept."""
        self._elements += 1
        if self._elements > MOST_ELEMENTS or len(self._scopes) > DEEPEST:
            raise _Refused("too_many", f"must have at most {MOST_ELEMENTS} elements, at most {DEEPEST} deep")
        scope = self._scopes[-1]
        if self._described:
            self._scopes.append(scope)
            self._described += 1
            return
        attributes = _attributes(attrs)
        if any(key.startswith("xmlns") for key in attributes):
            scope = {**scope, **_namespaces(attributes)}
        self._scopes.append(scope)
        prefix, _, local = name.rpartition(":")
        namespace = scope.get(prefix)
        if namespace == OCD and self._names == ["configurations", "configuration"]:
            self._described = 1
            return
        if namespace != ESF or len(self._names) >= len(_PATH) or local != _PATH[len(self._names)]:
            self._refuse(f"does not belong there: <{name[:64]}>")
        self._names.append(local)
        self._begin(local, attributes)

    def _begin(self, local: str, attributes: Mapping[str, str]) -> None:
        if local == "configuration":
            self.components.append(_Component(pid=attributes.get("pid", "")))
        elif local == "property":
            self._property = _Open(attributes=attributes)
        self._text.clear()

    def endElement(self, name: str) -> None:  # noqa: ARG002
        """A value or a property is complete."""
        self._scopes.pop()
        if self._described:
            self._described -= 1
            return
        local = self._names.pop()
        if local == "value":
            self._property.values.append("".join(self._text))
        elif local == "property":
            given = self._property.attributes
            self.components[-1].properties.append(
                Property(
                    name=given.get("name"),
                    type=given.get("type"),
                    array=given.get("array"),
                    encrypted=given.get("encrypted"),
                    values=tuple(self._property.values),
                )
            )

    def characters(self, content: str) -> None:
        """Text of a value; elsewhere only what sets lines apart."""
        if self._described:
            return
        if len(self._names) == len(_PATH):
            self._text.append(content)
        elif content.strip(" \t\r\n"):
            self._refuse("has text where none belongs")

    def processingInstruction(self, target: str, data: str) -> None:  # noqa: ARG002
        """Nobody writes one, and nobody needs one."""
        self._refuse("has a processing instruction")

    def _refuse(self, why: str) -> NoReturn:
        shape = "esf:configurations of esf:configuration of esf:properties of esf:property of esf:value"
        raise _Refused("not_a_configuration", f"must be {shape}: {why}")


def _attributes(attrs: AttributesImpl) -> dict[str, str]:
    if len(attrs) > MOST_ATTRIBUTES:
        raise _Refused("too_many", f"must have at most {MOST_ATTRIBUTES} attributes an element")
    return dict(attrs.items())


def _namespaces(attributes: Mapping[str, str]) -> dict[str, str]:
    """{prefix: name}; the prefix of `xmlns` alone is empty."""
    return {
        key.partition(":")[2]: value for key, value in attributes.items() if key == "xmlns" or key.startswith("xmlns:")
    }
