"""What a database's catalogs say of its schema, in words that two databases can be compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

import psycopg

# Tables of the migrations' own bookkeeping.
BOOKKEEPING = ["_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock", "migration_checksums"]

QUERIES: Mapping[str, LiteralString] = {
    "tables": """
        SELECT c.relname, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner),
            (SELECT string_agg(coalesce(g.rolname, 'PUBLIC') || '=' || a.privilege_type, ' '
                ORDER BY g.rolname, a.privilege_type)
             FROM aclexplode(coalesce(
                c.relacl, acldefault(lower(translate(c.relkind, 'vmp', 'rrr'))::"char", c.relowner)
             )) a LEFT JOIN pg_roles g ON g.oid = a.grantee)
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'S', 'p')
            AND c.relname <> ALL (%(bookkeeping)s)
    """,
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
            pg_get_expr(d.adbin, d.adrelid), a.attacl::text
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
            AND c.relname <> ALL (%(bookkeeping)s)
    """,
    "constraints": """
        SELECT c.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> ALL (%(bookkeeping)s) AND k.contype <> 'n'
    """,
    "indexes": """
        SELECT c.relname, pg_get_indexdef(i.indexrelid), i.indisvalid
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> ALL (%(bookkeeping)s)
    """,
    "triggers": """
        SELECT c.relname, translate(pg_get_triggerdef(t.oid), '()', ''), t.tgenabled::text
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal AND c.relname <> ALL (%(bookkeeping)s)
    """,
    "policies": """
        SELECT tablename, policyname, permissive, (SELECT array_agg(role ORDER BY role) FROM unnest(roles) role), cmd,
            qual, with_check
        FROM pg_policies WHERE schemaname = 'public'
    """,
    "functions": """
        SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
            (SELECT string_agg(coalesce(g.rolname, 'PUBLIC') || '=' || a.privilege_type, ' '
                ORDER BY g.rolname, a.privilege_type)
             FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
             LEFT JOIN pg_roles g ON g.oid = a.grantee)
        FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e')
    """,
    "schema": """
        SELECT coalesce(g.rolname, 'PUBLIC'), a.privilege_type
        FROM pg_namespace n, aclexplode(n.nspacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
        WHERE n.nspname = 'public'
    """,
    "extensions": "SELECT extname FROM pg_extension",
}


def describe(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every table, column, constraint, index, trigger, policy, function and right of the schema `public`, sorted."""
    found = {}
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = ''")
        for what, query in QUERIES.items():
            arguments = {"bookkeeping": BOOKKEEPING} if "%(bookkeeping)s" in query else None
            rows = connection.execute(query, arguments).fetchall()
            found[what] = sorted(rows, key=repr)
    return found


def differences(left: dict[str, list[tuple[object, ...]]], right: dict[str, list[tuple[object, ...]]]) -> list[str]:
    """What only one of two descriptions has."""
    found = []
    for what in QUERIES:
        found += [f"- {what}: {row}" for row in left[what] if row not in right[what]]
        found += [f"+ {what}: {row}" for row in right[what] if row not in left[what]]
    return found
