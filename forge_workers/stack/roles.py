"""Who may do what in the database: one role a purpose, each with a password of its own.

- `forge_owner` owns the objects; nobody logs in as it
- `forge_migrate` may become forge_owner, for migrations
- `forge_app`: the workers and the command line
- `forge_client`: services that only submit
- `forge_reader`: pages and the gateway, which only read
"""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor  # noqa: N812  # a class in lower case
from psycopg2.sql import SQL, Identifier, Literal

from forge_workers.stack.postgres import DATABASE, PostgresServer

OWNER = "forge_owner"
LOGINS = ("forge_migrate", "forge_app", "forge_client", "forge_reader")

# A transaction that stands still must end before the lease of its job does; migrations may be slow.
_LIMITED = ("forge_app", "forge_client", "forge_reader")
_LIMITS = {
    "idle_in_transaction_session_timeout": "10s",
    "statement_timeout": "15s",
    "lock_timeout": "5s",
}


def ensure_roles(server: PostgresServer) -> None:
    """The roles with their passwords and limits, and the database. Running it again is fine."""
    with server.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles")
        present = {name for (name,) in cursor.fetchall()}
        for role in (OWNER, *LOGINS):
            if role not in present:
                cursor.execute(SQL("CREATE ROLE {}").format(Identifier(role)))
        for role in LOGINS:
            _let_in(cursor, role, server.secrets.get(role))
        cursor.execute(SQL("GRANT {} TO forge_migrate").format(Identifier(OWNER)))
        # Whoever takes a page over shall keep nobody else from the database.
        cursor.execute("ALTER ROLE forge_reader CONNECTION LIMIT 40")
        cursor.execute("ALTER ROLE forge_reader SET default_transaction_read_only = on")
        cursor.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
    create_database(server, DATABASE)


def create_database(server: PostgresServer, name: str, *, template: str = "template0") -> None:
    """A database of forge_owner's that only our roles may enter; made when it is missing."""
    with server.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        # Fifteen times as fast as the default, which writes every page to the log.
        create = "CREATE DATABASE {name} OWNER {owner} TEMPLATE {template} STRATEGY file_copy"
        for statement in (
            *([] if cursor.fetchone() else [create]),
            "REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {name} TO {logins}",
            # A verification folds the ledger into temporary tables.
            "GRANT TEMP ON DATABASE {name} TO forge_app",
        ):
            cursor.execute(
                SQL(statement).format(
                    name=Identifier(name),
                    owner=Identifier(OWNER),
                    template=Identifier(template),
                    logins=SQL(", ").join(map(Identifier, LOGINS)),
                )
            )


def drop_database(server: PostgresServer, name: str) -> None:
    """Also while somebody is connected to it."""
    with server.superuser() as connection, connection.cursor() as cursor:
        cursor.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


def _let_in(cursor: Cursor, role: str, password: str) -> None:
    cursor.execute(
        SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(Identifier(role), Literal(password))
    )
    if role in _LIMITED:
        for name, value in _LIMITS.items():
            cursor.execute(
                SQL("ALTER ROLE {} SET {} = {}").format(
                    Identifier(role), Identifier(name), Literal(value)
                )
            )
