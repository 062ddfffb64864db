"""
What a request's device would be sent, as people may see it: every secret is `***`, on either wire (design 4.1, 4.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.core import kura_xml
from service.core.device_config import TRANSPORT, Configuration, Value, map_passwords, render_json
from service.core.kura_configuration import is_generated_for_kura, merge_for_kura

HIDDEN = "***"
WIRES = ("json", "kura")

# Where a JSON device finds what the five parameters would say.
OVERRIDDEN_BY = {
    TRANSPORT: {
        "broker-url": "connection.endpoint",
        "topic.context.account-name": "connection.account",
        "client-id": "connection.client_id",
        "username": "connection.username",
        "password": "connection.password",
    }
}


def hide(configuration: Configuration) -> dict[str, dict[str, Value]]:
    """Every Password hidden. Whether it is an array is hidden with it."""
    return map_passwords(configuration, lambda _component, _name, value: Value(type=value.type, clear=HIDDEN))


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A request's answer. `configuration` is the additional one, its Passwords hidden."""

    account: str
    client_id: str
    endpoint: str
    wire: str
    configuration: Configuration
    applications: Sequence[Mapping[str, Any]]

    @property
    def connection(self) -> dict[str, str]:
        """Where the device will log in, and as whom."""
        secret = {"username": HIDDEN, "password": HIDDEN}
        return {"endpoint": self.endpoint, "account": self.account, "client_id": self.client_id, **secret}

    @property
    def merged(self) -> Configuration:
        """What is sent as configuration: for Kura with the generated part, which JSON devices get as `connection`."""
        if self.wire == "json":
            return self.configuration
        return merge_for_kura(self.configuration, **self.connection)

    @property
    def overridden(self) -> dict[str, dict[str, str]]:
        """The parameters that provisioning sets, and from what."""
        if self.wire == "json":
            return OVERRIDDEN_BY
        return {
            component: {name: "provisioning" for name in parameters if is_generated_for_kura(component, name)}
            for component, parameters in self.merged.items()
            if any(is_generated_for_kura(component, name) for name in parameters)
        }

    def to_json(self) -> dict[str, Any]:
        """As a JSON device is sent it, and what in it is overridden."""
        return {
            "connection": self.connection,
            "configuration": render_json(self.configuration),
            "applications": list(self.applications),
            "overridden": self.overridden,
        }

    def to_xml(self) -> bytes:
        """As a Kura gateway is sent it after the applications, what is overridden marked by comments."""
        marked = {component: frozenset(names) for component, names in self.overridden.items()}
        return kura_xml.render(self.merged, marked=marked)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One parameter, one part of the connection or one application; None where a side has none."""

    component: str
    parameter: str
    this: Any
    other: Any


def differences(this: Preview, other: Preview) -> tuple[list[Difference], list[tuple[str, str]]]:
    """
    What is not the same, by name; and what cannot be told, because both sides are secret.

    The username and password that each run generates are neither.
    """
    left, right = dict(_parts(this)), dict(_parts(other))
    differ, untold = [], []
    for name in sorted(left.keys() | right.keys()):
        here, there = left.get(name), right.get(name)
        if _is_hidden(here) and _is_hidden(there):
            untold.append(name)
        elif here != there:
            differ.append(Difference(component=name[0], parameter=name[1], this=here, other=there))
    return differ, untold


def _is_hidden(part: object) -> bool:
    return part == {"type": "Password", "value": HIDDEN}


def _parts(preview: Preview) -> Iterator[tuple[tuple[str, str], Any]]:
    if preview.wire == "json":
        yield from ((("connection", name), value) for name, value in preview.connection.items() if value != HIDDEN)
    for component, parameters in preview.merged.items():
        for name, value in parameters.items():
            if not (component == TRANSPORT and name in ("username", "password")):
                yield (component, name), value.to_document()
    for place, application in enumerate(preview.applications, 1):
        yield ("applications", str(place)), dict(application)
