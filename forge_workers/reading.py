"""Read access: sessions that turn the loss of the database into `Unavailable`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.database import is_retryable, transaction
from forge_core.errors import Unavailable


def steady(engine: Engine) -> Engine:
    """The same engine, where a transaction sees one moment of everything and can change nothing."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """Open one transaction; a database that cannot be reached raises `Unavailable`."""
    try:
        with transaction(engine) as session:
            yield session
    except DBAPIError as error:
        if not is_retryable(error):
            raise
        raise Unavailable(f"the database cannot be used now: {_first_line(error)}") from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
