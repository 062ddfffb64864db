"""What a Kura gateway is configured with: what an administrator added, and the part that provisioning generates."""

from __future__ import annotations

from service.core.device_config import TRANSPORT, Configuration, Value, without_overridden

DATA_SERVICE = "org.eclipse.kura.data.DataService"
AUTO_CONNECT = "connect.auto-on-startup"


def merge_for_kura(
    configuration: Configuration, *, endpoint: str, account: str, client_id: str, username: str, password: str
) -> Configuration:
    """The generated part wins (design 4.3); without auto-connect Kura would try its new broker just once."""
    merged = without_overridden(configuration)
    merged[TRANSPORT] = {
        **merged.get(TRANSPORT, {}),
        "broker-url": Value(type="String", clear=endpoint),
        "topic.context.account-name": Value(type="String", clear=account),
        "client-id": Value(type="String", clear=client_id),
        "username": Value(type="String", clear=username),
        "password": Value(type="Password", clear=password),
    }
    merged[DATA_SERVICE] = {**merged.get(DATA_SERVICE, {}), AUTO_CONNECT: Value(type="Boolean", clear=True)}
    return {component: parameters for component, parameters in merged.items() if parameters}
