"""What comes in, as typed documents, in the words of the product page. Unknown fields are refused by name."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from service.core.credentials import OVERLAP
from service.core.pages import MOST_ROWS, ROWS
from service.operations.explain import MOST_ROWS as MOST_EXPLAINED

# Postgres stores no NUL.
Text = Annotated[str, Meta(max_length=4096, pattern="^[^\\0]*$")]
Moment = Annotated[datetime.datetime, Meta(tz=True)]
# That it has a time zone is a rule of requests and releases, said with their other problems.
AnyMoment = datetime.datetime
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
# As a file has it: Kura's XML, or JSON.
Configuration = Annotated[str, Meta(max_length=1024 * 1024)]


class Strict(Struct, kw_only=True, forbid_unknown_fields=True):
    """A document that says nothing else."""


class ListQuery(Strict):
    """Every list's filters; those that do not concern it are refused by the list itself."""

    client_id: list[Text] = []
    status: list[Text] = []
    kind: list[Text] = []
    text: Text | None = None
    since: Moment | None = None
    until: Moment | None = None
    sort: Text | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = ROWS
    after: Text | None = None


class ExplainQuery(Strict):
    """A part of the timeline: `since` is included, `until` is not; the newest `limit` rows of it."""

    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_EXPLAINED)] = MOST_EXPLAINED


class RequestsQuery(ListQuery):
    """`whole`: each with its configuration and applications; pages are shorter then."""

    whole: bool = False


class FindQuery(Strict):
    """What the account has of the client id: request, device, client (device or connection) or claim (a holder)."""

    of: Text = "request"


class PreviewQuery(Strict):
    """`diff`: another client id, of the same account, or of `diff_account`."""

    wire: Text = "json"
    diff: Text | None = None
    diff_account: Text | None = None


class ReleasesQuery(Strict):
    """Of one client id."""

    client_id: Text | None = None


class VerifyQuery(Strict):
    """One client id's chains, or all of the account's."""

    client_id: Text | None = None


Number = Annotated[int, Meta(ge=-1, le=2**63 - 1)]


class CheckpointQuery(Strict):
    """The lines after this one."""

    account_id: Number = -1
    request_id: Number = -1


class CheckpointLine(Strict):
    """A chain's end as it was once; `head` in hex."""

    account_id: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    request_id: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    count: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    head: Annotated[str, Meta(max_length=64)]


class CheckpointLines(Strict):
    """Lines of a checkpoint's file; only an account's, or a client id's, are looked at."""

    lines: Annotated[list[CheckpointLine], Meta(max_length=1000)]
    account: Text | None = None
    client_id: Text | None = None


class Dropped(Strict):
    """The first month to keep, like 2030-01."""

    before: Annotated[str, Meta(max_length=16)]


# Packages that a device installs, in order. What is wrong with them is said with the other problems of a request.
Applications = Annotated[
    list[dict[str, Any]],
    Meta(
        extra_json_schema={
            "items": {
                "type": "object",
                "properties": {
                    **{name: {"type": "string"} for name in ("name", "version", "url", "sha256")},
                    "size": {"type": "integer", "description": "in bytes"},
                },
                "required": ["name", "version", "url", "sha256", "size"],
                "additionalProperties": False,
            }
        }
    ),
]


class NewAccount(Strict):
    """An account; `brokers` serve it, by default the only account broker."""

    name: Text
    brokers: list[Text] = []
    device_connection_coupling: Text = "STRICT"


class AccountChanges(Strict):
    """What is not given stays."""

    device_connection_coupling: Text | None = None
    mandatory_provisioning: bool | None = None


