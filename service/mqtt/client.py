"""
A small MQTT client over gmqtt: connect once, subscribe, publish, hear when it ends. Reconnecting is the caller's.

What we need of the library is in `tests/integration/test_mqtt_client.py`: a message is acknowledged only after its
handler has returned, a refused CONNECT and a closed one can be told apart, a kept session gives messages again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

from service import log
from service.core.endpoints import address

_log = log.get("mqtt")

OnMessage = Callable[[str, bytes], Awaitable[None]]
VERSIONS = {"3.1.1": MQTTv311, "5": MQTTv50}
NOT_AUTHORISED = frozenset({4, 5, 134, 135})


class Refused(Exception):
    """The broker refused the CONNECT; `code` is its return or reason code."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"the broker refused the connection (code {code})")

    @property
    def not_authorised(self) -> bool:
        """The credentials, not the broker's mood."""
        return self.code in NOT_AUTHORISED


class Unreachable(Exception):
    """No answer to the CONNECT: not reached, not trusted, or closed without a word."""


class NotUsable(Unreachable):
    """The other side is not trusted, or not spoken to like this: to try again in a moment is of no use."""


class SubscribeRefused(Exception):
    """The broker refused a subscription."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """Whom to connect as, and where. `session_expiry` in seconds keeps the session (MQTT 5); `clean` begins anew."""

    url: str
    client_id: str
    username: str
    password: str = field(repr=False)
    version: str = "5"
    clean: bool = True
    session_expiry: int = 0
    receive_maximum: int = 32
    # Seconds. A broker that no longer makes sense is left after two of them and a half: devices wait meanwhile.
    keepalive: int = 10
    # Of an mqtts:// broker these CAs alone are trusted: `ca` (PEM), or those of the file; the system's with neither.
    ca: str = ""
    ca_file: str = ""


class _Unacknowledged(PersistentStorage):  # type: ignore[misc]
    """What was published and not acknowledged yet; `acknowledged` tells when there is room again."""

    def __init__(self) -> None:
        super().__init__()
        self.acknowledged = asyncio.Event()

    def remove_message_by_mid(self, mid: int) -> None:
        super().remove_message_by_mid(mid)
        self.acknowledged.set()


def trust(ca: str = "", ca_file: str = "") -> ssl.SSLContext:
    """How an mqtts:// broker is verified, its name always. Raises NotUsable where the CA cannot be read."""
    try:
        context = ssl.create_default_context(cafile=None if ca else ca_file or None, cadata=ca or None)
    except (ssl.SSLError, ValueError) as error:
        raise NotUsable("the CA to trust cannot be read: it must be certificates in PEM") from error
    except OSError as error:
        raise NotUsable(f"the CA file cannot be read: {error.strerror}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


# OpenSSL's X509_V_ERR_*.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64


def _why_not(error: ssl.SSLCertVerificationError, host: str) -> str:
    """Which of the three it is that people have to mend: the name, the time, the CA."""
    if error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        return f"it is not for {host}"
    if error.verify_code == _EXPIRED:
        return "it, or its CA's, has expired"
    if error.verify_code == _NOT_YET_VALID:
        return "it, or its CA's, is not valid yet (or this clock is behind)"
    return f"no CA that is trusted here has signed it ({error.verify_message})"


async def first_of(*waits: Awaitable[object]) -> None:
    """Wait for one of them."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


class Connection:
    """One MQTT connection, from CONNACK to its end."""

    def __init__(self, client: gmqtt.Client, storage: _Unacknowledged) -> None:
        self._client = client
        self._storage = storage
        self._subscriptions: dict[int, asyncio.Future[tuple[int, ...]]] = {}
        self.session_present = False
        self.closed = asyncio.Event()

    @classmethod
    async def open(cls, login: Login, on_message: OnMessage | None = None, *, timeout: float = 10.0) -> Connection:
        """
        Connect. `on_message(topic, payload)`: a QoS 1 message is acknowledged when it returns, and not if it raises.

        Raises Refused and Unreachable.
        """
        storage = _Unacknowledged()
        properties: dict[str, Any] = {}
        if login.version == "5":
            properties = {
                "session_expiry_interval": login.session_expiry,
                "receive_maximum": login.receive_maximum,
            }
        client = gmqtt.Client(
            login.client_id,
            clean_session=login.clean,
            optimistic_acknowledgement=False,
            persistent_storage=storage,
            **properties,
        )
        # The library would reconnect by itself; fewer than no retries means never.
        client.set_config({"reconnect_retries": -2})
        client.set_auth_credentials(login.username, login.password)
        connection = cls(client, storage)
        connection._listen(on_message)
        try:
            await connection._connect(login, timeout)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _listen(self, on_message: OnMessage | None) -> None:
        def connected(_client: Any, session_present: int, _code: int, _properties: Any) -> None:
            self.session_present = bool(session_present)

        def disconnected(_client: Any, _packet: Any, _error: Any = None) -> None:
            self.closed.set()

        def subscribed(_client: Any, mid: int, codes: tuple[int, ...], _properties: Any) -> None:
            waiting = self._subscriptions.pop(mid, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(codes)

        async def received(_client: Any, topic: str | bytes, payload: bytes, _qos: int, _properties: Any) -> int:
            try:
                if on_message is not None and isinstance(topic, str):
                    await on_message(topic, payload)
            except Exception:
                # Not to be acknowledged: on a closed connection nothing is sent, and the next one gets it again.
                await self.close()
            return 0

        self._client.on_connect = connected
        self._client.on_disconnect = disconnected
        self._client.on_subscribe = subscribed
        self._client.on_message = received

    async def _connect(self, login: Login, timeout: float) -> None:
        scheme, host, port = address(login.url)
        if scheme not in ("mqtt", "mqtts"):
            raise NotUsable(f"{scheme}:// is not spoken by this client, only mqtt:// and mqtts:// are")
        context = trust(login.ca, login.ca_file) if scheme == "mqtts" else False
        connecting = asyncio.ensure_future(
            self._client.connect(
                host, port, ssl=context, keepalive=login.keepalive, version=VERSIONS[login.version], raise_exc=True
            )
        )
        closing = asyncio.ensure_future(self.closed.wait())
        try:
            await asyncio.wait({connecting, closing}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise Unreachable("closed without an answer" if closing.done() else "no answer in time")
            connecting.result()
        except MQTTConnectError as error:
            raise Refused(error._code) from error
        except ssl.SSLCertVerificationError as error:
            raise NotUsable(f"the broker's certificate is not trusted: {_why_not(error, host)}") from error
        except ssl.SSLError as error:
            why = (error.reason or "it failed").replace("_", " ").lower()
            raise Unreachable(f"no TLS with the broker: {why}") from error
        except OSError as error:
            raise Unreachable(error.strerror or str(error)) from error
        finally:
            for task in (connecting, closing):
                task.cancel()
            await asyncio.gather(connecting, closing, return_exceptions=True)

    async def subscribe(self, *filters: str, timeout: float = 10.0) -> None:
        """Subscribe at QoS 1. Raises SubscribeRefused, and Unreachable where no answer comes."""
        mid = self._client.subscribe([gmqtt.Subscription(text, qos=1) for text in filters])
        waiting: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._subscriptions[mid] = waiting
        closing = asyncio.ensure_future(self.closed.wait())
        either: set[asyncio.Future[Any]] = {waiting, closing}
        try:
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise Unreachable("no answer to a subscription")
            refused = [text for text, code in zip(filters, waiting.result(), strict=True) if code >= 128]
        finally:
            closing.cancel()
            self._subscriptions.pop(mid, None)
        if refused:
            raise SubscribeRefused(", ".join(refused))

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, expiry: int | None = None) -> None:
        """
        Send a message; `expiry` in seconds lets the broker drop it later (MQTT 5).

        Waits while the broker lets us have no more unacknowledged messages; `drained` waits for all of them to be
        acknowledged. Raises Unreachable where the connection ends before the message could be sent.
        """
        properties = {"message_expiry_interval": expiry} if expiry is not None else {}
        while not self.closed.is_set():
            self._storage.acknowledged.clear()
            try:
                self._client.publish(topic, payload, qos=qos, **properties)
            except OverflowError:  # the broker's receive maximum is reached
                await first_of(self._storage.acknowledged.wait(), self.closed.wait())
            else:
                return
        raise Unreachable("the connection ended")

    async def drained(self, timeout: float = 10.0) -> bool:
        """Whether the broker has acknowledged everything that was published, within the time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._storage.wait_empty(), timeout)
        return bool(self._storage.is_empty)

    async def close(self) -> None:
        """Disconnect; never raises."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._client.disconnect(), 2.0)
        self.closed.set()
