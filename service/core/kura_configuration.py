"""
The complete configuration that a Kura gateway gets: the additional one, and last what provisioning generates (4.3).
"""

from __future__ import annotations

from service.core.device_config import TRANSPORT, Configuration, Value, is_overridden, without_overridden

DATA_SERVICE = "org.eclipse.kura.data.DataService"
# Off by default, and then Kura tries the new broker once.
AUTO_CONNECT = "connect.auto-on-startup"


def is_generated_for_kura(component: str, parameter: str) -> bool:
    """Whether a Kura gateway gets this parameter from provisioning, whatever else is said."""
    return is_overridden(component, parameter) or _is_auto_connect(component, parameter)


def _is_auto_connect(component: str, parameter: str) -> bool:
    return component.strip() == DATA_SERVICE and parameter.strip().casefold() == AUTO_CONNECT


def merge_for_kura(
    configuration: Configuration, *, endpoint: str, account: str, client_id: str, username: str, password: str
) -> Configuration:
    """
    The additional configuration with the generated part, which wins and comes last.

    Components and parameters are in the order of their names, so that the same configuration is the same bytes however
    it was given; but the two that cut the connection are at the end, and in each the generated parameters.
    """
    kept = {
        component: {
            name: value for name, value in sorted(parameters.items()) if not is_generated_for_kura(component, name)
        }
        for component, parameters in sorted(without_overridden(configuration).items())
    }
    data_service, transport = kept.pop(DATA_SERVICE, {}), kept.pop(TRANSPORT, {})
    return {
        **kept,
        DATA_SERVICE: {**data_service, AUTO_CONNECT: Value(type="Boolean", clear=True)},
        TRANSPORT: {
            **transport,
            "broker-url": Value(type="String", clear=endpoint),
            "topic.context.account-name": Value(type="String", clear=account),
            "client-id": Value(type="String", clear=client_id),
            "username": Value(type="String", clear=username),
            "password": Value(type="Password", clear=password),
        },
    }
