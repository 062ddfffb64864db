"""The search for secrets finds them, in each of the forms that it says."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.canaries import Canaries, files_below

SECRET = b"C4nary/\xff+ of some length"


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc", b"name:"])
def test_every_form_is_found(before: bytes) -> None:
    canaries = Canaries()
    canaries.add("it", SECRET)
    whole = before + SECRET + b"after"
    for text in (
        whole, whole[::-1], whole.hex().encode(), whole.hex().upper().encode(), base64.b64encode(whole),
        base64.urlsafe_b64encode(whole), quote(whole).encode(), bytes(5000) + whole,
    ):  # fmt: skip
        assert canaries.found_in(b"x" + text + b"y") == {"it"}, text
    assert canaries.found_in(whole.replace(b"of", b"if")) == set()
    assert canaries.found_in(base64.b64encode(whole.replace(b"of", b"if"))) == set()


def test_files_are_searched(tmp_path: Path) -> None:
    canaries = Canaries()
    canaries.add("it", SECRET)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(base64.b64encode(b"zz" + SECRET))
    (tmp_path / "b").write_bytes(b"nothing")
    hits = canaries.found_in_files([*files_below(tmp_path), tmp_path / "gone"])
    assert hits == [f"{tmp_path / 'deep' / 'a'}: it"]
    assert files_below(tmp_path, since=2**40) == []
    with pytest.raises(AssertionError):
        canaries.add("short", "1234567")
