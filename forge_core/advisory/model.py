"""Tables of advice. The analyses themselves are kept texts: they quote, and can be erased."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Index, Integer
from sqlalchemy.dialects.postgresql import NUMERIC, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.advisory.analysis import Recommendation, Source
from forge_core.database import Base, Held


class Advice(Base, held=Held.DERIVED):
    """An analysis of a proposal; ``analysis`` is the commitment to its JSON."""

    __tablename__ = "advice"
    __table_args__ = (
        CheckConstraint(f"source IN {tuple(map(str, Source))}", name="source"),
        CheckConstraint(f"recommendation IN {tuple(map(str, Recommendation))}", name="recommends"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        Index("advice_at_ix", "at"),
    )

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    source: Mapped[str]
    analyser: Mapped[str]
    constitution: Mapped[str]
    recommendation: Mapped[str]
    confidence: Mapped[Decimal] = mapped_column(NUMERIC)
    analysis: Mapped[str]
