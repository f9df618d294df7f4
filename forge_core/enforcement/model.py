"""Tables of what stands between an approved vote and its change, and of what leaves the house."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Index, Integer, text
from sqlalchemy.dialects.postgresql import JSONB, NUMERIC, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)


class Review(Base, held=Held.DERIVED):
    """A reviewer's last word on a proposal's code; ``weight`` is what it weighs."""

    __tablename__ = "reviews"
    __table_args__ = (CheckConstraint("weight >= 0", name="weight"),)

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(primary_key=True)
    approves: Mapped[bool]
    weight: Mapped[Decimal] = mapped_column(NUMERIC)
    comment: Mapped[str]
    reviewed_at: Mapped[datetime] = mapped_column(TIME)


class SignOff(Base, held=Held.DERIVED):
    """One of the original yes-voters agrees to the implementation."""

    __tablename__ = "sign_offs"

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(primary_key=True)
    signed_at: Mapped[datetime] = mapped_column(TIME)


class JointAction(Base, held=Held.DERIVED):
    """What takes two people: one proposes it, another confirms it."""

    __tablename__ = "joint_actions"
    __table_args__ = (
        CheckConstraint("kind IN ('quarantine', 'break_glass', 'core_seat')", name="kind"),
        CheckConstraint(
            "status IN ('proposed', 'confirmed', 'done', 'cancelled', 'lapsed', 'failed')",
            name="status",
        ),
        CheckConstraint("confirmed_by <> proposed_by", name="two"),
        CheckConstraint("status <> 'proposed' OR lapses_at IS NOT NULL", name="lapse"),
        CheckConstraint("status <> 'confirmed' OR due_at IS NOT NULL", name="due"),
        Index("joint_actions_due_ix", "due_at", postgresql_where=text("status = 'confirmed'")),
        Index("joint_actions_lapse_ix", "lapses_at", postgresql_where=text("status = 'proposed'")),
        Index("joint_actions_subject_ix", "subject", "kind"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str]
    proposed_by: Mapped[str]
    proposed_at: Mapped[datetime] = mapped_column(TIME)
    lapses_at: Mapped[datetime | None] = mapped_column(TIME)
    confirmed_by: Mapped[str | None]
    confirmed_at: Mapped[datetime | None] = mapped_column(TIME)
    due_at: Mapped[datetime | None] = mapped_column(TIME)
    ended_at: Mapped[datetime | None] = mapped_column(TIME)
    failure: Mapped[str | None]


class OutboxEffect(Base, held=Held.OPERATIONAL):
    """An effect to bring about outside the database, once by its key."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("direction IN ('apply', 'undo')", name="direction"),
        CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state"),
        Index("outbox_pending_ix", "not_before", postgresql_where=text("state = 'pending'")),
    )

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[int] = mapped_column(Integer, primary_key=True)
    direction: Mapped[str] = mapped_column(primary_key=True)
    capability: Mapped[str]
    before: Mapped[Any] = mapped_column(JSONB)
    after: Mapped[Any] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(server_default="pending")
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    not_before: Mapped[datetime] = mapped_column(TIME, server_default=text("clock_timestamp()"))
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=text("clock_timestamp()"))
    finished_at: Mapped[datetime | None] = mapped_column(TIME)
    message: Mapped[str | None]
