"""Tables of the members: levels with their history, roles, restrictions, delegations, rolls."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import NUMERIC, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)
LEVELS = ("CORE", "TRUSTED", "STANDARD", "SANDBOX", "QUARANTINE")
ROLES = ("admin", "guardian", "reviewer", "operator")


class Member(Base, held=Held.DERIVED):
    """A member as of now. History is in ``member_levels``."""

    __tablename__ = "members"
    __table_args__ = (
        CheckConstraint(f"level IN {LEVELS}", name="level"),
        Index("members_quarantine_ix", "id", postgresql_where=text("level = 'QUARANTINE'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    level: Mapped[str]
    active: Mapped[bool]
    admitted_at: Mapped[datetime] = mapped_column(TIME)
    version: Mapped[int] = mapped_column(BigInteger)


class MemberLevel(Base, held=Held.DERIVED):
    """A member's level from an electorate version on; the roll of any version is read here."""

    __tablename__ = "member_levels"
    __table_args__ = (CheckConstraint(f"level IN {LEVELS}", name="level"),)

    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    level: Mapped[str]
    active: Mapped[bool]
    changed_at: Mapped[datetime] = mapped_column(TIME)
    cause: Mapped[str]


class MemberRole(Base, held=Held.DERIVED):
    """A power beyond voting: admin, guardian, reviewer or operator."""

    __tablename__ = "member_roles"
    __table_args__ = (CheckConstraint(f"role IN {ROLES}", name="role"),)

    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)


class Restriction(Base, held=Held.DERIVED):
    """A lease on a member's new commands; level, weight, roll and quorum base stay untouched."""

    __tablename__ = "restrictions"
    __table_args__ = (CheckConstraint("until > imposed_at", name="until"),)

    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True)
    imposed_at: Mapped[datetime] = mapped_column(TIME)
    until: Mapped[datetime] = mapped_column(TIME)
    imposed_by: Mapped[str]
    reason: Mapped[str]


class Electorate(Base, held=Held.DERIVED):
    """The one row that every change of membership, level or delegation goes through.

    Its lock makes version order commit order, and opening a proposal O(1): version and members
    per level are all that needs freezing.
    """

    __tablename__ = "electorate"
    __table_args__ = (
        CheckConstraint("id = 1", name="single"),
        CheckConstraint(
            "core >= 0 AND trusted >= 0 AND standard >= 0 AND sandbox >= 0 AND quarantine >= 0",
            name="counts",
        ),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger)
    core: Mapped[int] = mapped_column(BigInteger)
    trusted: Mapped[int] = mapped_column(BigInteger)
    standard: Mapped[int] = mapped_column(BigInteger)
    sandbox: Mapped[int] = mapped_column(BigInteger)
    quarantine: Mapped[int] = mapped_column(BigInteger)


class DelegationEdge(Base, held=Held.DERIVED):
    """From a version on, a member's weight follows this edge for one type of proposal or all."""

    __tablename__ = "delegations"
    __table_args__ = (
        CheckConstraint("delegator <> delegate", name="no_self"),
        CheckConstraint("until_version > from_version", name="versions"),
        Index(
            "delegations_open_key",
            "delegator",
            "scope",
            unique=True,
            postgresql_where=text("until_version IS NULL"),
        ),
        Index("delegations_delegate_ix", "delegate"),
    )

    delegator: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    from_version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    until_version: Mapped[int | None] = mapped_column(BigInteger)
    delegate: Mapped[str] = mapped_column(ForeignKey("members.id"))
    expires_at: Mapped[datetime | None] = mapped_column(TIME)


class ImportedElectorate(Base, held=Held.DERIVED):
    """A roll from elsewhere: immutable and hashed once sealed, shared by proposals naming it."""

    __tablename__ = "imported_electorates"

    id: Mapped[str] = mapped_column(primary_key=True)
    members: Mapped[int] = mapped_column(BigInteger)
    weight: Mapped[Decimal] = mapped_column(NUMERIC)
    sealed_at: Mapped[datetime | None] = mapped_column(TIME)
    digest: Mapped[str | None]


class ImportedWeight(Base, held=Held.DERIVED):
    """One voter of an imported roll. Zero is allowed: recorded, weighs nothing."""

    __tablename__ = "imported_weights"
    __table_args__ = (CheckConstraint("weight >= 0", name="weight"),)

    electorate_id: Mapped[str] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[Decimal] = mapped_column(NUMERIC)


class Holding(Base, held=Held.DERIVED):
    """What a member holds, as a registered source last said it; weighs in balance electorates."""

    __tablename__ = "holdings"
    __table_args__ = (
        CheckConstraint("coins >= 0 AND minutes >= 0 AND tokens >= 0 AND usd >= 0", name="amounts"),
    )

    source: Mapped[str] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(primary_key=True)
    coins: Mapped[Decimal] = mapped_column(NUMERIC)
    minutes: Mapped[Decimal] = mapped_column(NUMERIC)
    tokens: Mapped[Decimal] = mapped_column(NUMERIC)
    usd: Mapped[Decimal] = mapped_column(NUMERIC)


class HoldingsReport(Base, held=Held.DERIVED):
    """How often a source has reported; a roll made of it names the report it was made after."""

    __tablename__ = "holdings_reports"

    source: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
    reported_at: Mapped[datetime] = mapped_column(TIME)
