"""Tables of the ledger: entries, their order and tree, what is signed over them, their texts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    Identity,
    Index,
    SmallInteger,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA, INTERVAL, JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)


class LedgerEntry(Base, held=Held.LEDGER):
    """What happened, as canonical bytes. Only INSERT and SELECT are granted to anyone.

    ``kind`` and ``subject`` repeat what the body says, for indexes; the body is what is hashed,
    by the database itself (RFC 9162, 2.1.1), so that no other hash can stand beside it.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Index(
            "ledger_entries_subject_ix",
            "subject",
            "id",
            postgresql_where=text("kind <> 'ballot.cast'"),
        ),
        Index(
            "ledger_entries_received_key",
            "subject",
            unique=True,
            postgresql_where=text("kind = 'command.received'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
    body: Mapped[bytes] = mapped_column(BYTEA)
    leaf_hash: Mapped[bytes] = mapped_column(
        BYTEA, Computed("sha256('\\x00'::bytea || body)", persisted=True), nullable=False
    )


class UnsealedEntry(Base, held=Held.LEDGER):
    """Entries that have no position yet: put here by a trigger, taken away by the sealer."""

    __tablename__ = "ledger_unsealed"

    entry_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class SealedEntry(Base, held=Held.LEDGER):
    """Which entry stands at which position (from 0, without gaps), and the leaf it is there."""

    __tablename__ = "ledger_order"
    __table_args__ = (
        CheckConstraint("octet_length(leaf_hash) = 32", name="leaf_hash"),
        CheckConstraint("position >= 0", name="position"),
        Index("ledger_order_leaf_ix", "leaf_hash", postgresql_using="hash"),
    )

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    leaf_hash: Mapped[bytes] = mapped_column(BYTEA)


class TreeTile(Base, held=Held.LEDGER):
    """The root of a full tile: of 256 leaves (level 0), or of 256 tiles of the level below."""

    __tablename__ = "ledger_tiles"
    __table_args__ = (CheckConstraint("octet_length(root) = 32", name="root"),)

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(BYTEA)


class StoredCheckpoint(Base, held=Held.LEDGER):
    """A signed note (C2SP tlog-checkpoint) over the first ``size`` entries."""

    __tablename__ = "ledger_checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[str]


class Cosignature(Base, held=Held.LEDGER):
    """A witness's line under a checkpoint: it saw that this tree extends what it saw before."""

    __tablename__ = "ledger_cosignatures"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    witness: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[str]


class LedgerKey(Base, held=Held.DERIVED):
    """A public key that this ledger's entries name: of the log, of its promises, of a witness."""

    __tablename__ = "ledger_keys"
    __table_args__ = (CheckConstraint("role IN ('log', 'promises', 'witness')", name="role"),)

    vkey: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    replaces: Mapped[str | None]
    announced_at: Mapped[datetime] = mapped_column(TIME)


class Erasure(Base, held=Held.DERIVED):
    """A text that was erased: its commitment stays, and who erased it when and why."""

    __tablename__ = "erasures"

    commitment: Mapped[str] = mapped_column(primary_key=True)
    erased_by: Mapped[str]
    erased_at: Mapped[datetime] = mapped_column(TIME)
    reason: Mapped[str]


class EventCursor(Base, held=Held.OPERATIONAL):
    """How far the ledger was published as events, and who is publishing now."""

    __tablename__ = "event_cursors"

    stream: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    fence: Mapped[int] = mapped_column(BigInteger)
    lease_until: Mapped[datetime] = mapped_column(TIME)


class Audit(Base, held=Held.OPERATIONAL):
    """How far the rolling verification has come, and what it has found."""

    __tablename__ = "ledger_audits"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    frontier: Mapped[list[str]] = mapped_column(JSONB)
    began_at: Mapped[datetime] = mapped_column(TIME)
    completed_at: Mapped[datetime | None] = mapped_column(TIME)
    findings: Mapped[list[Any]] = mapped_column(JSONB)


class CommittedText(Base, held=Held.KEPT):
    """Free text beside its salt; the ledger holds only the commitment."""

    __tablename__ = "texts"

    commitment: Mapped[str] = mapped_column(primary_key=True)
    salt: Mapped[bytes] = mapped_column(BYTEA)
    body: Mapped[str]


class Instance(Base, held=Held.DERIVED):
    """The one row that says which ledger this is: made by its first entry, never twice."""

    __tablename__ = "instance"
    __table_args__ = (
        CheckConstraint("id = 1", name="single"),
        CheckConstraint("sandbox OR clock_offset = INTERVAL '0'", name="production_clock"),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    sandbox: Mapped[bool]
    founded_at: Mapped[datetime] = mapped_column(TIME)
    clock_offset: Mapped[timedelta] = mapped_column(INTERVAL)
