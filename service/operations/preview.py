"""A request's answer before it is given: what would be sent, how long it would be. Nothing is changed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.core import answers, device_config, kura_xml, preview
from service.core.device_config import Configuration, Value
from service.core.kura_configuration import merge_for_kura
from service.core.preview import Preview
from service.core.problems import NotFound
from service.db import queries
from service.operations import requests
from service.operations.administration import Administration

_REQUESTS = queries.load("provision_requests")

# Kura's body is sent as it is up to here, and gzipped above (design section 4).
GZIP_ABOVE = 8 * 1024
GENERATED = {"username": "d-" + "u" * 26, "password": "p" * 43}


@dataclass(frozen=True, kw_only=True)
class Previewed:
    """What would be sent, and in about how many bytes, where `limit` are allowed."""

    preview: Preview
    bytes: int
    limit: int


async def preview_request(admin: Administration, account_name: str | None, client_id: str, *, wire: str) -> Previewed:
    """What the device would be answered now. Raises NotFound."""
    account = await admin.account(account_name or await requests.find_account_of(admin, client_id))
    async with admin.account_transaction(account.id) as connection:
        row = await connection.fetchrow(_REQUESTS["list"], account.id, [client_id])
    if row is None:
        raise NotFound("client_id", f"there is no provision request for {client_id!r}")
    stored = device_config.from_document(json.loads(row["additional_device_configuration"]))
    # Only new requests are rid of what is overridden when they are stored.
    stored = device_config.without_overridden(stored)
    made = Preview(
        account=account.name,
        client_id=client_id,
        endpoint=row["provision_endpoint"],
        wire=wire,
        configuration=preview.hide(stored),
        applications=json.loads(row["applications"]),
    )
    size = _json_bytes(made, stored) if wire == "json" else _kura_bytes(made, stored)
    return Previewed(preview=made, bytes=size, limit=admin.limits.answer_bytes)


def _place(made: Preview) -> dict[str, str]:
    return {"endpoint": made.endpoint, "account": made.account, "client_id": made.client_id}


def _json_bytes(made: Preview, stored: Configuration) -> int:
    configuration = device_config.render_json(requests.stand_in_for_passwords(stored))
    return answers.longest_accepted(**_place(made), configuration=configuration, applications=made.applications)


def _kura_bytes(made: Preview, stored: Configuration) -> int:
    """Of the configuration: a sealed value stands for itself, longer than what it hides and as hard to compress."""
    opened = device_config.map_passwords(
        stored, lambda _component, _name, value: Value(type=value.type, clear=value.sealed or "")
    )
    xml = kura_xml.render(merge_for_kura(opened, **_place(made), **GENERATED))
    return len(xml) if len(xml) <= GZIP_ABOVE else len(gzip.compress(xml, mtime=0))


def as_document(previewed: Previewed) -> Mapping[str, Any]:
    """For programs."""
    made = previewed.preview
    return {
        "account": made.account,
        "client_id": made.client_id,
        "wire": made.wire,
        "bytes": previewed.bytes,
        "limit": previewed.limit,
        "answer": made.to_json() if made.wire == "json" else made.to_xml().decode(),
        "applications": list(made.applications),
        "overridden": made.overridden,
    }
