"""
Settings: read once from the environment into one typed object a process, all problems reported at once.

Each is `PROVISION_<NAME>`; a secret may come from a file instead, named by `PROVISION_<NAME>_FILE`. There is no default
secret: a process refuses to start without its own. docs/settings.md lists them all; a test keeps it true.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from service import log
from service.core import answers, applications, endpoints, guessing, kura_messages, names, steps
from service.core.problems import InvalidInput, Problem
from service.keys import SealingKeys, Secret, parse_key

PREFIX = "PROVISION_"


def setting(
    text: str, *, parse: Callable[[str], Any] = str, default: Any = dataclasses.MISSING, secret: bool = False
) -> Any:
    """A field of a settings class: what it means, how to read it, whether it is a secret with a `_FILE` twin."""
    return dataclasses.field(
        default=default, repr=not secret, metadata={"text": text, "parse": parse, "secret": secret}
    )


def _integer(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if text.strip().isdecimal() else None
        if number is None or not lowest <= number <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return number

    return parse


def _number(lowest: float, highest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not lowest <= number <= highest:
            raise ValueError(f"must be a number from {lowest} to {highest}")
        return number

    return parse


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _database_url(text: str) -> Secret:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a postgresql:// URL")
    return Secret(text)


def _broker_url(text: str) -> str:
    if endpoints.check_endpoint(text) or not text.startswith(("mqtt://", "mqtts://")):
        raise ValueError("must be mqtt://host:port or mqtts://host:port")
    return text


def _account_brokers(text: str) -> tuple[tuple[str, str], ...]:
    """`name=url`, several of them with a comma or a space between."""
    pairs = [pair.partition("=")[::2] for pair in text.replace(",", " ").split()]
    if not all(name for name, _ in pairs) or len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("must be name=mqtt://host:port, each name once")
    return tuple((name, _broker_url(url)) for name, url in pairs)


def _account_name(text: str) -> str:
    if not names.USERNAME.fullmatch(text):
        raise ValueError("must be a valid account name")
    return text


def _log_level(text: str) -> str:
    if text.lower() not in log.LEVELS:
        raise ValueError(f"must be one of {', '.join(log.LEVELS)}")
    return text.lower()


def _event_loop(text: str) -> str:
    if text not in ("auto", "asyncio", "uvloop"):
        raise ValueError("must be auto, asyncio or uvloop")
    return text


PORT = _integer(1, 65535)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What every process has."""

    log_level: str = setting("debug, info, warning or error", parse=_log_level, default="info")
    event_loop: str = setting(
        "asyncio, uvloop, or auto: uvloop where it is installed", parse=_event_loop, default="auto"
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Raises InvalidInput with every missing or wrong setting; a secret's text is in none of the messages."""
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        for field in dataclasses.fields(cls):
            name = PREFIX + field.name.upper()
            try:
                text = _read(environ, name, secret=field.metadata["secret"])
                if text is not None:
                    values[field.name] = field.metadata["parse"](text)
                elif field.default is dataclasses.MISSING:
                    raise ValueError(f"must be set: {field.metadata['text']}")
            except (ValueError, OSError) as error:
                text = error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)
                problems.append(Problem(field=name, rule="setting", text=text))
        if problems:
            raise InvalidInput(problems)
        return cls(**values)


def _read(environ: Mapping[str, str], name: str, *, secret: bool) -> str | None:
    """The setting's text; an empty one counts as not set."""
    path = environ.get(f"{name}_FILE") if secret else None
    if path and environ.get(name):
        raise ValueError(f"is set both directly and by {name}_FILE")
    if path:
        text = Path(path).read_text(encoding="utf-8").strip()
        if not text:
            raise ValueError(f"{name}_FILE is empty")
        return text
    return environ.get(name) or None


