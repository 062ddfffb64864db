"""XML that nobody means well: each must be refused, quickly and in little memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

MIB = 1024 * 1024
HEAD = b'<esf:configurations xmlns:esf="http://eurotech.com/esf/2.0" xmlns:ocd="http://www.osgi.org/xmlns/metatype/v1.2.0">'
TAIL = b"</esf:configurations>"
BEFORE = (
    HEAD + b'<esf:configuration pid="c"><esf:properties><esf:property name="n" array="false" type="String"><esf:value>'
)
AFTER = b"</esf:value></esf:property></esf:properties></esf:configuration>" + TAIL


def filled(before: bytes, unit: bytes, after: bytes, size: int = MIB) -> bytes:
    """As many units as fit."""
    return before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def entities(declarations: bytes, used: bytes) -> bytes:
    return b"<!DOCTYPE esf:configurations [" + declarations + b"]>" + BEFORE + used + AFTER


def laughs(*, deep: int = 12, many: int = 10) -> bytes:
    declared = [b'<!ENTITY l0 "lol">']
    declared += [b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * many) for n in range(1, deep)]
    return entities(b"".join(declared), b"&l%d;" % (deep - 1))


def attributes_of_a_long_namespace() -> bytes:
    """Each attribute's name would be written out with it: 25,000 times half a megabyte."""
    names = b" ".join(b'x:a%d=""' % number for number in range(25_000))
    return b'<esf:configurations xmlns:x="' + b"u" * (MIB // 2) + b'" ' + names + b"/>"


def own_namespaces() -> bytes:
    """A prefix of its own for each attribute."""
    return b"<r " + b" ".join(b'xmlns:p%d="u%d"' % (n, n) for n in range(40_000)) + b"/>"


# By name; the rule that each breaks.
FILES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "billion laughs": (lambda _: laughs(), "doctype"),
    "billion laughs in an attribute": (
        lambda _: laughs().replace(b'pid="c"', b'pid="&l11;"'),
        "doctype",
    ),
    "quadratic blowup": (
        lambda _: entities(b'<!ENTITY a "' + b"a" * (MIB // 2) + b'">', b"&a;" * (MIB // 8)),
        "doctype",
    ),
    "external entity, a file": (
        lambda path: entities(b'<!ENTITY x SYSTEM "file://%s">' % str(path).encode(), b"&x;"),
        "doctype",
    ),
    "external entity, over HTTP": (lambda _: entities(b'<!ENTITY x SYSTEM "http://127.0.0.1:9/x">', b"&x;"), "doctype"),
    "external DTD": (lambda _: b'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd">' + HEAD + TAIL, "doctype"),
    "DTD without entities": (lambda _: b"<!DOCTYPE r [<!ELEMENT r ANY>]>" + HEAD + TAIL, "doctype"),
    "parameter entities": (
        lambda _: (
            b'<!DOCTYPE r [<!ENTITY % a "<!ENTITY b \'c\'>"> %a; <!ENTITY % x SYSTEM "file:///dev/zero"> %x;]>'
            + HEAD
            + TAIL
        ),
        "doctype",
    ),
    "a huge attribute": (
        lambda _: filled(HEAD + b'<esf:configuration pid="', b"a", b'"/>' + TAIL),
        "too_many",
    ),
    "many attributes": (
        lambda _: b"<r " + b" ".join(b'a%d=""' % number for number in range(90_000)) + b"/>",
        "too_many",
    ),
    "deep nesting": (lambda _: filled(HEAD, b"<esf:configuration>", b""), "not_a_configuration"),
    "deep nesting in a description": (
        lambda _: filled(HEAD + b'<esf:configuration pid="c">', b"<ocd:OCD>", b""),
        "too_many",
    ),
    "many elements": (lambda _: filled(BEFORE + b"</esf:value>", b"<esf:value/>", b""), "too_many"),
    "many elements in a description": (
        lambda _: filled(HEAD + b'<esf:configuration pid="c"><ocd:OCD>', b"<a/>", b""),
        "too_many",
    ),
    "giant text": (lambda _: filled(BEFORE, b"x", AFTER, 64 * MIB), "too_large"),
    "giant text that is not closed": (lambda _: filled(BEFORE, b"\n", b""), "not_xml"),
    "character references": (lambda _: filled(BEFORE, b"&#0;", AFTER), "not_xml"),
    "an unfinished tag": (lambda _: filled(HEAD + b"<esf:configuration pid='", b"a ", b""), "too_many"),
    "a comment without end": (lambda _: filled(HEAD + b"<!--", b"- ", b""), "too_many"),
    "many short attributes": (
        lambda _: filled(b"<r " + b" ".join(b'a%d=""' % n for n in range(5_000)), b" ", b"/>", 60_000),
        "too_many",
    ),
    "processing instructions": (lambda _: filled(b"", b"<?a?>", HEAD + TAIL), "not_a_configuration"),
    "attributes of a long namespace": (lambda _: attributes_of_a_long_namespace(), "too_many"),
    "elements of a long namespace": (
        lambda _: filled(b'<r xmlns="' + b"u" * (MIB // 2) + b'">', b"<a/>", b"</r>"),
        "too_many",
    ),
    "many namespaces": (lambda _: own_namespaces(), "too_many"),
    "UTF-7": (lambda _: b'<?xml version="1.0" encoding="UTF-7"?>+ADw-r/+AD4-', "unreadable"),
    "UTF-16": (lambda _: (HEAD + TAIL).decode().encode("utf-16"), "unreadable"),
    "another encoding": (
        lambda _: b'<?xml version="1.0" encoding="ISO-8859-1"?>' + HEAD + TAIL,
        "unreadable",
    ),
}
