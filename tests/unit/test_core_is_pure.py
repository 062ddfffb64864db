"""
`service/core` decides and does nothing else: no await, no clock, no randomness, no I/O.

Modules are allowed by name; whatever is not on the list is refused, also a module that nobody thought of.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import service.core

CORE = Path(service.core.__file__).parent

ALLOWED_MODULES = frozenset(
    {
        "__future__",
        "base64",
        "collections.abc",
        "cryptography.exceptions",
        "cryptography.hazmat.primitives.ciphers.aead",
        "cryptography.hazmat.primitives.hashes",
        "cryptography.hazmat.primitives.kdf.hkdf",
        "cryptography.hazmat.primitives.serialization",
        "cryptography.x509",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "hmac",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "re",
        "rfc8785",
        "typing",
        "urllib.parse",
        "zlib",
    }
)
REFUSED_CALLS = frozenset({"open", "print", "input", "eval", "exec", "compile", "__import__", "globals", "breakpoint"})
# Of modules that are allowed for other things: the clock, and randomness.
REFUSED_ATTRIBUTES = frozenset({"now", "utcnow", "today", "generate_key"})
WAITING = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)


def is_allowed(module: str) -> bool:
    return module in ALLOWED_MODULES or module == "service.core" or module.startswith("service.core.")


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or "")]
    return []


def is_clock_or_chance(node: ast.AST) -> bool:
    """`x.now()`, and `x.now` handed on of a module or class; a field of that name (`around.now`) is data."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in REFUSED_ATTRIBUTES
    if isinstance(node, ast.Attribute) and node.attr in REFUSED_ATTRIBUTES:
        return ast.unparse(node.value) in ("datetime", "datetime.datetime", "datetime.date", "AESGCM")
    return False


def impurities(source: str) -> Iterator[str]:
    """What a pure module may not hold, as `line: what`."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        yield from (f"{line}: import of {name}" for name in imported(node) if not is_allowed(name))
        if isinstance(node, WAITING):
            yield f"{line}: {type(node).__name__}"
        if isinstance(node, ast.Name) and node.id in REFUSED_CALLS:
            yield f"{line}: {node.id}"
        if is_clock_or_chance(node):
            yield f"{line}: {ast.unparse(node)}"
        if isinstance(node, ast.Global):
            yield f"{line}: {type(node).__name__}"


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.name)
def test_a_core_module_is_pure(path: Path) -> None:
    assert list(impurities(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", sorted(CORE.glob("*.py")), ids=lambda path: path.name)
def test_what_the_core_hands_out_does_not_change(path: Path) -> None:
    """Every dataclass is frozen, so a decision cannot turn into another on its way."""
    module = importlib.import_module(f"service.core.{path.stem}" if path.stem != "__init__" else "service.core")
    for value in vars(module).values():
        if isinstance(value, type) and dataclasses.is_dataclass(value):
            assert vars(value)["__dataclass_params__"].frozen, value.__name__


def test_the_core_is_where_we_look() -> None:
    assert {"connect.py", "coupling.py", "grants.py", "asks.py", "states.py"} <= {path.name for path in CORE.iterdir()}


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import os",
        "import time",
        "import random",
        "import secrets",
        "import socket",
        "import aiohttp",
        "import asyncpg",
        "import gmqtt",
        "import pathlib",
        "import structlog",
        "import json, os",
        "import os.path",
        "from os import environ",
        "from time import monotonic",
        "from secrets import token_bytes as chance",
        "from service import keys",
        "from service.db import pool",
        "from service.corelike import x",
        "import service.coreless",
        "from . import names",
        "from ..db import pool",
        "def f():\n    import subprocess",
        "if True:\n    from pathlib import Path",
        "async def f():\n    pass",
        "async def f():\n    await g()",
        "async def f():\n    async with g():\n        pass",
        "import datetime\nnow = datetime.datetime.now(datetime.UTC)",
        "from datetime import datetime\nnow = datetime.utcnow()",
        "from datetime import datetime\nclock = datetime.now",
        "import datetime\nday = datetime.date.today()",
        "text = open('x').read()",
        "reader = open",
        "print('x')",
        "x = __import__('os')",
        "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\nkey = AESGCM.generate_key(256)",
        "cache = 1\ndef f():\n    global cache\n    cache = 2",
    ],
)
def test_the_check_itself_finds(source: str) -> None:
    """A check that lets everything through would be worth nothing."""
    assert list(impurities(source))


@pytest.mark.parametrize(
    "source",
    [
        "from service.core import names\nfrom service.core.states import RequestState",
        "import datetime\ndef f(now: datetime.datetime) -> bool:\n    return now > around.now",
        "import re\nNAME = re.compile('x')",
    ],
)
def test_the_check_itself_lets_pass(source: str) -> None:
    assert list(impurities(source)) == []
