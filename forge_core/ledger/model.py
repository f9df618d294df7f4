"""Tables of the ledger: entries, the texts they commit to, and the instance they belong to."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import BYTEA, INTERVAL, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base

TIME = TIMESTAMP(timezone=True)


class LedgerEntry(Base):
    """What happened, as canonical bytes. Only INSERT and SELECT are granted to anyone.

    ``kind`` and ``subject`` repeat what the body says, for indexes; the body is what is hashed.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (
        CheckConstraint("octet_length(leaf_hash) = 32", name="leaf_hash"),
        Index(
            "ledger_entries_subject_ix",
            "subject",
            "id",
            postgresql_where=text("kind <> 'ballot.counted'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
    body: Mapped[bytes] = mapped_column(BYTEA)
    leaf_hash: Mapped[bytes] = mapped_column(BYTEA)


class CommittedText(Base):
    """Free text beside its salt; the ledger holds only the commitment."""

    __tablename__ = "texts"

    commitment: Mapped[str] = mapped_column(primary_key=True)
    salt: Mapped[bytes] = mapped_column(BYTEA)
    body: Mapped[str]


class Instance(Base):
    """The one row that says which ledger this is: made by its first entry, never twice."""

    __tablename__ = "instance"
    __table_args__ = (
        CheckConstraint("id = 1", name="single"),
        CheckConstraint("sandbox OR clock_offset = INTERVAL '0'", name="production_clock"),
        CheckConstraint("clock_offset >= INTERVAL '0'", name="clock_moves_forward"),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    sandbox: Mapped[bool]
    founded_at: Mapped[datetime] = mapped_column(TIME)
    clock_offset: Mapped[timedelta] = mapped_column(INTERVAL)
