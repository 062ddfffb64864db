"""Kura's XML: what is read comes out again, every type and character; what is wrong is said by name, all at once."""

from __future__ import annotations

import ctypes
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.configuration_file import read
from service.core import device_config, kura_xml
from service.core.device_config import TRANSPORT, TYPES, Configuration, Value
from tests.support import kura_snapshot

NAMESPACE = {"esf": kura_xml.ESF}


NO_ITEMS = Value(type="String", clear=())


def document(properties: str, pid: str = "c") -> bytes:
    head = f'<esf:configurations xmlns:esf="{kura_xml.ESF}" xmlns:ocd="{kura_xml.OCD}">'
    inside = f'<esf:configuration pid="{pid}"><esf:properties>{properties}</esf:properties></esf:configuration>'
    return f"{head}{inside}</esf:configurations>".encode()


def prop(type_: str, *values: str, array: str = "false", encrypted: str = "false", name: str = "p") -> str:
    items = "".join(f"<esf:value>{value}</esf:value>" for value in values)
    return f'<esf:property name="{name}" array="{array}" encrypted="{encrypted}" type="{type_}">{items}</esf:property>'


def rules(data: bytes) -> list[str]:
    return [problem.rule for problem in read(data)[1]]


# XML 1.0's characters.
REFUSED = "".join(map(chr, [*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF]))
texts = st.text(st.characters(codec="utf-8", exclude_characters=REFUSED), max_size=8)
scalars: dict[str, st.SearchStrategy[Any]] = {
    "String": texts,
    "Password": texts,
    "Boolean": st.booleans(),
    "Character": texts.filter(lambda text: len(text) == 1 and text <= "\uffff"),
    "Byte": st.integers(-(2**7), 2**7 - 1),
    "Short": st.integers(-(2**15), 2**15 - 1),
    "Integer": st.integers(-(2**31), 2**31 - 1),
    "Long": st.integers(-(2**63), 2**63 - 1),
    "Float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "Double": st.floats(allow_nan=False, allow_infinity=False),
}
names = texts.filter(lambda text: text.strip() == text != "")


def values_of(type_: str) -> st.SearchStrategy[Value]:
    clear = scalars[type_] | st.lists(scalars[type_], max_size=3).map(tuple)
    return clear.map(lambda value: Value(type=type_, clear=value))


values = st.sampled_from(sorted(TYPES)).flatmap(values_of)
configurations = st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=4)


def test_every_type_is_drawn() -> None:
    assert scalars.keys() == TYPES


@given(configurations)
def test_what_is_written_is_read_as_the_same(configuration: Configuration) -> None:
    written = kura_xml.render(configuration)
    assert read(written) == (configuration, [])
    assert kura_xml.render(read(written)[0]) == written
    ET.fromstring(written)  # another parser, and with namespaces


def test_a_snapshot_is_read_whole() -> None:
    configuration, problems = read(kura_snapshot.write())
    assert problems == []
    assert len(configuration) == len(kura_snapshot.COMPONENTS) >= 30
    for component, parameters in kura_snapshot.COMPONENTS.items():
        assert configuration[component].keys() == {name for name, *_ in parameters}
    assert {value.type for parameters in configuration.values() for value in parameters.values()} == TYPES
    assert "password" not in configuration[TRANSPORT]


def as_float(text: str) -> float:
    """Rounded to 32 bits, as Java does."""
    return ctypes.c_float(float(text)).value


def as_kura_reads(data: bytes) -> dict[tuple[str, str], tuple[str, bool, list[Any]]]:
    """By a parser with namespaces: type, array, and values as Java's parsers would take them."""
    found = {}
    for component in ET.fromstring(data).findall("esf:configuration", NAMESPACE):
        for each in component.iterfind("esf:properties/esf:property", NAMESPACE):
            type_ = each.attrib["type"]
            items = [value.text or "" for value in each.findall("esf:value", NAMESPACE)]
            readers: dict[str, Callable[[str], Any]] = {"Float": as_float, "Double": float}
            number = readers.get(type_, str)
            said = (type_, each.attrib["array"] == "true", [number(item) for item in items])
            found[component.attrib["pid"], each.attrib["name"]] = said
    return found


def test_a_snapshot_comes_out_as_it_went_in() -> None:
    snapshot = kura_snapshot.write()
    written = as_kura_reads(kura_xml.render(read(snapshot)[0]))
    expected = as_kura_reads(snapshot)
    del expected[TRANSPORT, "password"]
    assert written == expected


