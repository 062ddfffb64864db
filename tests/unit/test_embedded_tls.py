"""The embedded default's certificates: made once, whole or not at all, renewed before they end; older installations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded import state, tls
from service import certificates
from service.certificates import CannotIssue, load_authority
from tests.support.certificates import new_authority


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(folder: Path) -> list[bool]:
    given: list[Path] = []
    made = [tls.make_ca(folder / "ca"), tls.make_certificate(folder / "ca", folder / "tls", tls.HERE, give=take(given))]
    assert bool(given) == made[1]
    return made


def take(given: list[Path]) -> Callable[..., None]:
    return lambda *paths: given.extend(paths)


def test_made_once(tmp_path: Path) -> None:
    assert make(tmp_path) == [True, True]
    before = contents(tmp_path)
    assert set(before) == {"ca/ca.pem", "ca/ca.key", "tls/certificate.pem", "tls/key.pem"}
    assert make(tmp_path) == [False, False]
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("days", "renewed"), [(29, True), (31, False)])
def test_renewed_in_its_last_month(tmp_path: Path, days: int, renewed: bool) -> None:
    make(tmp_path)
    shutil.rmtree(tmp_path / "tls")
    certificates.issue(load_authority(tmp_path / "ca"), ["localhost"], tmp_path / "tls", days=days)
    before = contents(tmp_path)
    assert make(tmp_path) == [False, renewed]
    after = contents(tmp_path)
    assert after["ca/ca.pem"] == before["ca/ca.pem"]
    assert (after["tls/key.pem"] != before["tls/key.pem"]) is renewed
    assert set(after) == set(before), "nothing of the old one is left beside it"


def test_cut_off_is_mended(tmp_path: Path) -> None:
    """What was begun and not finished stands under another name, and is made anew."""
    (tmp_path / "ca.new").mkdir()
    (tmp_path / "ca.new" / "ca.key").write_text("half")
    (tmp_path / "tls.new").mkdir()
    assert make(tmp_path) == [True, True]
    assert {path.name for path in tmp_path.iterdir()} == {"ca", "tls"}


def test_what_cannot_be_issued_leaves_the_old_one(tmp_path: Path) -> None:
    make(tmp_path)
    shutil.rmtree(tmp_path / "tls")
    certificates.issue(load_authority(tmp_path / "ca"), ["localhost"], tmp_path / "tls", days=1)
    (tmp_path / "ca" / "ca.key").write_bytes(new_authority().key_pem)
    before = contents(tmp_path / "tls")
    with pytest.raises(CannotIssue):
        make(tmp_path)
    assert contents(tmp_path / "tls") == before


def test_an_older_installation_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its brokers have no encrypted listener, and its account broker's endpoint is another."""
    folder = tmp_path / "state"
    folder.mkdir()
    monkeypatch.setattr(state, "folder_of", lambda _root: folder)
    older = {name: port for name, port in state.PORTS.items() if "TLS" not in name}
    (folder / "ports.json").write_text(json.dumps(older))
    with pytest.raises(state.CannotGoOn, match="UP_PROVISION_TLS_PORT, UP_ACCOUNT_TLS_PORT: `make clean`"):
        state.make({}, tmp_path)
    assert state.find(tmp_path) == state.State(folder, older), "`make down` and `make clean` find it"
