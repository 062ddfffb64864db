"""Files of unknown content: JSON or XML told apart; what is hostile is refused, and nothing of it is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.configuration_file import MOST_BYTES, read
from service.core import kura_xml
from service.core.device_config import Value
from tests.support.hostile_xml import AFTER, BEFORE, FILES, HEAD, TAIL

CONFIGURATION = {"c": {"n": Value(type="String", clear="x")}}


@pytest.mark.parametrize("name", FILES)
def test_hostile_xml_is_refused(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    make, rule = FILES[name]
    configuration, problems = read(make(secret))
    assert configuration == {}
    assert [problem.rule for problem in problems] == [rule]
    assert "canary" not in str(problems)


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \n\t"])
def test_json_and_xml_are_told_by_the_content(before: bytes) -> None:
    assert read(before + b'{"c":{"n":"x"}}') == (CONFIGURATION, [])
    assert read(before + BEFORE + b"x" + AFTER) == (CONFIGURATION, [])
    assert read(before.strip() + kura_xml.render(CONFIGURATION)) == (CONFIGURATION, [])


def test_a_file_of_every_allowed_byte() -> None:
    long = json.dumps({"c": {"n": "x" * (MOST_BYTES - 14)}}, separators=(",", ":")).encode()
    assert len(long) == MOST_BYTES
    assert read(long)[1] == []
    assert [problem.rule for problem in read(long + b" ")[1]] == ["too_large"]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "not_json"),
        (b"<", "not_xml"),
        (b"<a>", "not_a_configuration"),
        (b"<configurations/>", "not_a_configuration"),
        (b'<esf:configurations xmlns:esf="urn:other"/>', "not_a_configuration"),
        (b"<esf:configurations/>", "not_a_configuration"),
        (HEAD + b"text" + TAIL, "not_a_configuration"),
        (HEAD + b'<esf:property name="x"/>' + TAIL, "not_a_configuration"),
        (HEAD + b"<ocd:OCD/>" + TAIL, "not_a_configuration"),
        (BEFORE + b"a<esf:value/>" + AFTER, "not_a_configuration"),
        (BEFORE + b"&nbsp;" + AFTER, "not_xml"),
        (BEFORE + b"x" + AFTER + AFTER, "not_xml"),
        (BEFORE + b"\x01" + AFTER, "not_xml"),
        (BEFORE + b"\xff" + AFTER, "unreadable"),
        (BEFORE + b"x", "not_xml"),
    ],
)
def test_other_files_are_refused(data: bytes, rule: str) -> None:
    configuration, problems = read(data)
    assert configuration == {}
    assert [problem.rule for problem in problems] == [rule]


def test_descriptions_are_passed_over() -> None:
    description = b'<ocd:OCD id="x"><ocd:AD id="a"><ocd:Option label="l" value="v"/>text</ocd:AD></ocd:OCD>'
    described = (BEFORE + b"x" + AFTER).replace(b"<esf:properties>", description + b"<esf:properties>", 1)
    assert read(described) == (CONFIGURATION, [])


@given(st.binary(max_size=64), st.integers(0, 200), st.integers(0, 40))
def test_no_bytes_do_more_than_be_refused(noise: bytes, at: int, gone: int) -> None:
    data = BEFORE + b"x" + AFTER
    read(noise)
    configuration, problems = read(data[:at] + noise + data[at + gone :])
    assert problems or configuration is not None


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-8", "US-ASCII"])
def test_a_declared_encoding_may_be_utf_8(encoding: str) -> None:
    assert read(f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + BEFORE + b"x" + AFTER) == (CONFIGURATION, [])
