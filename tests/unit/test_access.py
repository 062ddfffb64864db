"""Roles: what each may do, and whose account it may touch."""

from __future__ import annotations

import pytest

from service.core.access import OPERATIONS, Permitted, Role, is_own_account, may
from service.core.verdicts import Denied

DENIED = Denied(reason="role_may_not")

# Who may what, written down a second time: a slip in the table lets somebody in.
EVERYBODY = {"whoami"}
AUDITOR = EVERYBODY | {"list_events", "verify_events"}
OPERATOR = EVERYBODY | {"explain", "explain_correlation_id", "list_requests", "list_runs", "show_request"}
MANAGER = OPERATOR | {
    "change_request", "check_import_rows", "create_request", "delete_request", "disable_request", "enable_request",
    "list_credentials", "list_devices", "list_releases", "preview_request", "reopen_request", "show_account",
    "show_connection", "show_credential", "show_device", "stop_request", "write_import_rows",
}  # fmt: skip
ADMINISTRATOR = MANAGER | AUDITOR | {
    "cancel_release", "change_account", "change_connection", "create_token", "create_user", "delete_connection",
    "delete_device", "delete_user", "disable_device", "disable_user", "enable_device", "enable_user",
    "finish_credential_rotation", "grant_user", "hold_credential", "lift_credential", "list_tokens", "list_users",
    "release_device", "revoke_token", "rotate_credential", "watch_credential",
}  # fmt: skip


@pytest.mark.parametrize("role", Role)
def test_a_role_may_what_its_row_of_the_table_says(role: Role) -> None:
    """Those who install devices see no more of a request than how far it is."""
    permitted = Permitted(reduced=role is Role.DEPLOYMENT_OPERATOR)
    for operation, roles in OPERATIONS.items():
        assert may(role, operation) == (permitted if role in roles else DENIED), operation


@pytest.mark.parametrize(
    ("role", "operations"),
    [
        (Role.AUDITOR, AUDITOR),
        (Role.DEPLOYMENT_OPERATOR, OPERATOR),
        (Role.DEVICE_MANAGER, MANAGER),
        (Role.ACCOUNT_ADMINISTRATOR, ADMINISTRATOR),
        (Role.PLATFORM_ADMINISTRATOR, set(OPERATIONS)),
    ],
)
def test_no_role_may_more_than_its_work_needs(role: Role, operations: set[str]) -> None:
    assert {operation for operation in OPERATIONS if may(role, operation)} == operations


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
