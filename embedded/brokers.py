"""
Mosquitto with the shipped configuration files: filled in, owned by whom it runs as, started.

Started by root, Mosquitto becomes its own user before it loads plugins, so the plugin and the secret must lie where
that user can read them.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent.parent / "mosquitto"
_WORD = re.compile(r"@([A-Z_]+)@")
# What would let somebody in without a question to the hooks (plugin.md).
FORBIDDEN = ("use_identity_as_username", "use_subject_as_username", "psk_file", "psk_hint", "password_file", "acl_file")


class NoBroker(Exception):
    """Mosquitto was not found; the message says what to install."""


def find_mosquitto() -> str:
    """The server program: Debian has it in a folder that not everybody's PATH names."""
    path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise NoBroker("mosquitto was not found: install Debian's `mosquitto` and `mosquitto-dev`")
    return path


def broker_user() -> pwd.struct_passwd | None:
    """Whom Mosquitto becomes; None where we are not root and it stays who we are."""
    return pwd.getpwnam("mosquitto") if os.geteuid() == 0 else None


def give_to_broker(*paths: Path) -> None:
    """Let Mosquitto's user own files that it must read."""
    user = broker_user()
    for path in paths:
        if user is not None:
            os.chown(path, user.pw_uid, user.pw_gid)


def render(template: str, words: Mapping[str, str]) -> str:
    """A shipped file with its words filled in. A word without a value, or a value of several lines, is an error."""

    def fill(match: re.Match[str]) -> str:
        value = words[match[1]]
        if not value or "\n" in value:
            raise ValueError(f"{match[1]} has no value of one line")
        return value

    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for name in FORBIDDEN:
        if re.search(rf"^\s*{name}\b", text, re.MULTILINE):
            raise ValueError(f"{template}: {name} lets clients in without a question to the hooks")
    return _WORD.sub(fill, text)


def write_private(path: Path, text: str) -> None:
    """A file of mode 0600 that Mosquitto's user owns."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    give_to_broker(path)
