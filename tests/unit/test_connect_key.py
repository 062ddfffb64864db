"""A CONNECT with the right password: what an activation key, a held credential and time make of the decision."""

from __future__ import annotations

import pytest

from service.core.connect import (
    Facts,
    Present,
    refuse_held,
    refuse_unproved,
    refuse_wrong_key,
    repeats,
    split_password,
)
from service.core.releases import Claim
from service.core.verdicts import Denied
from tests.unit.facts import FACTORY, FIRST_LOGIN, MANAGED, NOTHING, spoilt

PRESENT = Present(grants=(), account_id=3)
DENIED = Denied(reason="no_matching_request")


@pytest.mark.parametrize(
    ("password", "split"),
    [
        ("Abcdefghijk-", ("Abcdefghijk-", None)),
        ("Abcdefghijk-\tKEY", ("Abcdefghijk-", "KEY")),
        ("Abcdefghijk-\tKEY\tmore", ("Abcdefghijk-", "KEY\tmore")),
        ("Abcdefghijk- KEY", ("Abcdefghijk- KEY", None)),
        ("Abcdefghijk-\t", ("Abcdefghijk-", "")),
        ("\tKEY", ("", "KEY")),
        ("", ("", None)),
    ],
)
def test_an_activation_key_stands_behind_the_first_tab(password: str, split: tuple[str, str | None]) -> None:
    assert split_password(password) == split


@pytest.mark.parametrize("decision", [PRESENT, DENIED])
@pytest.mark.parametrize(("given", "proved"), [(False, False), (True, True), (False, True)])
def test_a_key_that_is_right_or_not_given_changes_nothing(
    decision: Present | Denied, given: bool, proved: bool
) -> None:
    assert refuse_wrong_key(decision, given=given, proved=proved) is decision


def test_a_wrong_key_is_a_refusal_and_takes_no_other_s_place() -> None:
    assert refuse_wrong_key(PRESENT, given=True, proved=False) == Denied(reason="wrong_activation_key")
    assert refuse_wrong_key(DENIED, given=True, proved=False) is DENIED


@pytest.mark.parametrize(
    ("facts", "reason"),
    [(NOTHING, None), (FACTORY, None), (spoilt(FACTORY, user__held=True), "credential_held")],
)
def test_a_held_credential_makes_wait(facts: Facts, reason: str | None) -> None:
    assert refuse_held(facts) == (Denied(reason=reason) if reason else None)


@pytest.mark.parametrize("somebody_proved", [False, True])
@pytest.mark.parametrize("proved", [False, True])
def test_whoever_has_the_key_goes_before_whoever_has_not(somebody_proved: bool, proved: bool) -> None:
    waits = somebody_proved and not proved
    found = refuse_unproved(spoilt(FACTORY, key_proved=somebody_proved), key_proved=proved)
    assert found == (Denied(reason="key_proved_by_another") if waits else None)


@pytest.mark.parametrize("facts", [FACTORY, MANAGED])
def test_a_login_that_writes_nothing_is_decided_the_same_again(facts: Facts) -> None:
    assert repeats(facts, PRESENT)


@pytest.mark.parametrize(
    ("facts", "decision"),
    [
        (NOTHING, PRESENT),
        (NOTHING, DENIED),
        (FACTORY, DENIED),
        (FIRST_LOGIN, Present(grants=(), account_id=3, changes=True)),
        (spoilt(FACTORY, key_proved=True), PRESENT),
        (spoilt(FACTORY, user__held=True), PRESENT),
        (spoilt(FACTORY, user__previous_password_bcrypt="$2b$04$old"), PRESENT),
        (spoilt(FACTORY, claim=Claim(held=False)), PRESENT),
    ],
)
def test_what_time_or_a_write_could_change_is_looked_at_anew(facts: Facts, decision: Present | Denied) -> None:
    assert repeats(facts, decision) is False
