"""Tables of voting: the inbox, every ballot ever counted, the effective ones, and the tallies.

The inbox and the ballots carry no foreign keys to ``proposals``: their only writers hold the
proposal's row lock, and a check per ballot would cost as much as the ballot itself.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Sequence, text
from sqlalchemy.dialects.postgresql import NUMERIC, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)
CHOICES = ("for", "against", "abstain")

# One ballot at a time: a cached block of numbers would let a later ballot get a smaller one.
BALLOT_NUMBERS = Sequence("ballot_numbers", metadata=Base.metadata, cache=1)


class InboxBallot(Base, held=Held.OPERATIONAL):
    """An accepted ballot that is not counted yet; its number is its order."""

    __tablename__ = "ballot_inbox"
    __table_args__ = (Index("ballot_inbox_proposal_ix", "proposal_id", "ballot_id"),)

    ballot_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    proposal_id: Mapped[str]
    member_id: Mapped[str]
    choice: Mapped[str]
    weight: Mapped[Decimal] = mapped_column(NUMERIC)
    accepted_at: Mapped[datetime] = mapped_column(TIME)
    issuer: Mapped[str]
    command_id: Mapped[UUID] = mapped_column(PG_UUID)


class Ballot(Base, held=Held.DERIVED):
    """A ballot of the history; ``counted`` is false for those a cancellation left behind."""

    __tablename__ = "ballots"
    __table_args__ = (
        CheckConstraint(f"choice IN {CHOICES}", name="choice"),
        CheckConstraint("weight >= 0", name="weight"),
        Index("ballots_voter_ix", "proposal_id", "member_id", "ballot_id"),
    )

    ballot_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    proposal_id: Mapped[str]
    member_id: Mapped[str]
    choice: Mapped[str]
    weight: Mapped[Decimal] = mapped_column(NUMERIC)
    accepted_at: Mapped[datetime] = mapped_column(TIME)
    issuer: Mapped[str]
    command_id: Mapped[UUID] = mapped_column(PG_UUID)
    counted: Mapped[bool]


class EffectiveBallot(Base, held=Held.DERIVED):
    """The last accepted ballot of a member on a proposal: at most one, by primary key."""

    __tablename__ = "effective_ballots"
    __table_args__ = (
        CheckConstraint(f"choice IN {CHOICES}", name="choice"),
        {"postgresql_with": {"fillfactor": "90"}},
    )

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(primary_key=True)
    ballot_id: Mapped[int] = mapped_column(BigInteger)
    choice: Mapped[str]
    weight: Mapped[Decimal] = mapped_column(NUMERIC)


class Tally(Base, held=Held.DERIVED):
    """Running counters over effective ballots, own weight only; closing recounts."""

    __tablename__ = "tallies"
    __table_args__ = (
        CheckConstraint(
            "for_weight >= 0 AND against_weight >= 0 AND abstain_weight >= 0", name="weights"
        ),
        Index("tallies_revotes_ix", "proposal_id", postgresql_where=text("revotes > 0")),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    for_weight: Mapped[Decimal] = mapped_column(NUMERIC, server_default="0")
    against_weight: Mapped[Decimal] = mapped_column(NUMERIC, server_default="0")
    abstain_weight: Mapped[Decimal] = mapped_column(NUMERIC, server_default="0")
    for_ballots: Mapped[int] = mapped_column(BigInteger, server_default="0")
    against_ballots: Mapped[int] = mapped_column(BigInteger, server_default="0")
    abstain_ballots: Mapped[int] = mapped_column(BigInteger, server_default="0")
    revotes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Recount(Base, held=Held.OPERATIONAL):
    """When a running tally was last compared with its ballots, and at how many re-votes."""

    __tablename__ = "recounts"

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    revotes: Mapped[int] = mapped_column(BigInteger)
    recounted_at: Mapped[datetime] = mapped_column(TIME)
    corrections: Mapped[int] = mapped_column(BigInteger, server_default="0")
