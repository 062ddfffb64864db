"""sql/schema.sql is what the migrations make."""

from __future__ import annotations

import difflib
import re

import psycopg
import pytest

from embedded.dump_schema import SCHEMA_FILE, dump, find_program, stable
from embedded.postgres import create_database
from service.db.migrations import Migrator
from service.keys import Secret
from tests.integration.conftest import Blank
from tests.support import postgres
from tests.support.catalog import describe, differences
from tests.support.database import new_name

RENEW = "sql/schema.sql is not what the migrations make: renew it with `make schema`"


@pytest.fixture
def migrated(server: postgres.Server) -> str:
    """A migrated database's URL (the template is never connected to while it is copied)."""
    name = new_name("schema")
    create_database(server.superuser_url, name)
    Migrator(Secret(server.url(name, "migrator"))).up()
    return server.url(name)


def test_a_database_made_from_the_file_is_the_migrated_one(blank: Blank, migrated: str) -> None:
    """On every server: tables, columns, types, constraints, indexes, triggers, policies, functions, rights."""
    with psycopg.connect(blank.url(), autocommit=True) as connection:
        connection.execute("SET check_function_bodies = off")
        connection.execute(SCHEMA_FILE.read_bytes())
    assert differences(describe(migrated), describe(blank.url())) == [], RENEW


def test_the_file_is_the_dump(server: postgres.Server, migrated: str) -> None:
    """To the letter, where a pg_dump is at hand that can read this server (its catalogs are compared in any case)."""
    pg_dump = find_program("pg_dump", server.cluster.binaries if server.cluster else None)
    if pg_dump is None:
        return
    try:
        made = dump(migrated, pg_dump)
    except RuntimeError as error:
        if "server version mismatch" in str(error):
            return
        raise
    kept = SCHEMA_FILE.read_text(encoding="utf-8")
    difference = list(difflib.unified_diff(kept.splitlines(), made.splitlines(), "sql/schema.sql", "migrations", n=1))
    assert difference == [], f"{RENEW}\n" + "\n".join(difference[:40])


def test_a_dump_says_nothing_of_its_server() -> None:
    text = (
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped from database version 17.1\n"
        "-- Dumped by pg_dump version 17.1\n\nSET transaction_timeout = 0;\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\n\n"
        "--\n-- Name: t; Type: TABLE; Schema: public; Owner: x\n--\n\nCREATE TABLE public.t ();\n\n\n\n"
        "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n"
    )
    assert stable(text) == "CREATE TABLE public.t ();\n"
    assert not re.search(r"^(SET|\\|--\n)", SCHEMA_FILE.read_text(), re.MULTILINE)
