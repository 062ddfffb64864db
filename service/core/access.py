"""
Who of the administrators may do what: roles and operations, in one table (docs/access.md shows it).

The page separates who configures a device, who installs it and who runs the account; each sees what the work needs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from service.core.verdicts import Denied


class Role(enum.StrEnum):
    """What a token speaks as. All but the first speak for one account."""

    PLATFORM_ADMINISTRATOR = "platform_administrator"
    ACCOUNT_ADMINISTRATOR = "account_administrator"
    DEVICE_MANAGER = "device_manager"
    DEPLOYMENT_OPERATOR = "deployment_operator"
    AUDITOR = "auditor"


_PLATFORM = frozenset({Role.PLATFORM_ADMINISTRATOR})
_ACCOUNT = _PLATFORM | {Role.ACCOUNT_ADMINISTRATOR}
_MANAGE = _ACCOUNT | {Role.DEVICE_MANAGER}
_FOLLOW = _MANAGE | {Role.DEPLOYMENT_OPERATOR}
_AUDIT = _ACCOUNT | {Role.AUDITOR}
_EVERYBODY = frozenset(Role)

# Operation: the roles that may. Each is a route of the API, by its name.
OPERATIONS: dict[str, frozenset[Role]] = {
    "whoami": _EVERYBODY,
    "find_account": _PLATFORM,
    "list_accounts": _PLATFORM,
    "create_account": _PLATFORM,
    "show_account": _MANAGE,
    "change_account": _ACCOUNT,
    "enable_account": _PLATFORM,
    "disable_account": _PLATFORM,
    "list_requests": _FOLLOW,
    "create_request": _MANAGE,
    "show_request": _FOLLOW,
    "change_request": _MANAGE,
    "enable_request": _MANAGE,
    "disable_request": _MANAGE,
    "stop_request": _MANAGE,
    "reopen_request": _MANAGE,
    "delete_request": _MANAGE,
    "preview_request": _MANAGE,
    "check_import_rows": _MANAGE,
    "write_import_rows": _MANAGE,
    "explain": _FOLLOW,
    "explain_correlation_id": _FOLLOW,
    "list_runs": _FOLLOW,
    "list_all_requests": _PLATFORM,
    "explain_anywhere": _PLATFORM,
    "explain_correlation_id_anywhere": _PLATFORM,
    "list_devices": _MANAGE,
    "list_all_devices": _PLATFORM,
    "show_device": _MANAGE,
    "enable_device": _ACCOUNT,
    "disable_device": _ACCOUNT,
    "delete_device": _ACCOUNT,
    "release_device": _ACCOUNT,
    "cancel_release": _ACCOUNT,
    "list_releases": _MANAGE,
    "list_all_releases": _PLATFORM,
    "show_connection": _MANAGE,
    "change_connection": _ACCOUNT,
    "delete_connection": _ACCOUNT,
    "list_users": _ACCOUNT,
    "list_all_users": _PLATFORM,
    "create_user": _ACCOUNT,
    "grant_user": _ACCOUNT,
    "enable_user": _ACCOUNT,
    "disable_user": _ACCOUNT,
    "delete_user": _ACCOUNT,
    "list_credentials": _MANAGE,
    "show_credential": _MANAGE,
    "rotate_credential": _ACCOUNT,
    "finish_credential_rotation": _ACCOUNT,
    "hold_credential": _ACCOUNT,
    "lift_credential": _ACCOUNT,
    "watch_credential": _ACCOUNT,
    "list_tokens": _ACCOUNT,
    "create_token": _ACCOUNT,
    "revoke_token": _ACCOUNT,
    "list_events": _AUDIT,
    "verify_events": _AUDIT,
    "list_all_events": _PLATFORM,
    "verify_all_events": _PLATFORM,
    "fit_checkpoint_lines": _PLATFORM,
    "checkpoint_events": _PLATFORM,
    "list_checkpoint_lines": _PLATFORM,
    "drop_events": _PLATFORM,
    "list_platform_tokens": _PLATFORM,
    "create_platform_token": _PLATFORM,
    "revoke_platform_token": _PLATFORM,
    "list_brokers": _PLATFORM,
    "create_broker": _PLATFORM,
    "change_broker": _PLATFORM,
    "serve_account": _PLATFORM,
    "unserve_account": _PLATFORM,
    "begin_broker_rotation": _PLATFORM,
    "finish_broker_rotation": _PLATFORM,
    "set_responder_password": _PLATFORM,
    "show_recovery": _PLATFORM,
    "accept_recovery": _PLATFORM,
    "report_recovery": _PLATFORM,
    "revoke_again": _PLATFORM,
    "show_issuing": _PLATFORM,
    "stop_issuing": _PLATFORM,
    "start_issuing": _PLATFORM,
}

# Whoever has one of these sees whether and when a device was provisioned, and why not; never what it is given.
REDUCED = frozenset({Role.DEPLOYMENT_OPERATOR})


@dataclass(frozen=True, kw_only=True)
class Permitted:
    """The operation may be done; `reduced`: with what is shown cut to what the role may see."""

    reduced: bool


def may(role: Role, operation: str) -> Permitted | Denied:
    """Whether a role may do this. What is not in the table nobody may."""
    if role in OPERATIONS.get(operation, frozenset()):
        return Permitted(reduced=role in REDUCED)
    return Denied(reason="role_may_not")


def is_own_account(role: Role, own: str | None, account: str) -> bool:
    """Whether a token of the account `own` (None: of the platform) may touch this account at all."""
    return role is Role.PLATFORM_ADMINISTRATOR if own is None else own == account
