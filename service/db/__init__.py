"""Postgres: connections, named queries, migrations, and one module a noun that turns rows into records."""
