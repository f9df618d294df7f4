"""Engines, sessions and migrations: the one way to reach PostgreSQL.

Every transaction runs in READ COMMITTED: what a lock protects is read in a later statement than
the one that takes the lock, which REPEATABLE READ would answer from an old snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, MetaData, Text, TextClause, create_engine, text
from sqlalchemy.engine import Row, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session

from forge_core.errors import Misconfigured

MIGRATIONS = Path(__file__).parent / "migrations"
ROLES = ("forge_owner", "forge_migrate", "forge_app", "forge_client", "forge_reader")
"""Whom the schema grants something; see docs/operations.md."""

# SQLSTATEs after which nothing has changed and the same step may be tried again.
RETRYABLE_SQLSTATES = frozenset({
    "40001",  # serialization failure
    "40P01",  # deadlock detected
    "55P03",  # lock_timeout
    "57014",  # statement_timeout
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
    "53300",  # too many connections
    "57P01",  # administrator shut the server down
    "57P02",  # crash shutdown
    "57P03",  # server is starting up
    "53000",  # insufficient resources
    "53100",  # disk full
    "53200",  # out of memory
    "53400",  # configuration limit exceeded
    "58030",  # I/O error
})  # fmt: skip


class Held(StrEnum):
    """What a table's rows are to the ledger; every model says it (``class X(Base, held=...)``)."""

    LEDGER = "ledger"
    """The entries, their order and what is signed over them. It only grows."""
    DERIVED = "derived"
    """Written by folds of entries and nothing else; rebuilt from them and compared."""
    KEPT = "kept"
    """Texts that entries commit to; they can be erased."""
    OPERATIONAL = "operational"
    """Work in progress, what the house needs to run, and what it was told and forgets in days."""


class Base(DeclarativeBase):
    """Every table of the house; constraints have predictable names."""

    def __init_subclass__(cls, *, held: Held, **given: Any) -> None:
        super().__init_subclass__(**given)
        cls.__table__.info["held"] = held  # type: ignore[attr-defined]  # a Table it is

    type_annotation_map: ClassVar = {str: Text()}
    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_ix",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )


def make_engine(url: str, *, pool_size: int = 5) -> Engine:
    """An engine for one process; psycopg2, pre-pinged, with TCP keepalives 5/5/2."""
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise Misconfigured("the database URL cannot be parsed; see docs/operations.md") from error
    if address.drivername in {"postgres", "postgresql"}:
        address = address.set(drivername="postgresql+psycopg2")
    if address.drivername != "postgresql+psycopg2":
        raise Misconfigured(
            f"the database URL names {address.drivername!r}; it must begin with postgresql://"
        )
    return create_engine(
        address,
        pool_size=pool_size,
        max_overflow=5,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # an error's text is logged; ballots and texts are not
        connect_args={
            "connect_timeout": 5,
            "keepalives": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 2,
        },
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session whose one transaction commits when the block ends, or rolls back."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def snapshot(engine: Engine) -> Iterator[Session]:
    """A session for long looks: one moment of everything, no time limits, nothing kept.

    It may make temporary tables; they go with it, for it never commits.
    """
    steady = engine.execution_options(isolation_level="REPEATABLE READ")
    with Session(steady) as session:
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            session.execute(text(f"SET LOCAL {limit} = 0"))
        # Workers started for every piece of a long look cost more than they do.
        session.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
        yield session
        session.rollback()


def is_retryable(error: BaseException) -> bool:
    """True when the database says that nothing happened and that later may be better."""
    if not isinstance(error, DBAPIError):
        return False
    sqlstate = getattr(error.orig, "pgcode", None)
    return error.connection_invalidated or sqlstate is None or sqlstate in RETRYABLE_SQLSTATES


def describe(error: BaseException) -> str:
    """An error's type, and its state in the database or its first line; never parameters."""
    if isinstance(error, DBAPIError):
        # A driver's message may quote the row that was refused.
        return f"{type(error.orig).__name__} ({getattr(error.orig, 'pgcode', None)})"
    first = str(error).partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def as_json(rows: Sequence[Any]) -> str:
    """Rows for ``json_to_recordset``: one parameter, however many rows."""
    return json.dumps(rows, separators=(",", ":"))


def run(session: Session, statement: TextClause, /, **parameters: object) -> Sequence[Row[Any]]:
    """Execute a statement that gives rows, and fetch them all."""
    return session.execute(statement, parameters).all()


_MISSING_ROLES = text("""
    SELECT wanted FROM unnest(CAST(:wanted AS text[])) AS wanted
    WHERE wanted NOT IN (SELECT rolname FROM pg_roles)
        AND NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)
""")


def _require_roles(connection: Connection) -> None:
    """``Misconfigured`` where a role is missing that this login may not make."""
    missing = connection.execute(_MISSING_ROLES, {"wanted": list(ROLES)}).scalars().all()
    if missing:
        raise Misconfigured(
            f"the role {missing[0]} is missing on this server, and this login may not make it; as "
            f"a superuser: CREATE ROLE {missing[0]} LOGIN PASSWORD '...'; "
            "docs/operations.md has its limits"
        )


def migrate(migrate_url: str, revision: str = "head") -> None:
    """Bring the schema to its newest version, or a given one. Running it again changes nothing."""
    from alembic import command  # noqa: PLC0415  # slow to import, needed by one caller
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = make_engine(migrate_url)
    try:
        with engine.connect() as connection:
            # Two stacks that start together migrate one after the other.
            connection.execute(text("SELECT pg_advisory_lock(hashtext('forge.migrate'))"))
            _require_roles(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
    finally:
        engine.dispose()
