"""
The simulated device: the device's side of design 4.1 to the letter (docs/protocol.md).

Subscribe, then ask; the same ask again where no answer comes; ignore answers to what was not asked; store the answer
before leaving; keep the factory credentials until the first login succeeds; refused there before that: back, and ask.
A broker whose certificate does not hold is never spoken to: not unverified, and not in the clear.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.core import connect, derivation, messages
from service.core.answers import Answer
from service.mqtt.client import Connection, Login, NotUsable, Refused, SubscribeRefused, Unreachable

FIRST_WAIT = 15.0
LONGEST_WAIT = 600.0

_random = random.SystemRandom()

Say = Callable[..., None]


class DeviceRefused(Exception):
    """The provision broker or the responder said no; `code` where it was the responder."""

    def __init__(self, text: str, answer: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.answer = dict(answer or {})


class DeviceUnreached(Exception):
    """Nobody answered for as long as the device was told to try."""


class _AskAgain(Exception):
    """The account broker does not know the credentials (yet, or any more)."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """What the factory and its operator put into a device, and where it keeps its answer."""

    broker: str
    client_id: str
    username: str
    password: str = field(repr=False)
    activation_key: str | None = field(default=None, repr=False)
    seal: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    store: Path
    version: str = "5"
    ca_file: str = ""
    # Whether its activation key comes with the CONNECT as well, behind the password.
    key_at_connect: bool = True
    # Seconds until it gives up, and until the first ask is repeated.
    patience: float = 120.0
    first_wait: float = FIRST_WAIT


class Simulation:
    """One device's way from its factory credentials to its account's broker. `say(step, **what)` tells each step."""

    def __init__(self, device: Device, say: Say) -> None:
        self._device = device
        self._say = say
        self._gives_up_at = time.monotonic() + device.patience

    async def run(self) -> None:
        """Raises DeviceRefused and DeviceUnreached."""
        answer = self._load()
        while True:
            if answer is None:
                answer = await self._provision()
            try:
                await self._work(answer)
                return
            except _AskAgain:
                self._say("refused by the account broker, asking again")
                answer = None

    # The answer's file

    def _load(self) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = json.loads(self._device.store.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        self._say("has an answer", file=str(self._device.store))
        return answer

    def _keep(self, answer: Mapping[str, Any]) -> None:
        """Written whole or not at all, readable by its owner only."""
        path = self._device.store
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(answer, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    # On the provision broker

    async def _provision(self) -> dict[str, Any]:
        ask_id = secrets.token_hex(8)
        wait = self._device.first_wait
        while True:
            replies: asyncio.Queue[bytes] = asyncio.Queue()

            async def on_message(_topic: str, payload: bytes, replies: asyncio.Queue[bytes] = replies) -> None:
                replies.put_nowait(payload)

            connection = await self._connect_factory(on_message)
            try:
                await connection.subscribe(f"prov/v1/{self._device.client_id}/reply")
                self._say("subscribed", topic=f"prov/v1/{self._device.client_id}/reply")
                while not connection.closed.is_set():
                    await self._ask(connection, ask_id)
                    reply = await self._reply(connection, replies, ask_id, wait)
                    if reply is not None:
                        return await self._accept(connection, reply, ask_id)
                    if connection.closed.is_set():
                        self._say("interrupted", why="the broker closed the connection")
                        await self._pause("the provision broker closed the connection")
                        break
                    wait = min(wait * 2, LONGEST_WAIT) * _random.uniform(0.9, 1.1)
                    self._check_patience("no answer to the ask")
            except (SubscribeRefused, Unreachable) as error:
                self._say("interrupted", why=str(error))
                await self._pause("the subscription got no answer")
            finally:
                await connection.close()

    async def _connect_factory(self, on_message: Any) -> Connection:
        device = self._device
        login = Login(
            url=device.broker,
            client_id=device.client_id,
            username=device.username,
            password=self._password(),
            version=device.version,
            ca_file=device.ca_file,
        )
        while True:
            self._say(
                "connecting to the provision broker", broker=device.broker, client_id=device.client_id, **_trusts(login)
            )
            try:
                connection = await Connection.open(login, on_message)
            except Refused as refused:
                raise DeviceRefused(f"the provision broker refused the connection (code {refused.code})") from refused
            except NotUsable as error:
                raise DeviceUnreached(f"the provision broker: {error}") from error
            except Unreachable as error:
                self._say("not reached", why=str(error))
                await self._pause(f"the provision broker: {error}")
            else:
                self._say("connected to the provision broker", username=device.username)
                return connection

    def _password(self) -> str:
        """At the provision broker, with the key: then nobody without it can keep the device off."""
        device = self._device
        if device.activation_key is None or not device.key_at_connect:
            return device.password
        return device.password + connect.KEY_SEPARATOR + device.activation_key

    async def _ask(self, connection: Connection, ask_id: str) -> None:
        device = self._device
        ask: dict[str, Any] = {"id": ask_id}
        if device.activation_key is not None:
            ask["activation_key"] = device.activation_key
        if device.seal:
            ask["seal"] = True
        if device.facts:
            ask["device"] = dict(device.facts)
        await connection.publish(f"prov/v1/{device.client_id}/request", messages.encode(ask))
        self._say("asked", id=ask_id, activation_key="given" if device.activation_key else "none", seal=device.seal)

    async def _reply(
        self, connection: Connection, replies: asyncio.Queue[bytes], ask_id: str, wait: float
    ) -> dict[str, Any] | None:
        """The answer to this ask; None where none came in time, or the connection ended."""
        ends_at = time.monotonic() + wait
        closed = asyncio.ensure_future(connection.closed.wait())
        try:
            while (left := ends_at - time.monotonic()) > 0:
                arriving = asyncio.ensure_future(replies.get())
                await asyncio.wait({arriving, closed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not arriving.done():
                    arriving.cancel()
                    return None
                reply = _parse(arriving.result())
                if reply is not None and reply.get("id") == ask_id:
                    return reply
                self._say("ignored an answer to something else")
            return None
        finally:
            closed.cancel()

    async def _accept(self, connection: Connection, reply: dict[str, Any], ask_id: str) -> dict[str, Any]:
        if reply.get("result") != "accepted":
            raise DeviceRefused(f"the responder refused: {reply.get('code')}", reply)
        answer = self._open(reply, ask_id)
        _check_digest(answer)
        self._say("accepted", sealed="sealed" in reply, confirm_within=reply["confirm_within"], digest=answer["digest"])
        self._keep({**answer, "confirmed": False})
        self._say("kept the answer", file=str(self._device.store))
        status = f"prov/v1/{self._device.client_id}/status"
        states = ["installing", "installed"] if answer["applications"] else []
        for state in (*states, "configuring", "applied"):
            await connection.publish(status, messages.encode({"run": answer["run"], "state": state}))
            self._say("said", state=state)
        await connection.drained(5.0)
        await connection.close()
        self._say("left the provision broker")
        return {**answer, "confirmed": False}

    def _open(self, reply: dict[str, Any], ask_id: str) -> dict[str, Any]:
        if "sealed" not in reply:
            if self._device.seal:
                raise DeviceRefused("the answer is not sealed, as was asked for")
            return {name: reply[name] for name in ("run", "connection", "configuration", "applications", "digest")}
        try:
            clear = derivation.open_answer(
                activation_key=self._device.activation_key or "",
                ask_id=ask_id,
                client_id=self._device.client_id,
                sealed=reply["sealed"],
            )
        except derivation.CannotOpen as error:
            raise DeviceRefused(str(error)) from error
        opened: dict[str, Any] = json.loads(clear)
        return opened

    # On the account broker

    async def _work(self, answer: dict[str, Any]) -> None:
        """Log in as a managed device, publish, and receive it back."""
        target = answer["connection"]
        arrived = asyncio.Event()
        own = f"{target['account']}/{target['client_id']}"

        async def on_message(topic: str, _payload: bytes) -> None:
            if topic == f"{own}/hello":
                arrived.set()

        connection = await self._connect_account(answer, on_message)
        try:
            if not answer["confirmed"]:
                self._keep({**answer, "confirmed": True})
                self._say("provisioned: the factory credentials have done their work")
            await connection.subscribe(f"{own}/#")
            await connection.publish(f"{own}/hello", messages.encode({"hello": target["client_id"]}))
            self._say("published", topic=f"{own}/hello")
            try:
                await asyncio.wait_for(arrived.wait(), 10.0)
            except TimeoutError:
                raise DeviceUnreached("the published message did not come back") from None
            self._say("received it back", account=target["account"])
        except (SubscribeRefused, Unreachable) as error:
            raise DeviceUnreached(f"at the account broker: {error}") from error
        finally:
            await connection.close()

    async def _connect_account(self, answer: dict[str, Any], on_message: Any) -> Connection:
        target = answer["connection"]
        login = Login(
            url=target["endpoint"],
            client_id=target["client_id"],
            username=target["username"],
            password=target["password"],
            version=self._device.version,
            ca=target.get("ca", ""),
            ca_file=self._device.ca_file,
        )
        while True:
            self._say(
                "connecting to the account broker",
                broker=target["endpoint"],
                username=target["username"],
                **_trusts(login),
            )
            try:
                connection = await Connection.open(login, on_message)
            except Refused as refused:
                if refused.not_authorised and not answer["confirmed"]:
                    await self._pause("the account broker refused the new credentials")
                    raise _AskAgain from refused
                raise DeviceRefused(f"the account broker refused the connection (code {refused.code})") from refused
            except NotUsable as error:
                raise DeviceUnreached(f"the account broker: {error}") from error
            except Unreachable as error:
                self._say("not reached", why=str(error))
                await self._pause(f"the account broker: {error}")
            else:
                self._say("connected to the account broker")
                return connection

    # Patience

    def _check_patience(self, why: str) -> None:
        if time.monotonic() >= self._gives_up_at:
            raise DeviceUnreached(why)

    async def _pause(self, why: str) -> None:
        self._check_patience(why)
        left = max(0.0, self._gives_up_at - time.monotonic())
        await asyncio.sleep(min(_random.uniform(0.5, 1.5), left + 0.01))


def _trusts(login: Login) -> dict[str, str]:
    """Of an encrypted connection: which CAs the broker's certificate is checked by."""
    if not login.url.startswith("mqtts://"):
        return {}
    return {"trusts": "the answer's CA" if login.ca else "its CA file" if login.ca_file else "the system's CAs"}


def _parse(payload: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(payload)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _check_digest(answer: Mapping[str, Any]) -> None:
    """Raises DeviceRefused where the digest is not that of what was received."""
    received = Answer(
        run=answer["run"],
        connection=answer["connection"],
        configuration=answer["configuration"],
        applications=answer["applications"],
    )
    if received.digest != answer["digest"]:
        raise DeviceRefused("the answer's digest does not fit it")
