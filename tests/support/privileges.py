"""Who may do what, as Postgres itself answers: tables, columns, sequences, functions, schema."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database

ROLES = ("functions", "hooks", "responder", "admin", "platform", "backup")
BOOKKEEPING = ["_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock", "migration_checksums"]

TABLES = """
    SELECT r.role, c.relname AS name, string_agg(p.privilege, ' ' ORDER BY p.privilege) AS privileges
    FROM unnest($1::text[]) r (role), pg_class c,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p (privilege)
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relname <> ALL ($2)
        AND has_table_privilege('provisioning_' || r.role, c.oid, p.privilege)
    GROUP BY 1, 2
"""
# Only where the table as a whole does not have it.
COLUMNS = """
    SELECT r.role, c.relname || ' ' || p.privilege AS name, string_agg(a.attname, ' ' ORDER BY a.attname) AS privileges
    FROM unnest($1::text[]) r (role), pg_class c JOIN pg_attribute a ON a.attrelid = c.oid,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p (privilege)
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relname <> ALL ($2)
        AND a.attnum > 0 AND NOT a.attisdropped
        AND has_column_privilege('provisioning_' || r.role, c.oid, a.attname, p.privilege)
        AND NOT has_table_privilege('provisioning_' || r.role, c.oid, p.privilege)
    GROUP BY 1, 2
"""
SEQUENCES = """
    SELECT r.role, c.relname AS name, string_agg(p.privilege, ' ' ORDER BY p.privilege) AS privileges
    FROM unnest($1::text[]) r (role), pg_class c, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) p (privilege)
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S' AND c.relname <> ALL ($2)
        AND has_sequence_privilege('provisioning_' || r.role, c.oid, p.privilege)
    GROUP BY 1, 2
"""
FUNCTIONS = """
    SELECT r.role, p.oid::regprocedure::text AS name, 'EXECUTE' AS privileges
    FROM unnest($1::text[]) r (role), pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND cardinality($2::text[]) > 0
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e')
        AND has_function_privilege('provisioning_' || r.role, p.oid, 'EXECUTE')
"""
SCHEMA = """
    SELECT r.role, 'public' AS name, string_agg(p.privilege, ' ' ORDER BY p.privilege) AS privileges
    FROM unnest($1::text[]) r (role), unnest(ARRAY['USAGE', 'CREATE']) p (privilege)
    WHERE has_schema_privilege('provisioning_' || r.role, 'public', p.privilege) AND cardinality($2::text[]) > 0
    GROUP BY 1, 2
"""
KINDS = {"tables": TABLES, "columns": COLUMNS, "sequences": SEQUENCES, "functions": FUNCTIONS, "schema": SCHEMA}


async def found(database: Database) -> dict[str, Any]:
    """As in tests/vectors/privileges.json, of every role, also of one with none."""
    matrix: dict[str, dict[str, dict[str, str]]] = {}
    for kind, query in KINDS.items():
        rows = await database.fetch(query, list(ROLES), BOOKKEEPING)
        of_role: dict[str, dict[str, str]] = {role: {} for role in ROLES}
        for row in sorted(rows, key=lambda row: str(row["name"])):
            of_role[row["role"]][row["name"]] = row["privileges"]
        matrix[kind] = of_role
    return {
        **matrix,
        "functions": {role: sorted(names) for role, names in matrix["functions"].items()},
        "schema": {role: rights.get("public", "") for role, rights in matrix["schema"].items()},
    }


def differences(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """A line for each right that one of them has and the other not."""
    lines = []
    for kind in KINDS:
        for role in ROLES:
            should, has = _rights(expected[kind].get(role, {})), _rights(actual[kind][role])
            lines += [
                f"{kind}: {role} on {name}: has {has.get(name, 'none')!r}, should have {should.get(name, 'none')!r}"
                for name in sorted(should.keys() | has.keys())
                if should.get(name) != has.get(name)
            ]
    return lines


def _rights(entry: dict[str, str] | list[str] | str) -> dict[str, str]:
    if isinstance(entry, str):
        return {"public": entry}
    return dict.fromkeys(entry, "EXECUTE") if isinstance(entry, list) else entry
