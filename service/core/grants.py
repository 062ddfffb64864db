"""
What a client may do with which topics. One grant must cover a question whole; without one there is no access (D9).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from service.core import lifecycle, names, topics
from service.core.verdicts import Denied


class Access(enum.IntEnum):
    """What a broker asks for in `acc`. Any other number is denied by name."""

    READ = 1  # deliver a message on this topic to the client
    WRITE = 2  # accept a message from the client
    SUBSCRIBE = 4  # here the "topic" is a filter


READ_AND_SUBSCRIBE = frozenset({Access.READ, Access.SUBSCRIBE})
WRITE = frozenset({Access.WRITE})
READ_AND_WRITE = READ_AND_SUBSCRIBE | WRITE


@dataclass(frozen=True)
class Grant:
    """One topic filter with its accesses."""

    filter: str
    accesses: frozenset[Access]


@dataclass(frozen=True, kw_only=True)
class Granted:
    """The one grant that covers the question."""

    grant: Grant


def decide_acl(grants: Iterable[Grant], acc: int, topic: str) -> Granted | Denied:
    """Allow only what a single grant covers whole."""
    try:
        access = Access(acc)
    except ValueError:
        return Denied(reason="unknown_access")
    if access is Access.SUBSCRIBE:
        if not topics.is_filter(topic):
            return Denied(reason="malformed_topic")
        if topic.startswith("$share/"):
            return Denied(reason="shared_subscription")
    elif not topics.is_topic(topic):
        return Denied(reason="malformed_topic")
    for grant in grants:
        if access in grant.accesses and topics.covers(grant.filter, topic):
            return Granted(grant=grant)
    return Denied(reason="no_grant")


def provision_grants(client_id: str, provision_account: str = names.PROVISION_ACCOUNT) -> tuple[Grant, ...]:
    """
    A device on the provision broker: its own provisioning topics of both wires and nothing else (design 4.1, 4.2).

    The page: "devices connected to the provisioning broker have read and write permissions limited to the MQTT topics
    necessary for the provisioning process; no other message exchanges are allowed."
    """
    own, control = f"prov/v1/{client_id}", f"$EDC/{provision_account}"
    return (
        Grant(f"{own}/request", WRITE),
        Grant(f"{own}/status", WRITE),
        Grant(f"{own}/reply", READ_AND_SUBSCRIBE),
        Grant(f"{control}/{client_id}/#", READ_AND_SUBSCRIBE),
        Grant(f"{control}/{client_id}/MQTT/#", WRITE),
        # Its requester is its own: nobody can answer in another's name.
        Grant(f"{control}/~{client_id}/+/REPLY/#", WRITE),
        Grant(f"{control}/~{client_id}/+/NOTIFY/{client_id}/#", WRITE),
    )


def account_grants(
    account: str, client_id: str, permissions: Iterable[str], *, narrow_reply: bool = False
) -> tuple[Grant, ...]:
    """
    A device or a person on an account broker, by Kapua's permission table
    (eclipse-kapua/kapua: AclCreator.java). Without `broker:connect` nothing.

    Kapua lets everybody answer everybody. `narrow_reply`: only those who ask as `~{client_id}`, a name that no client
    can have, so that nobody forges the answer of another client.
    """
    held = frozenset(permissions)
    if "broker:connect" not in held:
        return ()
    control_own, control_all = f"$EDC/{account}/{client_id}/#", f"$EDC/{account}/#"
    data_own, data_all = f"{account}/{client_id}/#", f"{account}/#"
    grants = [Grant(control_all if "device:manage" in held else control_own, READ_AND_WRITE)]
    if "data:manage" in held:
        grants.append(Grant(data_all, READ_AND_WRITE))
    elif "data:view" in held:
        grants += [Grant(data_all, READ_AND_SUBSCRIBE), Grant(data_own, WRITE)]
    else:
        grants.append(Grant(data_own, READ_AND_WRITE))
    requester = f"~{client_id}" if narrow_reply else "+"
    grants += [
        Grant(f"$EDC/{account}/{requester}/+/REPLY/#", WRITE),
        Grant(f"$EDC/{account}/+/+/NOTIFY/{client_id}/#", WRITE),
    ]
    return tuple(grants)


def service_grants(
    username: str, provision_account: str = names.PROVISION_ACCOUNT, *, broker_role: str
) -> tuple[Grant, ...]:
    """
    Our own clients, outside the rules for names (D4). `~takeover` logs in to end a session and may do nothing.

    On account brokers `~responder` hears what devices say of their lives, and says nothing.
    """
    if username != names.RESPONDER:
        return ()
    if broker_role == "account":
        return tuple(Grant(filter_, READ_AND_SUBSCRIBE) for filter_ in lifecycle.subscriptions())
    control = f"$EDC/{provision_account}/+"
    return (
        Grant("prov/v1/+/request", READ_AND_SUBSCRIBE),
        Grant("prov/v1/+/status", READ_AND_SUBSCRIBE),
        Grant("prov/v1/+/reply", WRITE),
        Grant(f"{control}/MQTT/#", READ_AND_SUBSCRIBE),
        Grant(f"{control}/+/REPLY/#", READ_AND_SUBSCRIBE),
        Grant(f"{control}/+/NOTIFY/+/#", READ_AND_SUBSCRIBE),
        Grant(f"{control}/DEPLOY-V2/EXEC/download", WRITE),
        Grant(f"{control}/KEYS-V1/POST/keystores/entries/certificate", WRITE),
        Grant(f"{control}/CONF-V1/PUT/configurations", WRITE),
    )
