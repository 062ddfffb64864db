"""How long a request's configuration message is on Kura's wire, judged on the day of creation (design 4)."""

from __future__ import annotations

import zlib

from service.core import kura_xml
from service.core.device_config import Configuration, Value, map_passwords
from service.core.kura_configuration import merge_for_kura

# Above this a payload is gzipped, in bytes.
GZIP_ABOVE = 8 * 1024
# Payload and metrics around the XML, and what gzip makes of the generated password.
AROUND = 1024
# As long as what is generated.
_USERNAME, _PASSWORD = "d-" + "u" * 26, "p" * 43


def longest_configuration(*, endpoint: str, account: str, client_id: str, configuration: Configuration) -> int:
    """
    Bytes of the message as it is sent, gzipped where it is long.

    Nobody knows yet how well secrets compress, so Password values count in full: never less than what is sent.
    """

    def blank(_component: str, _parameter: str, value: Value) -> Value:
        return Value(type=value.type, clear="")

    def rendered(content: Configuration) -> bytes:
        merged = merge_for_kura(
            content,
            endpoint=endpoint,
            account=account,
            client_id=client_id,
            username=_USERNAME,
            password=_PASSWORD,
        )
        return kura_xml.render(merged)

    whole, without_secrets = rendered(configuration), rendered(map_passwords(configuration, blank))
    plain = len(whole) + AROUND
    if plain <= GZIP_ABOVE:
        return plain
    return len(zlib.compress(without_secrets)) + len(whole) - len(without_secrets) + AROUND
