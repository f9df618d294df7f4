"""The table of execution windows, which emergencies and guardians impose."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)


class ExecutionWindow(Base, held=Held.DERIVED):
    """A time in which nothing is executed; it ends by itself, and grace does not run in it."""

    __tablename__ = "execution_windows"
    __table_args__ = (
        CheckConstraint("kind IN ('pause', 'freeze')", name="kind"),
        CheckConstraint("until_at >= from_at", name="until"),
        Index("execution_windows_until_ix", "until_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    from_at: Mapped[datetime] = mapped_column(TIME)
    until_at: Mapped[datetime] = mapped_column(TIME)
    imposed_by: Mapped[str]
    reason: Mapped[str | None]
    proposal_id: Mapped[str | None]