class NewRequestBody(Strict):
    """A provision request (the page's fields); `generate_activation_key` null: only where the credential is shared."""

    client_id: Text
    provision_username: Text
    provision_password: Text
    generate_activation_key: bool | None = None
    provision_endpoint: Text | None = None
    activates_on: AnyMoment | None = None
    expires_on: AnyMoment | None = None
    reserve_user: bool = True
    device_connection_coupling: Text = "INHERITED"
    additional_device_configuration: dict[str, dict[str, Any]] | Configuration = {}
    applications: Applications = []
    maximum_attempts: int = 5
    start_on_birth: bool = False
    enabled: bool = True


class RequestChanges(Strict):
    """What is not given stays; a configuration, or a list of applications, replaces the one before as a whole."""

    new_activation_key: bool = False
    remove_activation_key: bool = False
    provision_endpoint: Text | UnsetType = UNSET
    activates_on: AnyMoment | UnsetType = UNSET
    expires_on: AnyMoment | UnsetType | None = UNSET
    reserve_user: bool | UnsetType = UNSET
    device_connection_coupling: Text | UnsetType = UNSET
    additional_device_configuration: dict[str, dict[str, Any]] | Configuration | UnsetType = UNSET
    applications: Applications | UnsetType = UNSET
    maximum_attempts: int | UnsetType = UNSET
    start_on_birth: bool | UnsetType = UNSET


class NewRelease(Strict):
    """To which account, until when (30 days unless said)."""

    to: Text
    until: AnyMoment | None = None


class ConnectionChangesBody(Strict):
    """What is not given stays; `reserved_user` null: nobody."""

    coupling: Text | UnsetType = UNSET
    reserved_user: Text | UnsetType | None = UNSET
    allow_user_change: bool | UnsetType = UNSET


class NewUser(Strict):
    """A person."""

    name: Text
    permissions: list[Text] = msgspec.field(default_factory=lambda: ["broker:connect"])


class Permissions(Strict):
    """These and no others."""

    permissions: list[Text]


class Rotation(Strict):
    """Another password (null: generated), and for how long the one before is good beside it."""

    provision_password: Text | None = None
    overlap_seconds: Annotated[int, Meta(ge=0, le=366 * 86400)] = int(OVERLAP.total_seconds())


class RotationEnd(Strict):
    """`even_so`: also where devices that are to be provisioned still come with the old password."""

    even_so: bool = False


class WatchChanges(Strict):
    """From how many in two hours a leak is suspected (0: never), and whether that holds the credential."""

    unknown_client_ids: Count | None = None
    wrong_keys: Count | None = None
    addresses: Count | None = None
    hold: bool | None = None


class NewToken(Strict):
    """A token, good for so many days."""

    name: Text
    role: Text
    days: Count = 90


class NewPlatformToken(Strict):
    """A platform administrator's token, good for so many days."""

    name: Text
    days: Count = 90


class NewBroker(Strict):
    """A broker; `ca`: PEM that devices are told to trust there."""

    name: Text
    role: Text
    endpoints: list[Text] = []
    accounts: list[Text] = []
    ca: Annotated[str, Meta(max_length=65_536)] | None = None


class BrokerChanges(Strict):
    """One at a time; `ca` null: none."""

    endpoints: list[Text] | UnsetType = UNSET
    ca: Annotated[str, Meta(max_length=65536)] | UnsetType | None = UNSET


class Served(Strict):
    """An account."""

    account: Text


__all__ = [
    name for name, value in list(globals().items()) if isinstance(value, type) and issubclass(value, msgspec.Struct)
]


class JournalWord(Strict):
    """A line of the journal of who may come in (`PROVISION_ACCESS_JOURNAL`)."""

    at: Moment
    id: int
    kind: Literal["account", "broker", "credential", "device", "request", "service", "token", "user"]
    name: Text
    state: Literal["enabled", "disabled", "deleted"]
    account: Text | None = None
    made: Moment | None = None
    version: int | None = None
    client_id: Text | None = None


class Journal(Strict):
    """Its words. `since`: when the database was restored to; None: since hooks were seen last before the restore."""

    words: Annotated[list[JournalWord], Meta(max_length=5000)] = []
    since: Moment | None = None