def test_encrypted_passwords_are_named_each_but_the_overridden() -> None:
    problems = read(kura_snapshot.write(passwords_in_the_clear=False))[1]
    assert [(problem.rule, problem.text.partition(": ")[0]) for problem in problems] == [
        ("encrypted", "org.eclipse.kura.net.admin.NetworkConfigurationService."
         "net.interface.wlan0.config.wifi.master.passphrase"),
        ("encrypted", "org.eclipse.kura.internal.rest.provider.RestService.session.secrets"),
    ]  # fmt: skip
    assert kura_snapshot.CANARY not in str(problems)


def test_an_encrypted_value_that_is_empty_is_empty() -> None:
    assert read(document(prop("Password", "", encrypted="true"))) == (
        {"c": {"p": Value(type="Password", clear="")}},
        [],
    )


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("String", ["", " x ", "1"], []),
        ("Password", ["", "x"], []),
        ("Boolean", ["true", "TRUE", "false"], ["", "1", "yes"]),
        ("Char", ["x", " ", "&#13;"], ["", "xy", "😀"]),
        ("Character", ["x"], ["xy"]),
        ("Byte", ["-128", "+1"], ["128", "", "1.0", "x", "0x1", "1_0", "٣"]),
        ("Short", ["32767"], ["32768"]),
        ("Integer", ["-2147483648", " 7\n"], ["2147483648", "9" * 5000]),
        ("Long", ["9223372036854775807", "007"], ["9223372036854775808"]),
        ("Float", ["1", "1.0E-5", ".5", "1.f"], ["NaN", "Infinity", "1e39", "1e", "", "0x1p3", "1_0"]),
        ("Double", ["1.7976931348623157E308", "-0.0d"], ["1e309", "1e9999999", "-Infinity", "1,5"]),
    ],
)
def test_values_fit_their_type(type_: str, good: list[str], bad: list[str]) -> None:
    for value in good:
        assert rules(document(prop(type_, value))) == [], value
        assert rules(document(prop(type_, value, value, array="true"))) == [], value
    for value in bad:
        assert rules(document(prop(type_, value))) == ["value"], value
        assert rules(document(prop(type_, *good[:1], value, array="true"))) == ["value"], value


def test_arrays_and_missing_values() -> None:
    assert read(document(prop("Integer", array="true")))[0] == {"c": {"p": Value(type="Integer", clear=())}}
    assert read(document(prop("String", "x", array="true")))[0] == {"c": {"p": Value(type="String", clear=("x",))}}
    assert rules(document(prop("String"))) == ["one_value"]
    assert rules(document(prop("String", "a", "b"))) == ["one_value"]
    bare = '<esf:property name="p" type="String"><esf:value/></esf:property>'
    assert read(document(bare))[0] == {"c": {"p": Value(type="String", clear="")}}
    cdata = (
        '<esf:property name="p" type="String"><esf:value><![CDATA[<a>&amp;]]> b<!-- c --></esf:value></esf:property>'
    )
    assert read(document(cdata))[0] == {"c": {"p": Value(type="String", clear="<a>&amp; b")}}


def test_all_problems_at_once() -> None:
    wrong = [
        prop("Integer", "x", name="a"),
        prop("Date", "x", name="b"),
        prop("String", "x", name="c", array="maybe"),
        prop("String", "x", name="d"),
        prop("String", "x", name="d"),
        prop("String", "x", name=""),
        prop("Password", "canary", name="e", encrypted="true"),
        "<esf:property/>",
    ]
    problems = read(document("".join(wrong), pid=""))[1]
    assert [problem.rule for problem in problems] == [
        "component_name", "value", "type", "attribute", "duplicate_parameter", "parameter_name", "encrypted",
        "duplicate_parameter", "parameter_name", "type",
    ]  # fmt: skip
    assert {problem.field for problem in problems} == {device_config.FIELD}
    assert "canary" not in str(problems)


@pytest.mark.parametrize("name", sorted(device_config.OVERRIDDEN))
def test_nothing_is_wrong_with_what_loses_anyway(name: str) -> None:
    for said in (prop("Integer", "x", name=name), prop("Password", "x", encrypted="true", name=name.upper())):
        configuration, problems = read(document(said * 2, pid=TRANSPORT))
        assert problems == []
        assert device_config.without_overridden(configuration) == {TRANSPORT: {}}


@pytest.mark.parametrize(
    ("pid", "name"),
    [
        (TRANSPORT, "broker&#45;url"),
        (TRANSPORT, "&#x42;roker-url"),
        (TRANSPORT.replace("org", "&#111;rg"), "broker-url"),
        (TRANSPORT, "&#10;broker-url "),
    ],
)
def test_no_spelling_gets_past_what_is_overridden(pid: str, name: str) -> None:
    configuration, problems = read(document(prop("String", "mqtt://theirs", name=name), pid=pid))
    assert problems == []
    assert device_config.without_overridden(configuration) == {TRANSPORT: {}}


