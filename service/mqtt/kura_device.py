"""
The simulated gateway: what Kura does where it matters to provisioning (docs/protocol.md, everyware.md 1.5 and 1.6).

It answers 200 at once and applies a configuration a second later, which drops its connection; it does not download
anything, and says that it did. After that it tries its new broker once, or again and again, as its DataService says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from service.core import names
from service.core.device_config import TRANSPORT
from service.core.kura_configuration import AUTO_CONNECT, DATA_SERVICE
from service.core.kura_messages import CONFIGURATION, DEPLOY, KEYS, KEYSTORE
from service.mqtt import kura_payload
from service.mqtt.client import Connection, Login, NotUsable, Refused, SubscribeRefused, Unreachable, trust
from service.mqtt.device import LONGEST_WAIT, Device, DeviceRefused, DeviceUnreached, Say, Simulation
from service.mqtt.kura_payload import Metric, Unreadable

# Kura applies a configuration this long after it answered 200 (seconds).
APPLIES_AFTER = 1.0
# A gateway has room for what its platform sends, in bytes.
LARGEST = 16 * 1024 * 1024
_ESF = "{http://eurotech.com/esf/2.0}"


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """What a Kura gateway has beside what every device has."""

    provision_account: str = names.PROVISION_ACCOUNT
    # It sends no PROV, only its BIRTH, as a stock Kura.
    only_birth: bool = False
    # For tests: {place of an application: how many times its installation fails}.
    failures: Mapping[int, int] = field(default_factory=dict)
    applies_after: float = APPLIES_AFTER
    # As Kura before 5.0, which answers nothing to a certificate, or 404.
    without_keystore: bool = False


def rewritten(client_id: str) -> str:
    """The client id that Kura connects with."""
    return "".join("-" if character in names.REWRITTEN_BY_KURA else character for character in client_id)


class KuraSimulation(Simulation):
    """One gateway's way from its factory credentials to its account's broker. `say(step, **what)` tells each step."""

    def __init__(self, device: Device, say: Say, gateway: Gateway) -> None:
        # What a gateway's password is, its web page decides: the key is not in it.
        super().__init__(dataclasses.replace(device, client_id=rewritten(device.client_id), key_at_connect=False), say)
        self._gateway = gateway
        self._base = f"$EDC/{gateway.provision_account}/{self._device.client_id}"
        # Applications by name, in the order of their first download, and the failures that are left to each.
        self._seen: list[str] = []
        self._failed: dict[str, int] = {}
        # What it was told to trust, by alias.
        self._trusted: dict[str, str] = {}

    # On the provision broker

    async def _provision(self) -> dict[str, Any]:
        while True:
            arrived: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

            async def on_message(topic: str, payload: bytes, arrived: Any = arrived) -> None:
                arrived.put_nowait((topic, payload))

            connection = await self._connect_factory(on_message)
            try:
                await connection.subscribe(f"{self._base}/#")
                self._say("subscribed", topic=f"{self._base}/#")
                answer = await self._serve(connection, arrived)
                if answer is not None:
                    return answer
            except (SubscribeRefused, Unreachable) as error:
                self._say("interrupted", why=str(error))
            finally:
                await connection.close()
            await self._pause("the provision broker ended the connection")

    async def _serve(self, connection: Connection, arrived: asyncio.Queue[tuple[str, bytes]]) -> dict[str, Any] | None:
        """Do what is asked until a configuration is applied; None where the connection ended before."""
        wait = self._device.first_wait
        while not connection.closed.is_set():
            await self._ask_kura(connection)
            ends_at = time.monotonic() + wait
            while (left := ends_at - time.monotonic()) > 0 and not connection.closed.is_set():
                try:
                    topic, data = await asyncio.wait_for(arrived.get(), min(left, 0.5))
                except TimeoutError:
                    continue
                answer = await self._obey(connection, topic, data)
                if answer is not None:
                    return answer
                ends_at = time.monotonic() + wait
            wait = min(wait * 2, LONGEST_WAIT)
            self._check_patience("nothing came from the platform")
        return None

    async def _ask_kura(self, connection: Connection) -> None:
        device, kind = self._device, "BIRTH" if self._gateway.only_birth else "PROV"
        metrics: dict[str, Metric] = {} if self._gateway.only_birth else {"username": device.username}
        if device.activation_key is not None and not self._gateway.only_birth:
            metrics["activationKey"] = device.activation_key
        await connection.publish(f"{self._base}/MQTT/{kind}", kura_payload.encode(metrics))
        self._say("asked", by=f"MQTT/{kind}", activation_key="given" if "activationKey" in metrics else "none")

    async def _obey(self, connection: Connection, topic: str, data: bytes) -> dict[str, Any] | None:
        try:
            payload = kura_payload.decode(data, LARGEST)
        except Unreadable as error:
            self._say("ignored a message", why=error.reason)
            return None
        what = topic.removeprefix(f"{self._base}/")
        request_id, requester = payload.metrics.get("request.id"), payload.metrics.get("requester.client.id")
        if not isinstance(request_id, str) or not isinstance(requester, str):
            self._say("ignored a message", topic=topic, why="request.id or requester.client.id is missing")
            return None
        to = f"$EDC/{self._gateway.provision_account}/{requester}"
        if what == f"{CONFIGURATION}/PUT/configurations":
            return await self._configure(connection, f"{to}/{CONFIGURATION}/REPLY/{request_id}", payload.body)
        if what == f"{DEPLOY}/EXEC/download":
            await self._reply_code(connection, f"{to}/{DEPLOY}/REPLY/{request_id}", 200)
            await self._install(connection, f"{to}/{DEPLOY}/NOTIFY/{self._device.client_id}", payload.metrics)
            return None
        if what == f"{KEYS}/POST/keystores/entries/certificate" and not self._gateway.without_keystore:
            await self._reply_code(connection, f"{to}/{KEYS}/REPLY/{request_id}", self._store(payload.body))
            return None
        await self._reply_code(connection, f"{to}/{what.split('/')[0]}/REPLY/{request_id}", 404)
        return None

    async def _reply_code(self, connection: Connection, topic: str, code: int) -> None:
        await connection.publish(topic, kura_payload.encode({"response.code": code}), qos=0)
        self._say("replied", code=code, topic=topic)

    def _store(self, body: bytes) -> int:
        """Keep a certificate in the keystore of TLS connections; returns the response code."""
        try:
            entry = json.loads(body)
            if entry["keystoreServicePid"] != KEYSTORE:
                return 404
            certificate = str(entry["certificate"])
            trust(certificate)
            self._trusted[str(entry["alias"])] = certificate
        except (ValueError, TypeError, KeyError, NotUsable):
            return 400
        self._say("trusts a CA", alias=entry["alias"])
        return 200

    async def _install(self, connection: Connection, topic: str, metrics: Mapping[str, Metric]) -> None:
        name, job_id = str(metrics["dp.name"]), metrics["job.id"]
        if name not in self._seen:
            self._seen.append(name)
        fails = self._failed.get(name, 0) < self._gateway.failures.get(self._seen.index(name) + 1, 0)
        self._failed[name] = self._failed.get(name, 0) + fails
        told = {"job.id": job_id, "dp.name": name, "client.id": self._device.client_id}
        for resource, status in (
            ("download", "IN_PROGRESS"), ("download", "COMPLETED"), ("install", "FAILED" if fails else "COMPLETED"),
        ):  # fmt: skip
            error = {f"dp.{resource}.error.message": "simulated failure"} if status == "FAILED" else {}
            notice = kura_payload.encode({**told, f"dp.{resource}.status": status, **error})
            await connection.publish(f"{topic}/{resource}", notice)
            self._say("notified", application=name, what=resource, status=status)

    async def _configure(self, connection: Connection, topic: str, body: bytes) -> dict[str, Any] | None:
        try:
            configuration = _read_xml(body)
            transport = configuration[TRANSPORT]
            target = {
                "endpoint": transport["broker-url"],
                "account": transport["topic.context.account-name"],
                "client_id": rewritten(transport["client-id"]),
                "username": transport["username"],
                "password": transport["password"],
            }
        except (ElementTree.ParseError, KeyError):
            await self._reply_code(connection, topic, 400)
            return None
        await self._reply_code(connection, topic, 200)
        await connection.drained(5.0)
        # What comes before it is applied is not looked at: Kura is busy with that.
        await asyncio.sleep(self._gateway.applies_after)
        automatic = configuration.get(DATA_SERVICE, {}).get(AUTO_CONNECT) == "true"
        if self._trusted:
            target["ca"] = "".join(self._trusted.values())
        answer = {"wire": "kura", "connection": target, "auto_connect": automatic, "confirmed": False}
        self._keep(answer)
        self._say("applied the configuration", components=len(configuration), auto_connect=automatic)
        await connection.close()
        self._say("left the provision broker")
        return answer

    # On the account broker

    async def _work(self, answer: dict[str, Any]) -> None:
        """Log in as a managed device, and say that it was born."""
        target = answer["connection"]
        connection = await self._connect_account(answer, None)
        try:
            if not answer["confirmed"]:
                self._keep({**answer, "confirmed": True})
                self._say("provisioned: the factory credentials have done their work")
            birth = f"$EDC/{target['account']}/{target['client_id']}/MQTT/BIRTH"
            await connection.publish(birth, kura_payload.encode({"display_name": target["client_id"]}))
            if not await connection.drained(10.0):
                raise DeviceUnreached("the account broker did not acknowledge the BIRTH")
            self._say("born", topic=birth)
        except Unreachable as error:
            raise DeviceUnreached(f"at the account broker: {error}") from error
        finally:
            await connection.close()

    async def _connect_account(self, answer: dict[str, Any], on_message: Any) -> Connection:
        """Once, or with auto-connect again and again; a refusal does not send Kura back."""
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
            self._say("connecting to the account broker", broker=target["endpoint"], username=target["username"])
            failure: DeviceRefused | DeviceUnreached
            try:
                connection = await Connection.open(login, on_message)
            except Refused as refused:
                failure = DeviceRefused(f"the account broker refused the connection (code {refused.code})")
            except Unreachable as error:
                failure = DeviceUnreached(f"the account broker: {error}")
            else:
                self._say("connected to the account broker")
                return connection
            self._say("not connected", why=str(failure))
            if not answer["auto_connect"] or time.monotonic() >= self._gives_up_at:
                raise failure
            await asyncio.sleep(1.0)


def _read_xml(body: bytes) -> dict[str, dict[str, str]]:
    """{component: {parameter: first value}}. Raises ParseError and KeyError."""
    found: dict[str, dict[str, str]] = {}
    root = ElementTree.fromstring(body)  # noqa: S314 (a gateway trusts its platform)
    for configuration in root.iter(f"{_ESF}configuration"):
        properties = found.setdefault(configuration.attrib["pid"], {})
        for item in configuration.iter(f"{_ESF}property"):
            properties[item.attrib["name"]] = item.findtext(f"{_ESF}value") or ""
    return found
