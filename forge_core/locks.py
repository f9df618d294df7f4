"""Locks by name, for what has no row of its own to lock.

A row, not an advisory lock: any session may take any advisory key, so a client could hold up what
it has no business with.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Mapped, Session, mapped_column

from forge_core.database import Base, Held


class NamedLock(Base, held=Held.OPERATIONAL):
    """A name that was ever locked. Only the application's role can reach it."""

    __tablename__ = "named_locks"

    name: Mapped[str] = mapped_column(primary_key=True)


_ENSURE = text("INSERT INTO named_locks (name) VALUES (:name) ON CONFLICT DO NOTHING")
_LOCK = text("SELECT FROM named_locks WHERE name = :name FOR UPDATE")
_SHARE = text("SELECT FROM named_locks WHERE name = :name FOR SHARE")
_TRY = text("SELECT 1 FROM named_locks WHERE name = :name FOR UPDATE SKIP LOCKED")


def lock_name(session: Session, name: str) -> None:
    """Hold ``name`` until this transaction ends; others wait."""
    session.execute(_ENSURE, {"name": name})
    session.execute(_LOCK, {"name": name})


def share_name(session: Session, name: str) -> None:
    """Hold ``name`` together with others that share it; who locks it waits."""
    session.execute(_ENSURE, {"name": name})
    session.execute(_SHARE, {"name": name})


def try_lock_name(session: Session, name: str) -> bool:
    """Hold ``name`` until this transaction ends, unless somebody else does; says which."""
    session.execute(_ENSURE, {"name": name})
    return session.execute(_TRY, {"name": name}).scalar_one_or_none() is not None
