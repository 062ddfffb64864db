"""Roles: what each may do, and whose account it may touch."""

from __future__ import annotations

import pytest

from service.core.access import OPERATIONS, Permitted, Role, is_own_account, may
from service.core.verdicts import Denied

DENIED = Denied(reason="role_may_not")


@pytest.mark.parametrize("role", Role)
def test_a_role_may_what_its_row_of_the_table_says(role: Role) -> None:
    """Those who install devices see no more of a request than how far it is."""
    permitted = Permitted(reduced=role is Role.DEPLOYMENT_OPERATOR)
    for operation, roles in OPERATIONS.items():
        assert may(role, operation) == (permitted if role in roles else DENIED), operation


@pytest.mark.parametrize("role", Role)
def test_what_is_in_no_table_nobody_may(role: Role) -> None:
    assert may(role, "open_every_door") == DENIED
    assert not may(role, "open_every_door")


@pytest.mark.parametrize(
    ("role", "own", "is_own"),
    [
        (Role.PLATFORM_ADMINISTRATOR, None, True),
        (Role.ACCOUNT_ADMINISTRATOR, None, False),
        (Role.PLATFORM_ADMINISTRATOR, "other", False),
        (Role.ACCOUNT_ADMINISTRATOR, "acme", True),
        (Role.AUDITOR, "other", False),
        (Role.AUDITOR, "Acme", False),
    ],
)
def test_a_token_of_an_account_touches_no_other(role: Role, own: str | None, is_own: bool) -> None:
    assert is_own_account(role, own, "acme") is is_own
