"""Settings: read once, all problems at once, no secret in any message (design D5)."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from service.core.problems import InvalidInput
from service.keys import SealingKeys, Secret
from service.settings import AdministratorSettings, HooksSettings, MigrateSettings, ResponderSettings, Settings

KEY = base64.b64encode(b"k" * 32).decode()
CANARY = "hunter2-c4n4ry"
DATABASE = f"postgresql://user:{CANARY}@localhost/provisioning"

HOOKS = {"PROVISION_HOOKS_DATABASE_URL": DATABASE, "PROVISION_EVENT_KEY": KEY}
RESPONDER = {
    "PROVISION_RESPONDER_DATABASE_URL": DATABASE,
    "PROVISION_EVENT_KEY": KEY,
    "PROVISION_DERIVATION_KEY": KEY,
    "PROVISION_SEALING_KEYS": f"k1:{KEY}",
    "PROVISION_PROVISION_BROKER": "mqtts://broker:8883",
    "PROVISION_RESPONDER_PASSWORD": CANARY,
}
ADMINISTRATOR = {
    "PROVISION_ADMIN_DATABASE_URL": DATABASE,
    "PROVISION_PLATFORM_DATABASE_URL": DATABASE,
    "PROVISION_EVENT_KEY": KEY,
    "PROVISION_SEALING_KEYS": f"k1:{KEY}",
}
MIGRATE = {"PROVISION_MIGRATOR_DATABASE_URL": DATABASE}
EVERY: list[tuple[type[Settings], dict[str, str]]] = [
    (HooksSettings, HOOKS),
    (ResponderSettings, RESPONDER),
    (AdministratorSettings, ADMINISTRATOR),
    (MigrateSettings, MIGRATE),
]


def problems(kind: type[Settings], environ: dict[str, str]) -> dict[str, str]:
    """What is wrong, by the variable's name."""
    with pytest.raises(InvalidInput) as raised:
        kind.from_env(environ)
    found = {problem.field: problem.text for problem in raised.value.problems}
    assert len(found) == len(raised.value.problems)
    assert CANARY not in str(raised.value)
    assert KEY not in str(raised.value)
    return found


@pytest.mark.parametrize(("kind", "environ"), EVERY)
def test_what_must_be_set_is_enough(kind: type[Settings], environ: dict[str, str]) -> None:
    settings = kind.from_env({**environ, "PATH": "/bin", "PROVISION_UNHEARD_OF": "x"})
    assert settings.log_level == "info"


@pytest.mark.parametrize(("kind", "environ"), EVERY)
def test_there_is_no_default_secret(kind: type[Settings], environ: dict[str, str]) -> None:
    """Nothing set: every missing one is named, all at once."""
    found = problems(kind, {})
    assert set(found) == set(environ)
    assert all(text.startswith("must be set: ") for text in found.values())
    secrets = {field.name for field in dataclasses.fields(kind) if field.metadata["secret"]}
    assert all(field.default is dataclasses.MISSING for field in dataclasses.fields(kind) if field.name in secrets)


@pytest.mark.parametrize(("kind", "environ"), EVERY)
@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_setting_counts_as_not_set(kind: type[Settings], environ: dict[str, str], empty: str | None) -> None:
    for name in environ:
        rest = {**{other: value for other, value in environ.items() if other != name}}
        assert set(problems(kind, rest if empty is None else {**rest, name: empty})) == {name}


@pytest.mark.parametrize(("kind", "environ"), EVERY)
def test_settings_show_no_secret(kind: type[Settings], environ: dict[str, str]) -> None:
    shown = f"{kind.from_env(environ)!r} {kind.from_env(environ)}"
    assert CANARY not in shown
    assert KEY not in shown
    assert repr(b"k" * 32) not in shown
    assert "log_level='info'" in shown


@pytest.mark.parametrize(("kind", "environ"), EVERY)
def test_every_secret_may_come_from_a_file(kind: type[Settings], environ: dict[str, str], tmp_path: Path) -> None:
    """Space and the end of the line do not belong to it."""
    secrets = {f"PROVISION_{field.name.upper()}" for field in dataclasses.fields(kind) if field.metadata["secret"]}
    moved = {}
    for name, value in environ.items():
        if name in secrets:
            (tmp_path / name).write_text(f"{value}\n", encoding="utf-8")
            moved[f"{name}_FILE"] = str(tmp_path / name)
        else:
            moved[name] = value
    assert kind.from_env(moved) == kind.from_env(environ)


def test_secrets_are_what_they_should_be() -> None:
    secret = {field.name for kind, _ in EVERY for field in dataclasses.fields(kind) if field.metadata["secret"]}
    assert secret == {
        "hooks_database_url",
        "responder_database_url",
        "admin_database_url",
        "platform_database_url",
        "migrator_database_url",
        "event_key",
        "derivation_key",
        "sealing_keys",
        "responder_password",
    }


