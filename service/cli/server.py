"""The administrators' API as a client has it: which server, whose token, and what each of its refusals means."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import ssl
import stat
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import click
import msgspec
import yarl

from service.api.openapi import PREFIX, ProblemDocument
from service.api.routes import Route
from service.cli import output
from service.core.problems import InvalidInput, Problem, raise_problems
from service.keys import Secret

# Operations that go through everything there is, or hash many passwords.
SLOW = frozenset(
    {
        "verify_events", "verify_all_events", "checkpoint_events", "drop_events", "check_import_rows",
        "write_import_rows",
    }
)  # fmt: skip
CONNECT_SECONDS, ANSWER_SECONDS, SLOW_SECONDS = 10.0, 60.0, 3600.0
# Of a call that may be repeated; a second later, and two.
TRIES = 3
_TOKEN = re.compile(r"pt_[A-Za-z0-9_-]{43}", re.ASCII)


class ServerTrouble(Exception):
    """It could not be asked, or would not; `status` is the command's exit status."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The command's own options, as they were given."""

    server: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    # Whether the command line names the server, and not the environment only.
    on_command_line: bool = False


def choice() -> Choice:
    """What was given to the command that runs."""
    given = click.get_current_context().find_root().obj
    return given if isinstance(given, Choice) else Choice()


def chosen_server() -> Server | None:
    """The server to ask; None: the database of this machine's settings. Raises InvalidInput with every problem."""
    given = choice()
    if not given.server:
        return None
    problems = list(check_url(given.server))
    token, wrong = _read_token(given.token_file)
    problems += wrong
    context: ssl.SSLContext | None = None
    if given.server.lower().startswith("https:"):
        try:
            context = ssl.create_default_context(cafile=given.ca_file)
        except (OSError, ssl.SSLError):
            problems.append(Problem(field="server_ca", rule="unreadable", text=f"{given.ca_file}: holds no CA in PEM"))
    raise_problems(problems)
    assert token is not None
    return Server(url=given.server.rstrip("/"), token=token, trusted=context)


def check_url(url: str) -> list[Problem]:
    """Whether a token may be sent there: encrypted, or not beyond this machine."""
    text = "must be https://host[:port], or http://host[:port] of this machine's loopback addresses"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return [Problem(field="server", rule="url", text=text)]
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or not plain:
        return [Problem(field="server", rule="url", text=text)]
    if parts.query or parts.fragment:
        return [Problem(field="server", rule="url", text=f"{text}, without ? and #")]
    if parts.scheme == "http" and not _is_loopback(host):
        return [Problem(field="server", rule="not_encrypted", text="must be https:// unless it is this machine's own")]
    return []


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_token(path: str | None) -> tuple[Secret | None, list[Problem]]:
    """A token from a file that nobody else may read; its text is in no message."""

    def refuse(rule: str, text: str) -> tuple[None, list[Problem]]:
        return None, [Problem(field="token_file", rule=rule, text=text)]

    if not path:
        return refuse("missing", "is needed with --server: --token-file, or PROVISION_TOKEN_FILE")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            found = os.fstat(file.fileno())
            text = file.read(1024).decode("ascii", "replace").strip() if stat.S_ISREG(found.st_mode) else ""
    except (OSError, ValueError) as error:
        return refuse("unreadable", f"{path}: {getattr(error, 'strerror', None) or 'cannot be read'}")
    if found.st_mode & 0o077:
        return refuse("readable_by_others", f"{path}: others than its owner may read it: chmod 600")
    if not _TOKEN.fullmatch(text):
        return refuse("no_token", f"{path}: holds no token (pt_...)")
    return Secret(text), []


