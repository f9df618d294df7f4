"""Tables of advice. The analyses themselves are kept texts: they quote, and can be erased."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    text,
)
from sqlalchemy.dialects.postgresql import NUMERIC, TIMESTAMP, TSVECTOR
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
        Index("advice_input_ix", "input", postgresql_where=text("input IS NOT NULL")),
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
    input: Mapped[str | None]
    """The digest of what a model was shown; None for the rules'."""


class ProposalWords(Base, held=Held.OPERATIONAL):
    """What a proposal is found by, for as long as both its texts are kept."""

    __tablename__ = "proposal_words"
    __table_args__ = (
        ForeignKeyConstraint(
            ["title"], ["texts.commitment"], name="proposal_words_title_fkey", ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["description"],
            ["texts.commitment"],
            name="proposal_words_description_fkey",
            ondelete="CASCADE",
        ),
        Index("proposal_words_title_ix", "title"),
        Index("proposal_words_description_ix", "description"),
        Index("proposal_words_words_ix", "words", postgresql_using="gin"),
    )

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    description: Mapped[str]
    words: Mapped[str] = mapped_column(TSVECTOR)


class Consultation(Base, held=Held.OPERATIONAL):
    """A turn of asking a model. ``tokens`` is what it may cost, and what it did cost once ended."""

    __tablename__ = "consultations"
    __table_args__ = (
        CheckConstraint("tokens >= 0", name="tokens"),
        CheckConstraint("(ended_at IS NULL) = (outage IS NULL)", name="ended"),
        Index("consultations_started_at_ix", "started_at"),
        Index("consultations_ended_at_ix", "ended_at"),
        Index("consultations_batch_ix", "batch", postgresql_where=text("batch IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    proposal_id: Mapped[str]
    model: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    until: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    tokens: Mapped[int] = mapped_column(BigInteger)
    ended_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    calls: Mapped[int | None] = mapped_column(Integer)
    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cache_read_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cache_written_tokens: Mapped[int | None] = mapped_column(BigInteger)
    latency_ms: Mapped[int | None] = mapped_column(BigInteger)
    failure: Mapped[str | None]
    outage: Mapped[bool | None]
    batch: Mapped[int | None] = mapped_column(BigInteger)
    """The job that asks about many at once; None: it was asked about alone."""
    input: Mapped[str | None]
    """In a batch: the digest of what was asked."""


class AdviceBatch(Base, held=Held.OPERATIONAL):
    """A batch that is under way: the job that looks after it, and what it is called outside."""

    __tablename__ = "advice_batches"

    job: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    service_id: Mapped[str | None]
    nonce: Mapped[str]
    canary: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