def test_keys_are_separate_by_purpose() -> None:
    """Design D5: the derivation key is the responder's alone, the hooks hold no sealing key, the migrator no key."""
    holders = {
        name: {kind.__name__ for kind, _ in EVERY if name in {field.name for field in dataclasses.fields(kind)}}
        for name in ("derivation_key", "sealing_keys", "event_key")
    }
    assert holders == {
        "derivation_key": {"ResponderSettings"},
        "sealing_keys": {"ResponderSettings", "AdministratorSettings"},
        "event_key": {"HooksSettings", "ResponderSettings", "AdministratorSettings"},
    }


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("false", False), ("", False), (None, False)])
def test_a_switch(text: str | None, expected: bool) -> None:
    given = {} if text is None else {"PROVISION_NARROW_REPLY": text}
    assert HooksSettings.from_env({**HOOKS, **given}).narrow_reply is expected


@pytest.mark.parametrize("text", ["True", "yes", "1", "on", " true"])
def test_a_switch_is_never_guessed(text: str) -> None:
    assert problems(HooksSettings, {**HOOKS, "PROVISION_NARROW_REPLY": text}) == {
        "PROVISION_NARROW_REPLY": "must be true or false"
    }


def test_what_is_no_secret_has_no_file(tmp_path: Path) -> None:
    (tmp_path / "level").write_text("debug", encoding="utf-8")
    settings = HooksSettings.from_env({**HOOKS, "PROVISION_LOG_LEVEL_FILE": str(tmp_path / "level")})
    assert settings.log_level == "info"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "PROVISION_EVENT_KEY_FILE is empty"),
        (b" \n\t\n", "PROVISION_EVENT_KEY_FILE is empty"),
        (CANARY.encode(), "must be 32 random bytes in base64 (`provision key create` makes one)"),
        (None, "No such file or directory"),
    ],
)
def test_a_bad_file_is_a_problem_of_its_setting(content: bytes | None, text: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    environ = {**HOOKS, "PROVISION_EVENT_KEY": "", "PROVISION_EVENT_KEY_FILE": str(path)}
    assert problems(HooksSettings, environ) == {"PROVISION_EVENT_KEY": text}


@pytest.mark.parametrize("content", [b"\xff" * 32, b"hunter2-c4n4ry\xff"])
def test_a_file_that_is_no_text_is_a_problem_too(content: bytes, tmp_path: Path) -> None:
    """The raw bytes of a key, say, where base64 belongs."""
    (tmp_path / "key").write_bytes(content)
    environ = {**HOOKS, "PROVISION_EVENT_KEY": "", "PROVISION_EVENT_KEY_FILE": str(tmp_path / "key")}
    assert set(problems(HooksSettings, environ)) == {"PROVISION_EVENT_KEY"}


def test_a_folder_in_a_file_s_place_is_a_problem(tmp_path: Path) -> None:
    environ = {**HOOKS, "PROVISION_EVENT_KEY": "", "PROVISION_EVENT_KEY_FILE": str(tmp_path)}
    assert problems(HooksSettings, environ) == {"PROVISION_EVENT_KEY": "Is a directory"}


def test_set_twice_is_a_problem(tmp_path: Path) -> None:
    """Which of the two was meant, nobody can tell."""
    (tmp_path / "key").write_text(KEY, encoding="utf-8")
    environ = {**HOOKS, "PROVISION_EVENT_KEY_FILE": str(tmp_path / "key")}
    assert problems(HooksSettings, environ) == {
        "PROVISION_EVENT_KEY": "is set both directly and by PROVISION_EVENT_KEY_FILE"
    }


@pytest.mark.parametrize(
    ("kind", "environ", "name", "value"),
    [
        (HooksSettings, HOOKS, "HOOKS_DATABASE_URL", f"mysql://user:{CANARY}@localhost"),
        (HooksSettings, HOOKS, "HOOKS_DATABASE_URL", CANARY),
        (HooksSettings, HOOKS, "EVENT_KEY", CANARY),
        (HooksSettings, HOOKS, "HOOKS_PORT", "0"),
        (HooksSettings, HOOKS, "HOOKS_PORT", "65536"),
        (HooksSettings, HOOKS, "HOOKS_PORT", "80.0"),
        (HooksSettings, HOOKS, "HOOKS_PORT", "-1"),
        (HooksSettings, HOOKS, "HOOKS_PORT", "9" * 5_000),
        (HooksSettings, HOOKS, "CLIENT_ID_LENGTH", "0"),
        (HooksSettings, HOOKS, "CLIENT_ID_LENGTH", "256"),
        (HooksSettings, HOOKS, "SLOW_HASH_RATE", "0"),
        (HooksSettings, HOOKS, "SLOW_HASH_RATE", "nan"),
        (HooksSettings, HOOKS, "SLOW_HASH_RATE", "inf"),
        (HooksSettings, HOOKS, "SLOW_HASH_RATE", "four"),
        (HooksSettings, HOOKS, "SLOW_HASH_BURST", "0.5"),
        (HooksSettings, HOOKS, "HASHING_THREADS", "0"),
        (HooksSettings, HOOKS, "GRANTS_MEMORY", "0"),
        (HooksSettings, HOOKS, "LOG_LEVEL", "verbose"),
        (ResponderSettings, RESPONDER, "DERIVATION_KEY", CANARY),
        (ResponderSettings, RESPONDER, "SEALING_KEYS", f"k1:{CANARY}"),
        (ResponderSettings, RESPONDER, "PROVISION_BROKER", "broker:8883"),
        (ResponderSettings, RESPONDER, "PROVISION_BROKER", "wss://broker"),
        (ResponderSettings, RESPONDER, "PROVISION_BROKER", f"mqtts://user:{CANARY}@broker"),
        (ResponderSettings, RESPONDER, "ANSWER_LIMIT", "4095"),
        (ResponderSettings, RESPONDER, "MESSAGE_TIMEOUT", "-1"),
        (AdministratorSettings, ADMINISTRATOR, "PROVISION_ACCOUNT", "a b"),
        (AdministratorSettings, ADMINISTRATOR, "BCRYPT_COST", "3"),
        (AdministratorSettings, ADMINISTRATOR, "BCRYPT_COST", "16"),
    ],
)
def test_a_wrong_value_is_a_problem_of_its_setting(
    kind: type[Settings], environ: dict[str, str], name: str, value: str
) -> None:
    assert set(problems(kind, {**environ, f"PROVISION_{name}": value})) == {f"PROVISION_{name}"}


@pytest.mark.parametrize(
    ("kind", "environ", "name", "value", "read"),
    [
        (HooksSettings, HOOKS, "HOOKS_PORT", "65535", 65535),
        (HooksSettings, HOOKS, "CLIENT_ID_LENGTH", "255", 255),
        (HooksSettings, HOOKS, "SLOW_HASH_RATE", "0.5", 0.5),
        (HooksSettings, HOOKS, "LOG_LEVEL", "debug", "debug"),
        (ResponderSettings, RESPONDER, "PROVISION_BROKER", "mqtt://broker", "mqtt://broker"),
        (ResponderSettings, RESPONDER, "RESPONDER_PASSWORD", "x", Secret("x")),
        (ResponderSettings, RESPONDER, "DERIVATION_KEY", KEY, b"k" * 32),
        (ResponderSettings, RESPONDER, "SEALING_KEYS", f"a:{KEY}", SealingKeys((("a", b"k" * 32),))),
        (AdministratorSettings, ADMINISTRATOR, "PROVISION_ACCOUNT", "ec-provisioning", "ec-provisioning"),
        (AdministratorSettings, ADMINISTRATOR, "BCRYPT_COST", "4", 4),
        (MigrateSettings, MIGRATE, "MIGRATOR_DATABASE_URL", "postgres://x", Secret("postgres://x")),
    ],
)
def test_a_good_value_is_read(kind: type[Settings], environ: dict[str, str], name: str, value: str, read: Any) -> None:
    assert getattr(kind.from_env({**environ, f"PROVISION_{name}": value}), name.lower()) == read


def test_all_problems_are_reported_at_once() -> None:
    found = problems(
        HooksSettings,
        {"PROVISION_EVENT_KEY": CANARY, "PROVISION_HOOKS_PORT": "x", "PROVISION_CLIENT_ID_LENGTH": "1000"},
    )
    assert set(found) == {
        "PROVISION_HOOKS_DATABASE_URL",
        "PROVISION_EVENT_KEY",
        "PROVISION_HOOKS_PORT",
        "PROVISION_CLIENT_ID_LENGTH",
    }


def test_the_defaults_are_the_design_s() -> None:
    hooks = HooksSettings.from_env(HOOKS)
    assert (hooks.hooks_host, hooks.client_id_length) == ("127.0.0.1", 23)
    assert (hooks.slow_hash_rate, hooks.slow_hash_burst) == (4, 2)
    assert ResponderSettings.from_env(RESPONDER).answer_limit == 48 * 1024
    assert AdministratorSettings.from_env(ADMINISTRATOR).provision_account == "provision"
    assert AdministratorSettings.from_env(ADMINISTRATOR).bcrypt_cost == 10