def test_a_prefix_is_only_a_prefix() -> None:
    snapshot = kura_snapshot.write()
    renamed = re.sub(rb"\besf:", b"k:", snapshot.replace(b"xmlns:esf", b"xmlns:k"))
    without = re.sub(rb"(</?)esf:", rb"\1", snapshot.replace(b"xmlns:esf", b"xmlns"))
    assert read(renamed) == read(without) == read(snapshot)


def test_what_provisioning_sets_is_marked() -> None:
    configuration = {"c": {"a": Value(type="String", clear="x"), "b": Value(type="String", clear="y")}}
    marked = kura_xml.render(configuration, marked={"c": frozenset({"b"})})
    assert marked.count(kura_xml.MARK.encode()) == 1
    assert marked.index(kura_xml.MARK.encode()) > marked.index(b'"a"')
    assert read(marked) == (configuration, [])


def test_it_is_written_to_the_letter() -> None:
    """As ESF writes its own snapshots."""
    configuration = {
        "c": {"one": Value(type="Integer", clear=1), "many": Value(type="String", clear=("a", "b")), "none": NO_ITEMS}
    }
    assert kura_xml.render(configuration).decode().splitlines() == [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<esf:configurations xmlns:ocd="{kura_xml.OCD}" xmlns:esf="{kura_xml.ESF}">',
        '  <esf:configuration pid="c">',
        "    <esf:properties>",
        '      <esf:property name="one" array="false" encrypted="false" type="Integer">',
        "        <esf:value>1</esf:value>",
        "      </esf:property>",
        '      <esf:property name="many" array="true" encrypted="false" type="String">',
        "        <esf:value>a</esf:value>",
        "        <esf:value>b</esf:value>",
        "      </esf:property>",
        '      <esf:property name="none" array="true" encrypted="false" type="String">',
        "      </esf:property>",
        "    </esf:properties>",
        "  </esf:configuration>",
        "</esf:configurations>",
    ]


ATTRIBUTE = ("attribute", "array and encrypted must be true or false")
ENCRYPTED = (
    "encrypted",
    "is encrypted, with a key that only the device has which it comes from: "
    'put the clear value there with encrypted="false", or leave the property out',
)


@pytest.mark.parametrize(
    ("property_", "rule", "text"),
    [
        (prop("", "1"), "type", f"must have a type of {device_config.TYPES_TEXT}"),
        (prop("Text", "1"), "type", f"must have a type of {device_config.TYPES_TEXT}"),
        (prop("String", "1", array="yes"), *ATTRIBUTE),
        (prop("String", "1", encrypted="yes"), *ATTRIBUTE),
        (prop("Password", "1", encrypted="true"), *ENCRYPTED),
        (prop("String", "1", "2"), "one_value", 'must have one esf:value, or array="true"'),
        (prop("Integer", "x"), "value", "must be what fits type Integer"),
    ],
)
def test_what_is_said_of_a_property_that_is_none(property_: str, rule: str, text: str) -> None:
    (problem,) = read(document(property_))[1]
    assert (problem.rule, problem.text) == (rule, f"c.p: {text}")


def test_an_attribute_that_is_empty_is_none() -> None:
    assert read(document(prop("String", "1", array="", encrypted="")))[0] == {
        "c": {"p": Value(type="String", clear="1")}
    }


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(
    ("number", "good"),
    [
        (device_config.LARGEST_FLOAT, True),
        (3.4028235e38, True),
        (device_config.LARGEST_FLOAT + 0.99 * 2.0**103, True),
        (device_config.LARGEST_FLOAT + 2.0**103, False),
        (device_config.LARGEST_FLOAT + 1.5 * 2.0**103, False),
    ],
)
def test_a_float_is_what_java_rounds_to_one(sign: str, number: float, good: bool) -> None:
    """Half way to the number after the largest it becomes infinite."""
    configuration, problems = read(document(prop("Float", f"{sign}{number!r}")))
    assert [problem.rule for problem in problems] == ([] if good else ["value"])
    if good:
        assert configuration["c"]["p"].clear == float(f"{sign}{device_config.LARGEST_FLOAT!r}")


@pytest.mark.parametrize("suffix", ["f", "F", "d", "D"])
@pytest.mark.parametrize("type_", ["Float", "Double"])
def test_java_s_suffixes_are_no_part_of_a_number(type_: str, suffix: str) -> None:
    assert read(document(prop(type_, f"1.5{suffix}")))[0]["c"]["p"].clear == 1.5
