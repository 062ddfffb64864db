"""
A gateway's snapshot as Kura writes one: 36 components, every type, arrays, descriptions, the device's own encryption.

Made up, not taken from a device. Written by hand here and not by our own rendering, which is compared with it.
"""

from __future__ import annotations

import base64
import itertools
from xml.sax.saxutils import escape, quoteattr

from service.core.device_config import TRANSPORT

Parameter = tuple[str, str, bool, list[str]]
DATA_SERVICE = "org.eclipse.kura.data.DataService"
CANARY = "snapshot-canary"

COMPONENTS: dict[str, list[Parameter]] = {
    TRANSPORT: [
        ("broker-url", "String", False, ["mqtt://old.example:1883"]),
        ("topic.context.account-name", "String", False, ["old-account"]),
        ("client-id", "String", False, ["old-client"]),
        ("username", "String", False, ["old-user"]),
        ("keep-alive", "Integer", False, ["30"]),
        ("clean-session", "Boolean", False, ["true"]),
        ("protocol-version", "Integer", False, ["4"]),
        ("lwt.topic", "String", False, ["$EDC/#account-name/#client-id/MQTT/LWT"]),
        ("in-flight.persistence", "String", False, ["memory"]),
    ],
    DATA_SERVICE: [
        ("connect.auto-on-startup", "Boolean", False, ["false"]),
        ("connect.retry-interval", "Integer", False, ["60"]),
        ("store.capacity", "Integer", False, ["10000"]),
    ],
    "org.eclipse.kura.clock.ClockService": [
        ("enabled", "Boolean", False, ["true"]),
        ("clock.ntp.host", "String", False, ["0.pool.ntp.org"]),
        ("clock.ntp.refresh-interval", "Long", False, ["9223372036854775807"]),
        ("clock.ntp.port", "Short", False, ["123"]),
    ],
    "org.eclipse.kura.watchdog.WatchdogService": [
        ("pingInterval", "Integer", False, ["10000"]),
        ("factor", "Float", False, ["0.1"]),
        ("limits", "Double", True, ["1.0E10", "-0.5", "4.9E-324"]),
        ("levels", "Byte", True, ["-128", "127"]),
        ("separator", "Char", False, [";"]),
        ("marks", "Char", True, ["<", "é"]),
        ("flags", "Boolean", True, ["true", "false"]),
        ("ids", "Long", True, ["1", "-9223372036854775808"]),
        ("ratio", "Float", True, ["3.4028235E38"]),
        ("ports", "Short", True, ["1", "2"]),
        ("counts", "Integer", True, ["7"]),
        ("nothing", "String", True, []),
    ],
    "org.eclipse.kura.net.admin.NetworkConfigurationService": [
        ("net.interfaces", "String", False, ["eth0,wlan0,lo"]),
        ("net.interface.wlan0.config.wifi.master.ssid", "String", False, ['gateway "<&>" 5 GHz']),
        ("net.interface.wlan0.config.wifi.master.passphrase", "Password", False, [CANARY + " & <pass>"]),
        ("net.interface.eth0.config.dnsServers", "String", False, [""]),
    ],
    "org.eclipse.kura.net.admin.FirewallConfigurationService": [
        ("firewall.open.ports", "String", False, ["22,tcp,0.0.0.0/0,,,,,#;443,tcp,0.0.0.0/0,,,,,#"]),
    ],
    "org.eclipse.kura.internal.rest.provider.RestService": [
        ("allowed.ports", "Integer", True, ["443", "4443"]),
        ("session.secrets", "Password", True, [CANARY + "-1", CANARY + "-2"]),
    ],
    "script filter": [("script", "String", False, ["var a = 1;\n\tif (a < 2 && a > 0) {\n\t}\n"])],
    'it\'s "quoted" & <odd>': [("näme.%+", "String", True, ["", " spaces ", "]]>", "\u2028😀"])],
}
for number in range(27):
    COMPONENTS[f"org.eclipse.kura.driver.modbus-{number:02}"] = [
        ("service.factoryPid", "String", False, ["org.eclipse.kura.driver.modbus.ModbusDriver"]),
        ("kura.service.pid", "String", False, [f"modbus-{number:02}"]),
        ("port", "Integer", False, [str(502 + number)]),
        ("timeout", "Long", False, [str(number * 1000)]),
        ("enabled", "Boolean", False, [str(number % 2 == 0).lower()]),
        ("scale", "Double", False, [repr(number / 7)]),
    ]


def write(*, passwords_in_the_clear: bool = True) -> bytes:
    """The snapshot; Kura itself leaves its passwords encrypted. That of the old broker always is."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines += ['<esf:configurations xmlns:esf="http://eurotech.com/esf/2.0"']
    lines += ['                    xmlns:ocd="http://www.osgi.org/xmlns/metatype/v1.2.0">']
    for pid, parameters in COMPONENTS.items():
        lines.append(f"    <esf:configuration pid={quoteattr(pid)}>")
        if pid == DATA_SERVICE:
            lines.append(
                '      <ocd:OCD id="x" name="DataService"><ocd:AD id="a" type="Integer" default="9"/></ocd:OCD>'
            )
        lines.append("        <esf:properties>")
        if pid == TRANSPORT:
            lines += _property(("password", "Password", False, ["old"]), encrypted=True)
        for parameter in parameters:
            lines += _property(parameter, encrypted=parameter[1] == "Password" and not passwords_in_the_clear)
        lines += ["        </esf:properties>", "    </esf:configuration>"]
    return "\n".join([*lines, "</esf:configurations>\n"]).encode()


def _property(parameter: Parameter, *, encrypted: bool) -> list[str]:
    name, type_, array, values = parameter
    said = [f'array="{str(array).lower()}"', f'encrypted="{str(encrypted).lower()}"']
    said += [f"name={quoteattr(name)}", f'type="{type_}"']
    texts = [base64.b64encode(v.encode()).decode() if encrypted else v for v in values]
    inside = [f"                <esf:value>{escape(text)}</esf:value>" for text in texts]
    return list(
        itertools.chain([f"            <esf:property {' '.join(said)}>"], inside, ["            </esf:property>"])
    )
