"""An MQTT client that sends exactly the bytes it is told to, for tests of brokers.

Libraries refuse to build the packets that matter most here: no username, a NUL in a password, bytes that are not
UTF-8. This one speaks MQTT 3.1.1 (`version=4`) and 5 and checks nothing.

    client = await Client.open(port, version=5)
    assert await client.connect("c1", username="u", password="p") == 0
    assert await client.publish("a/b", b"x", qos=1) == 0

Answers are reason codes; `None` always means that the broker closed the connection instead of answering.
Packets that arrive while another one is awaited are kept: nothing is lost, whatever the order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15

WAIT = 20.0
"""Seconds after which a test is given up. No test waits for this to pass."""

Text = str | bytes


def number(value: int) -> bytes:
    """A variable byte integer (MQTT 5, 1.5.5)."""
    encoded = b""
    while True:
        value, digit = divmod(value, 128)
        encoded += bytes([digit | (0x80 if value else 0)])
        if not value:
            return encoded


def field(value: Text) -> bytes:
    """A string or binary data behind its length in two bytes (1.5.4, 1.5.6)."""
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """A whole packet with its fixed header (2.1)."""
    return bytes([kind << 4 | flags]) + number(len(body)) + body


@dataclass(frozen=True)
class Will:
    """What the broker publishes when the connection ends without DISCONNECT."""

    topic: Text
    payload: Text = b""
    qos: int = 0
    retain: bool = False


def connect_packet(
    client_id: Text,
    *,
    username: Text | None = None,
    password: Text | None = None,
    version: int = 4,
    clean: bool = True,
    keepalive: int = 60,
    will: Will | None = None,
    properties: bytes = b"",
) -> bytes:
    """A CONNECT (3.1). `properties` are the encoded properties of MQTT 5, without their length."""
    flags = (0x80 if username is not None else 0) | (0x40 if password is not None else 0) | (0x02 if clean else 0)
    after = field(client_id)
    if will is not None:
        flags |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        after += (b"\0" if version == 5 else b"") + field(will.topic) + field(will.payload)
    after += b"".join(field(part) for part in (username, password) if part is not None)
    own = number(len(properties)) + properties if version == 5 else b""
    return packet(CONNECT, field("MQTT") + bytes([version, flags]) + keepalive.to_bytes(2, "big") + own + after)


def subscribe_packet(packet_id: int, filters: Sequence[Text], *, version: int = 4, qos: int = 0) -> bytes:
    """A SUBSCRIBE for one or more filters, all with the same QoS (3.8)."""
    own = b"\0" if version == 5 else b""
    body = b"".join(field(topic_filter) + bytes([qos]) for topic_filter in filters)
    return packet(SUBSCRIBE, packet_id.to_bytes(2, "big") + own + body, 0x02)


def publish_packet(
    topic: Text, payload: bytes = b"", *, version: int = 4, qos: int = 0, packet_id: int = 0, retain: bool = False
) -> bytes:
    """A PUBLISH (3.3); the packet id is sent with QoS 1 and 2 only."""
    own = packet_id.to_bytes(2, "big") if qos else b""
    return packet(PUBLISH, field(topic) + own + (b"\0" if version == 5 else b"") + payload, qos << 1 | int(retain))


@dataclass(frozen=True)
class Packet:
    """A packet as it arrived."""

    kind: int
    flags: int
    body: bytes

    @property
    def topic(self) -> str:
        """The topic of a PUBLISH."""
        return self.body[2 : 2 + int.from_bytes(self.body[:2], "big")].decode()

    def reason(self, version: int) -> int:
        """The reason or return code of CONNACK, PUBACK, PUBREC, PUBCOMP, SUBACK (its first) and DISCONNECT."""
        if self.kind == CONNACK:
            return self.body[1]
        if self.kind == SUBACK:
            return self.body[3 if version == 5 else 2]  # MQTT 5: behind an empty list of properties
        code = self.body[:1] if self.kind == DISCONNECT else self.body[2:3]
        return code[0] if code else 0


class Client:
    """One connection. Close it, or use it as `async with`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.version = version
        self.disconnect_reason: int | None = None
        """Why the broker said that it closes; only MQTT 5 brokers say so."""
        self._reader = reader
        self._writer = writer
        self._waiting: list[Packet] = []
        self._packet_id = 0

    @classmethod
    async def open(cls, port: int, *, host: str = "127.0.0.1", version: int = 4) -> Client:
        """Opens the TCP connection; nothing is sent yet."""
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), WAIT)
        return cls(reader, writer, version)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the TCP connection without DISCONNECT, as a lost network does; a will fires."""
        self._writer.close()

    def finish(self) -> None:
        """Ends the sending side alone: the broker sees the end of the stream and may still answer what came before."""
        with contextlib.suppress(OSError):  # closed by the broker already: the next read tells
            self._writer.write_eof()

    async def send(self, data: bytes) -> None:
        """Sends bytes as they are. That the broker has closed is found by the next read, not here."""
        try:
            self._writer.write(data)
            await asyncio.wait_for(self._writer.drain(), WAIT)
        except OSError:
            pass

    async def _arriving(self) -> Packet | None:
        try:
            first = (await self._reader.readexactly(1))[0]
            length, shift = 0, 0
            while True:
                digit = (await self._reader.readexactly(1))[0]
                length |= (digit & 0x7F) << shift
                shift += 7
                if not digit & 0x80:
                    break
            return Packet(first >> 4, first & 0x0F, await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def read(self, *kinds: int) -> Packet | None:
        """The next packet of one of these kinds (of any kind if none is given), or None when the broker closed."""
        for waiting in self._waiting:
            if not kinds or waiting.kind in kinds:
                self._waiting.remove(waiting)
                return waiting
        while True:
            arrived = await asyncio.wait_for(self._arriving(), WAIT)
            if arrived is None or not kinds or arrived.kind in kinds:
                return arrived
            if arrived.kind == DISCONNECT:
                self.disconnect_reason = arrived.reason(self.version)
            else:
                self._waiting.append(arrived)

    async def _answer(self, *kinds: int) -> int | None:
        answer = await self.read(*kinds)
        return None if answer is None else answer.reason(self.version)

    def _next_id(self) -> int:
        self._packet_id += 1
        return self._packet_id

    async def connect(
        self,
        client_id: Text,
        *,
        username: Text | None = None,
        password: Text | None = None,
        clean: bool = True,
        keepalive: int = 60,
        will: Will | None = None,
        properties: bytes = b"",
    ) -> int | None:
        """Sends CONNECT and returns the code of CONNACK."""
        await self.send(
            connect_packet(
                client_id,
                username=username,
                password=password,
                version=self.version,
                clean=clean,
                keepalive=keepalive,
                will=will,
                properties=properties,
            )
        )
        return await self._answer(CONNACK)

    async def subscribe(self, topic_filter: Text, qos: int = 0) -> int | None:
        """Subscribes to one filter and returns the granted QoS or the refusal."""
        await self.send(subscribe_packet(self._next_id(), [topic_filter], version=self.version, qos=qos))
        return await self._answer(SUBACK)

    async def unsubscribe(self, topic_filter: Text) -> bool:
        """Whether UNSUBACK came."""
        own = b"\0" if self.version == 5 else b""
        await self.send(packet(UNSUBSCRIBE, self._next_id().to_bytes(2, "big") + own + field(topic_filter), 0x02))
        return await self.read(UNSUBACK) is not None

    async def publish(self, topic: Text, payload: bytes = b"", qos: int = 0, retain: bool = False) -> int | None:
        """Publishes and returns the code of PUBACK, or of PUBREC or PUBCOMP, whichever refuses.

        With QoS 0 nothing is ever answered: a ping tells whether the connection outlived it (0) or not (None).
        """
        packet_id = self._next_id()
        await self.send(
            publish_packet(topic, payload, version=self.version, qos=qos, packet_id=packet_id, retain=retain)
        )
        if qos == 0:
            return 0 if await self.ping() else None
        if qos == 1:
            return await self._answer(PUBACK)
        received = await self._answer(PUBREC)
        if received != 0:
            return received
        await self.send(packet(PUBREL, packet_id.to_bytes(2, "big"), 0x02))
        return await self._answer(PUBCOMP)

    async def ping(self) -> bool:
        """Whether the broker answers a PINGREQ; it does so after everything sent before."""
        await self.send(packet(PINGREQ))
        return await self.read(PINGRESP) is not None

    async def message(self) -> Packet | None:
        """The next PUBLISH from the broker."""
        return await self.read(PUBLISH)

    async def waiting_messages(self) -> list[str]:
        """The topics of all messages that the broker has sent up to now."""
        await self.ping()
        topics = [waiting.topic for waiting in self._waiting if waiting.kind == PUBLISH]
        self._waiting = [waiting for waiting in self._waiting if waiting.kind != PUBLISH]
        return topics

    async def disconnect(self) -> None:
        """Sends DISCONNECT, which ends the session without its will, and closes."""
        await self.send(packet(DISCONNECT))
        self.close()