EVENT_KEY = "key of the events' chain: 32 random bytes in base64"
PROVISION_ACCOUNT = "name of the account that provision users are shown under, and of Kura's provisioning topics"
SEALING_KEYS = "keys of Password-typed values, a line each: <kid>:<32 random bytes in base64>; the first one seals"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HooksSettings(Settings):
    """`service hooks`: the brokers' questions."""

    hooks_database_url: Secret = setting("database, as provisioning_hooks", parse=_database_url, secret=True)
    event_key: bytes = setting(EVENT_KEY, parse=parse_key, secret=True)
    hooks_host: str = setting("address that brokers ask at: loopback or private, never public", default="127.0.0.1")
    hooks_port: int = setting("port that brokers ask at; no other routes are there", parse=PORT, default=8081)
    hooks_processes: int = setting(
        "processes that share the port; all questions of one broker go to the same one",
        parse=_integer(1, 64),
        default=1,
    )
    hooks_metrics_host: str = setting("address of /livez, /readyz and /metrics of the hooks", default="127.0.0.1")
    hooks_metrics_port: int = setting("port of /livez, /readyz and /metrics of the hooks", parse=PORT, default=8082)
    client_id_length: int = setting(
        "longest client id: 23 by MQTT 3.1, up to 255", parse=_integer(1, 255), default=names.CLIENT_ID_LENGTH
    )
    provision_account: str = setting(PROVISION_ACCOUNT, parse=_account_name, default=names.PROVISION_ACCOUNT)
    slow_hash_rate: float = setting(
        "bcrypt hashes a second that one provision broker may cause: it waits for each; one that takes longer than "
        "0.1 s counts as more",
        parse=_number(0.1, 1e6),
        default=4.0,
    )
    slow_hash_burst: float = setting("how many of them may be saved up", parse=_number(1, 1e6), default=2.0)
    guess_rate: float = setting(
        "passwords a second that are tried on one username, right ones that are remembered apart",
        parse=_number(0.001, 1e6),
        default=guessing.RATE,
    )
    guess_burst: float = setting("how many of them may be saved up", parse=_number(1, 1e6), default=guessing.BURST)
    narrow_reply: bool = setting(
        "true: on account brokers a client may answer (REPLY) only those who ask as `~` and its client id; "
        "false: everybody, as in Kapua",
        parse=_switch,
        default=False,
    )
    hashing_threads: int = setting("threads that hash", parse=_integer(1, 64), default=2)
    grants_memory: int = setting("clients whose grants are remembered", parse=_integer(1, 10_000_000), default=100_000)
    grants_memory_bytes: int = setting(
        "bytes that remembered grants may take, about",
        parse=_integer(100_000, 2**40),
        default=100_000_000,
    )
    passwords_memory: int = setting(
        "verified passwords that are remembered", parse=_integer(1, 10_000_000), default=10_000
    )
    passwords_memory_bytes: int = setting(
        "bytes that remembered passwords may take, about",
        parse=_integer(1_000, 2**40),
        default=10_000_000,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResponderSettings(Settings):
    """`service responder`: the devices' messages."""

    responder_database_url: Secret = setting("database, as provisioning_responder", parse=_database_url, secret=True)
    event_key: bytes = setting(EVENT_KEY, parse=parse_key, secret=True)
    derivation_key: bytes = setting(
        "key that generated passwords are derived from; the responder's alone: 32 random bytes in base64",
        parse=parse_key,
        secret=True,
    )
    sealing_keys: SealingKeys = setting(SEALING_KEYS, parse=SealingKeys.parse, secret=True)
    provision_broker: str = setting("the provision broker, as the responder reaches it", parse=_broker_url)
    provision_broker_name: str = setting(
        "its registered name: sessions there are ended by it, and of the responders of one broker one is active",
        default="provision-broker",
    )
    provision_broker_ca_file: str = setting("CA of an mqtts:// provision broker; the system's where empty", default="")
    account_brokers: tuple[tuple[str, str], ...] = setting(
        "account brokers where it hears whether devices are there, each as name=mqtt://host:port",
        parse=_account_brokers,
        default=(),
    )
    account_brokers_ca_file: str = setting("CA of mqtts:// account brokers; the system's where empty", default="")
    responder_password: Secret = setting("password of ~responder at all these brokers", parse=Secret, secret=True)
    provision_account: str = setting(PROVISION_ACCOUNT, parse=_account_name, default=names.PROVISION_ACCOUNT)
    step_timeout: float = setting(
        "seconds that a step of a Kura run may be silent before a sign of life has it sent again",
        parse=_number(0.1, 86_400),
        default=60.0,
    )
    step_retries: int = setting(
        "errors that a step of a Kura run survives before the run fails", parse=_integer(0, 100), default=steps.RETRIES
    )
    kura_keystore: str = setting(
        "service pid of the keystore where a Kura gateway keeps the CAs it trusts", default=kura_messages.KEYSTORE
    )
    responder_metrics_host: str = setting(
        "address of /livez, /readyz and /metrics of the responder", default="127.0.0.1"
    )
    responder_metrics_port: int = setting(
        "port of /livez, /readyz and /metrics of the responder", parse=PORT, default=8083
    )
    answer_limit: int = setting(
        "longest answer in bytes; the brokers' max_packet_size is this plus 16 KiB",
        parse=_integer(4096, 1_048_576),
        default=answers.ANSWER_LIMIT_BYTES,
    )
    sweep_interval: float = setting(
        "seconds between two sweeps of passed deadlines", parse=_number(0.1, 3600), default=10.0
    )
    message_timeout: float = setting("seconds that one message may take", parse=_number(0.1, 600), default=10.0)
    access_journal: str = setting(
        "file, on another machine's disk than the database's, that says who may come in and who no more: "
        "for `provision recovery`; none where empty",
        default="",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdministratorSettings(Settings):
    """The `provision` command on the database."""

    admin_database_url: Secret = setting(
        "database, as provisioning_admin: sees one account", parse=_database_url, secret=True
    )
    platform_database_url: Secret = setting(
        "database, as provisioning_platform: accounts and brokers", parse=_database_url, secret=True
    )
    event_key: bytes = setting(EVENT_KEY, parse=parse_key, secret=True)
    sealing_keys: SealingKeys = setting(SEALING_KEYS, parse=SealingKeys.parse, secret=True)
    provision_account: str = setting(PROVISION_ACCOUNT, parse=_account_name, default=names.PROVISION_ACCOUNT)
    client_id_length: int = setting(
        "longest client id: 23 by MQTT 3.1, up to 255", parse=_integer(1, 255), default=names.CLIENT_ID_LENGTH
    )
    answer_limit: int = setting(
        "longest answer in bytes; the brokers' max_packet_size is this plus 16 KiB",
        parse=_integer(4096, 1_048_576),
        default=answers.ANSWER_LIMIT_BYTES,
    )
    most_applications: int = setting(
        "applications that a provision request may have",
        parse=_integer(0, 1000),
        default=applications.MOST_APPLICATIONS,
    )
    bcrypt_cost: int = setting("cost of factory passwords' hashes", parse=_integer(4, 15), default=10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdminSettings(AdministratorSettings):
    """`service admin`: the administrators' API."""

    api_host: str = setting("address of the API: TLS in front unless it is loopback", default="127.0.0.1")
    api_port: int = setting("port of the administrators' API", parse=PORT, default=8084)
    api_wrong_token_rate: float = setting(
        "wrong tokens a second that one address is told are wrong", parse=_number(0.001, 1e6), default=0.2
    )
    api_wrong_token_burst: float = setting("how many of them may be saved up", parse=_number(1, 1e6), default=20.0)
    api_metrics_host: str = setting("address of /livez, /readyz and /metrics of the API", default="127.0.0.1")
    api_metrics_port: int = setting("port of /livez, /readyz and /metrics of the API", parse=PORT, default=8085)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MigrateSettings(Settings):
    """`service migrate`: no keys at all."""

    migrator_database_url: Secret = setting("database, as provisioning_migrator", parse=_database_url, secret=True)
