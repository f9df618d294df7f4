"""The register of overlays: what runs on the platform, at which version, and how it stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)


class Overlay(Base, held=Held.DERIVED):
    """A registered overlay as of now; what it ``provides`` are capabilities others rely on."""

    __tablename__ = "overlays"
    __table_args__ = (
        CheckConstraint("status IN ('ACTIVE', 'RETIRED')", name="status"),
        CheckConstraint(
            "trust IN ('CORE', 'TRUSTED', 'STANDARD', 'SANDBOX', 'QUARANTINE')", name="trust"
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    status: Mapped[str]
    trust: Mapped[str] = mapped_column(server_default="SANDBOX")
    description: Mapped[str | None]
    max_execution_ms: Mapped[int | None] = mapped_column(BigInteger)
    max_fuel: Mapped[int | None] = mapped_column(BigInteger)
    max_memory: Mapped[int | None] = mapped_column(BigInteger)
    provides: Mapped[Any] = mapped_column(JSONB, server_default="[]")
    registered_by: Mapped[str]
    proposal_id: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(TIME)


class Containment(Base, held=Held.DERIVED):
    """Where an overlay stands; one that was never contained has no row."""

    __tablename__ = "containments"
    __table_args__ = (
        CheckConstraint("stage IN ('active', 'quarantined', 'probation', 'held')", name="stage"),
        CheckConstraint("(stage = 'quarantined') = (until_at IS NOT NULL)", name="until"),
        Index("containments_stage_ix", "stage", postgresql_where=text("stage <> 'active'")),
    )

    overlay: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str]
    since: Mapped[datetime] = mapped_column(TIME)
    until_at: Mapped[datetime | None] = mapped_column(TIME)
    doublings: Mapped[int] = mapped_column(Integer)
    failed_probations: Mapped[int] = mapped_column(Integer)
    response_id: Mapped[str]