@dataclass(kw_only=True)
class Server:
    """A server that is asked with a token."""

    url: str
    token: Secret = field(repr=False)
    trusted: ssl.SSLContext | None = None
    session: aiohttp.ClientSession | None = field(default=None, repr=False)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Server]:
        """With its connections, for so long."""
        connector = aiohttp.TCPConnector(ssl=self.trusted if self.trusted is not None else True)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as self.session:
            yield self

    async def ask(
        self, route: Route, path: Mapping[str, str], query: Mapping[str, Sequence[str]], body: bytes | None
    ) -> bytes:
        """
        The answer's body. Raises InvalidInput with the problems that the server found, and ServerTrouble.

        What may be asked twice is, where the connection is cut: a question, or a creation under one Idempotency-Key.
        """
        url = self._url(route, path, query)
        headers = {"Authorization": f"Bearer {self.token.reveal()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if route.made is not None:
            headers["Idempotency-Key"] = str(uuid.uuid4())
        again = route.method == "GET" or route.made is not None or route.repeatable
        for tried in range(1, TRIES + 1):
            try:
                return await self._exchange(route, path, url, headers, body)
            except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
                raise self._not_reached(error) from None
            except (aiohttp.ClientError, TimeoutError) as error:
                if not again:
                    raise ServerTrouble(
                        output.UNREACHABLE,
                        f"the connection to {self.url} was cut: whether it was done is not known, look before you try "
                        "again",
                    ) from None
                if tried == TRIES:
                    raise self._not_reached(error) from None
            await asyncio.sleep(tried)
        raise AssertionError

    def _url(self, route: Route, path: Mapping[str, str], query: Mapping[str, Sequence[str]]) -> yarl.URL:
        names = {name: quote(value, safe="") for name, value in path.items()}
        text = self.url + PREFIX + route.path.format_map(names)
        return yarl.URL(f"{text}?{urlencode(query, doseq=True)}" if query else text, encoded=True)

    async def _exchange(
        self, route: Route, path: Mapping[str, str], url: yarl.URL, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        assert self.session is not None
        seconds = SLOW_SECONDS if route.name in SLOW else ANSWER_SECONDS
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=seconds)
        async with self.session.request(
            route.method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout
        ) as response:
            answer = await response.read()
            if response.status == route.status or (response.status == 204 and not answer):
                if response.headers.get("Idempotency-Replayed") and _lost(route, answer):
                    raise ServerTrouble(output.FAILED, _REPLAYED)
                return answer
            raise self._refusal(response, answer, path)

    def _not_reached(self, error: BaseException) -> ServerTrouble:
        if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
            return ServerTrouble(
                output.UNTRUSTED, f"the certificate of {self.url} is not trusted: {_why(error)} (--server-ca)"
            )
        return ServerTrouble(output.UNREACHABLE, f"{self.url} does not answer: {_why(error)}")

    def _refusal(self, response: aiohttp.ClientResponse, answer: bytes, path: Mapping[str, str]) -> Exception:
        document = _problem_document(response, answer)
        if document is None:
            text = f"{self.url} does not answer as the administrators' API does (HTTP {response.status})"
            return ServerTrouble(output.FAILED, text)
        wait = response.headers.get("Retry-After", "")
        later = f"; try again in {wait} s" if wait.isdecimal() else ""
        match response.status:
            case 401:
                return ServerTrouble(output.UNKNOWN_TOKEN, f"{self.url} does not know the token, or not any more")
            case 403:
                return ServerTrouble(output.FORBIDDEN, f"the token may not do this: {document.detail}")
            case 429:
                return ServerTrouble(output.TOO_MANY, f"{self.url}: {document.detail}{later}")
            case 503:
                return ServerTrouble(output.UNREACHABLE, f"{self.url} cannot answer now: {document.detail}{later}")
            case 404 if not document.problems:
                return _missing(path)
            case 404 | 409 | 422 if document.problems:
                return InvalidInput(Problem(field=p.field, rule=p.rule, text=p.text) for p in document.problems)
        said = f" (correlation id {response.headers.get('Correlation-Id', 'none')})" if response.status == 500 else ""
        return ServerTrouble(output.FAILED, f"{self.url}: {document.title.lower()}: {document.detail}{said}")


_REPLAYED = (
    "it was done, but the connection was cut before the answer came; what is shown once is lost: make another one"
)


def _lost(route: Route, answer: bytes) -> bool:
    """Whether something is shown once, and was shown in an answer that did not come."""
    return route.shown_once is not None and msgspec.json.decode(answer).get("activation_key") is not False


def _missing(path: Mapping[str, str]) -> Exception:
    """Nothing more is said of what another account may have."""
    if "account" in path:
        text = f"there is no account {path['account']!r} for this token"
        return InvalidInput([Problem(field="account", rule="not_found", text=text)])
    return ServerTrouble(output.FAILED, "the server has no such operation: it is of another version")


def _problem_document(response: aiohttp.ClientResponse, answer: bytes) -> ProblemDocument | None:
    if response.content_type != "application/problem+json":
        return None
    try:
        return msgspec.json.decode(answer, type=ProblemDocument)
    except msgspec.DecodeError:
        return None


def _why(error: Any) -> str:
    """In a few words, on one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or str(cause)
    return " ".join((text or type(error).__name__).split())
