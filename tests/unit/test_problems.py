"""Problems, and the exceptions that carry them; denials."""

from __future__ import annotations

import pytest

from service.core.asks import Refused
from service.core.messages import Malformed
from service.core.problems import InvalidInput, NotFound, NotPossible, Problem, raise_problems
from service.core.verdicts import Denied

ONE = Problem(field="client_id", rule="client_id", text="is wrong")
TWO = Problem(field="expires_on", rule="no_time_zone", text="must have a time zone")


def test_a_problem_reads_as_field_and_text() -> None:
    assert str(ONE) == "client_id: is wrong"


def test_no_problems_raise_nothing() -> None:
    raise_problems([])
    raise_problems(iter(()))


def test_all_problems_are_raised_at_once() -> None:
    with pytest.raises(InvalidInput) as raised:
        raise_problems(iter([ONE, TWO]))
    assert raised.value.problems == (ONE, TWO)
    assert str(raised.value) == "client_id: is wrong; expires_on: must have a time zone"


def test_not_found_and_not_possible_are_invalid_input_too() -> None:
    """One handler serves all of them; the rule tells them apart."""
    found: list[InvalidInput] = [
        NotFound("client_id", "there is none"),
        NotPossible("state", "running", "stop it first"),
    ]
    assert [error.problems[0].rule for error in found] == ["not_found", "running"]
    assert [str(error) for error in found] == ["client_id: there is none", "state: stop it first"]


@pytest.mark.parametrize(
    "refusal",
    [
        Denied(reason="no_grant"),
        Refused(code="refused", reason="abandoned"),
        Malformed("not_json"),
        Malformed("bad_seal", "id-1"),
    ],
)
def test_a_refusal_is_falsy(refusal: object) -> None:
    """A careless `if decide(...)` admits nobody."""
    assert not refusal
    assert bool(refusal) is False


def test_a_refused_ask_is_a_denial() -> None:
    assert isinstance(Refused(code="busy", reason="wrong_activation_key"), Denied)


def test_a_denial_cannot_be_turned_into_another() -> None:
    denied = Denied(reason="no_grant")
    with pytest.raises(AttributeError):
        denied.reason = "none"  # type: ignore[misc]
