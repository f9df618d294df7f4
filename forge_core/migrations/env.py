"""Alembic's entry: runs versions on the connection that ``forge_core.database.migrate`` opened."""

from __future__ import annotations

from pathlib import Path

from alembic import context
from sqlalchemy import Connection, text

ROLES = Path(__file__).parent / "roles.sql"


def run(connection: Connection) -> None:
    """Every object belongs to ``forge_owner``, whoever migrates."""
    connection.execute(text(ROLES.read_text(encoding="utf-8")))
    connection.execute(text("SET ROLE forge_owner"))
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text("RESET ROLE"))


run(context.config.attributes["connection"])
