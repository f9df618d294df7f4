"""Tables of proposals and the lifecycle's edges, which the database enforces as well."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, NUMERIC, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held
from forge_core.proposals.lifecycle import Status

TIME = TIMESTAMP(timezone=True)
STATUSES = tuple(status.value for status in Status)


class LifecycleEdge(Base, held=Held.OPERATIONAL):
    """The edge table of ``lifecycle.py``, for the trigger that refuses every other change."""

    __tablename__ = "lifecycle_edges"

    from_status: Mapped[str] = mapped_column(primary_key=True)
    to_status: Mapped[str] = mapped_column(primary_key=True)


class Proposal(Base, held=Held.DERIVED):
    """A proposal as of now. Title, description and reasons are commitments into ``texts``.

    Everything that decides about it is frozen here at opening: electorate version, weight table,
    total, and the track's terms.
    """

    __tablename__ = "proposals"
    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status"),
        CheckConstraint("octet_length(payload_hash) = 32", name="payload_hash"),
        CheckConstraint(
            "(status IN ('draft', 'cancelled', 'expired')) OR (opened_at IS NOT NULL AND "
            "closes_at IS NOT NULL AND terms IS NOT NULL AND eligible_weight IS NOT NULL)",
            name="opened",
        ),
        CheckConstraint("closes_at > opened_at", name="voting_period"),
        CheckConstraint(
            "status NOT IN ('queued', 'executed', 'rolled_back') OR eta IS NOT NULL", name="eta"
        ),
        CheckConstraint("expires_at > eta", name="grace"),
        CheckConstraint(
            "status NOT IN ('draft', 'approved') OR lapses_at IS NOT NULL", name="lapse"
        ),
        Index("proposals_due_ix", "closes_at", "id", postgresql_where=text("status = 'active'")),
        Index("proposals_eta_ix", "eta", "id", postgresql_where=text("status = 'queued'")),
        Index(
            "proposals_lapse_ix",
            "lapses_at",
            "id",
            postgresql_where=text("status IN ('draft', 'approved')"),
        ),
        Index("proposals_grace_ix", "expires_at", "id", postgresql_where=text("status = 'queued'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    status: Mapped[str]
    proposer: Mapped[str]
    title: Mapped[str]
    description: Mapped[str]
    reason: Mapped[str | None]
    payload: Mapped[bytes] = mapped_column(BYTEA)
    payload_hash: Mapped[bytes] = mapped_column(BYTEA)
    track: Mapped[str]
    voting_hours: Mapped[int] = mapped_column(Integer)
    electorate: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(TIME)
    lapses_at: Mapped[datetime | None] = mapped_column(TIME)
    opened_at: Mapped[datetime | None] = mapped_column(TIME)
    closes_at: Mapped[datetime | None] = mapped_column(TIME)
    electorate_version: Mapped[int | None] = mapped_column(BigInteger)
    eligible_weight: Mapped[Decimal | None] = mapped_column(NUMERIC)
    eligible_members: Mapped[int | None] = mapped_column(BigInteger)
    weights: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    terms: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    decided_at: Mapped[datetime | None] = mapped_column(TIME)
    decision: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    eta: Mapped[datetime | None] = mapped_column(TIME)
    expires_at: Mapped[datetime | None] = mapped_column(TIME)
    queued_count: Mapped[int] = mapped_column(Integer, server_default="0")
    ended_at: Mapped[datetime | None] = mapped_column(TIME)
    failure: Mapped[str | None]
    end_reason: Mapped[str | None]
    predecessor: Mapped[str | None]


class ProposalTarget(Base, held=Held.DERIVED):
    """A thing that a proposal would change; live proposals that share one are rivals."""

    __tablename__ = "proposal_targets"
    __table_args__ = (Index("proposal_targets_target_ix", "target"),)

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    target: Mapped[str] = mapped_column(primary_key=True)


class Effect(Base, held=Held.DERIVED):
    """The effect of a proposal's action, once per direction, whatever is delivered how often.

    ``cause`` is the proposal that brought it about: the one itself, or its rollback.
    """

    __tablename__ = "effects"
    __table_args__ = (
        CheckConstraint("direction IN ('apply', 'undo')", name="direction"),
        Index("effects_applied_ix", "applied_at", "proposal_id", "action"),
        Index("effects_target_ix", "target", "applied_at"),
    )

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[int] = mapped_column(Integer, primary_key=True)
    direction: Mapped[str] = mapped_column(primary_key=True)
    applied_at: Mapped[datetime] = mapped_column(TIME)
    cause: Mapped[str | None]
    type: Mapped[str | None]
    target: Mapped[str | None]
    before: Mapped[Any | None] = mapped_column(JSONB)
    after: Mapped[Any | None] = mapped_column(JSONB)
    way_back: Mapped[Any | None] = mapped_column(JSONB)
    microseconds: Mapped[int | None] = mapped_column(BigInteger)
