"""Tables of the immune system: events, their summaries, what was answered, where overlays stand."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Sequence, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)

MIRROR = Sequence("immune_mirror", metadata=Base.metadata)
WINDOWS = Sequence("immune_windows", metadata=Base.metadata)


class Heartbeat(Base, held=Held.OPERATIONAL):
    """When somebody was last at work; ``unwell``: what the last look at the house found.

    The look's own row alone says anything there: the names of what to look at again.
    """

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(TIME)
    unwell: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))


class RuntimeEventRow(Base, held=Held.OPERATIONAL):
    """An event as it was published, for 24 hours; an hour is a partition.

    ``success`` is null where it says nothing about the subject: a call that failed by its caller's
    or the platform's fault, a change of an overlay's life, use of the platform. ``at`` is by the
    publisher's clock, ``recorded_at`` by ours.
    """

    __tablename__ = "runtime_events"
    __table_args__ = (
        CheckConstraint(
            "subject_kind IN ('overlay', 'address', 'member', 'host')", name="subject_kind"
        ),
        Index("runtime_events_subject_ix", "subject", "subject_kind", "at"),
        Index(
            "runtime_events_downloads_ix",
            "at",
            postgresql_where=text("type = 'data.downloaded'"),
        ),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    source: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    type: Mapped[str]
    subject_kind: Mapped[str]
    subject: Mapped[str]
    success: Mapped[bool | None]
    slow: Mapped[bool] = mapped_column(server_default="false")
    exhausted: Mapped[bool] = mapped_column(server_default="false")
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    recorded_at: Mapped[datetime] = mapped_column(TIME, server_default=text("clock_timestamp()"))


class UnjudgedEvent(Base, held=Held.OPERATIONAL):
    """An event that no check has looked at yet; the check that does takes it away."""

    __tablename__ = "runtime_unjudged"

    subject_kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    noted_at: Mapped[datetime] = mapped_column(TIME, server_default=text("clock_timestamp()"))


class OverlayMinute(Base, held=Held.OPERATIONAL):
    """An overlay's calls of one minute; ``excused`` failed by somebody else's fault."""

    __tablename__ = "overlay_minutes"
    __table_args__ = (Index("overlay_minutes_minute_ix", "minute"),)

    overlay: Mapped[str] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    slow: Mapped[int] = mapped_column(BigInteger)
    exhausted: Mapped[int] = mapped_column(BigInteger)
    excused: Mapped[int] = mapped_column(BigInteger)
    milliseconds: Mapped[int] = mapped_column(BigInteger)


class AddressMinute(Base, held=Held.OPERATIONAL):
    """Attempts to log in from one address in one minute."""

    __tablename__ = "address_minutes"
    __table_args__ = (Index("address_minutes_minute_ix", "minute"),)

    address: Mapped[str] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    attempts: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)


class MemberMinute(Base, held=Held.OPERATIONAL):
    """How much of a member's limit was used in one minute; ``refused`` came on top of it."""

    __tablename__ = "member_minutes"
    __table_args__ = (Index("member_minutes_minute_ix", "minute"),)

    member: Mapped[str] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    allowed: Mapped[int] = mapped_column(BigInteger)
    used: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)


class HostMinute(Base, held=Held.OPERATIONAL):
    """The worst of a host in one minute; shares in thousandths."""

    __tablename__ = "host_minutes"
    __table_args__ = (Index("host_minutes_minute_ix", "minute"),)

    host: Mapped[str] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    memory: Mapped[int] = mapped_column(BigInteger)
    disk: Mapped[int] = mapped_column(BigInteger)
    queue_depth: Mapped[int] = mapped_column(BigInteger)
    connections: Mapped[int] = mapped_column(BigInteger)


class DownloadHour(Base, held=Held.OPERATIONAL):
    """How many different items a member downloaded in an hour that is over."""

    __tablename__ = "download_hours"
    __table_args__ = (Index("download_hours_hour_ix", "hour"),)

    member: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(TIME, primary_key=True)
    items: Mapped[int] = mapped_column(BigInteger)


class OverlayBaseline(Base, held=Held.OPERATIONAL):
    """How an overlay is usually called, from the summaries: worked out anew every hour."""

    __tablename__ = "overlay_baselines"

    overlay: Mapped[str] = mapped_column(primary_key=True)
    usual_ms: Mapped[int] = mapped_column(BigInteger)
    calls_a_minute: Mapped[Decimal]
    measured_at: Mapped[datetime] = mapped_column(TIME)


class KnownAddress(Base, held=Held.OPERATIONAL):
    """Which commitment stands for an address in entries; erasing the text erases the row."""

    __tablename__ = "known_addresses"

    address: Mapped[str] = mapped_column(primary_key=True)
    commitment: Mapped[str] = mapped_column(
        ForeignKey("texts.commitment", ondelete="CASCADE"), unique=True
    )


class ResponseRow(Base, held=Held.DERIVED):
    """What was answered to a finding, or done by a person: a lease with its evidence.

    Of an address, ``subject`` is the commitment.
    """

    __tablename__ = "immune_responses"
    __table_args__ = (
        CheckConstraint(
            "rung IN ('observe', 'warn', 'throttle', 'restrict', 'block', 'quarantine', 'hold')",
            name="rung",
        ),
        CheckConstraint("(rule IS NULL) = (evidence IS NULL)", name="evidence"),
        Index("immune_responses_subject_ix", "subject", "subject_kind", "began_at"),
        Index(
            "immune_responses_open_ix",
            "rung",
            "until_at",
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    subject_kind: Mapped[str]
    subject: Mapped[str]
    rung: Mapped[str]
    rule: Mapped[str | None]
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    why: Mapped[str | None]
    reason: Mapped[str | None]
    imposed_by: Mapped[str]
    began_at: Mapped[datetime] = mapped_column(TIME)
    until_at: Mapped[datetime | None] = mapped_column(TIME)
    ended_at: Mapped[datetime | None] = mapped_column(TIME)
    ended_by: Mapped[str | None]


class PendingAction(Base, held=Held.DERIVED):
    """What the immune system would do and may not do alone: two people confirm it, or it lapses."""

    __tablename__ = "immune_actions"
    __table_args__ = (
        CheckConstraint("first_by <> second_by", name="two"),
        Index("immune_actions_subject_ix", "subject", "subject_kind"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    subject_kind: Mapped[str]
    subject: Mapped[str]
    rung: Mapped[str]
    response_id: Mapped[str]
    opened_at: Mapped[datetime] = mapped_column(TIME)
    lapses_at: Mapped[datetime] = mapped_column(TIME)
    first_by: Mapped[str | None]
    first_at: Mapped[datetime | None] = mapped_column(TIME)
    second_by: Mapped[str | None]
    second_at: Mapped[datetime | None] = mapped_column(TIME)


class Incident(Base, held=Held.DERIVED):
    """What no single response can mend. While one pauses, nothing is done automatically."""

    __tablename__ = "incidents"
    __table_args__ = (
        CheckConstraint("kind IN ('systemic', 'halt', 'health')", name="kind"),
        Index(
            "incidents_open_key",
            "kind",
            "subject",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    reason: Mapped[str | None]
    opened_by: Mapped[str]
    opened_at: Mapped[datetime] = mapped_column(TIME)
    pauses_until: Mapped[datetime | None] = mapped_column(TIME)
    closed_at: Mapped[datetime | None] = mapped_column(TIME)
    closed_by: Mapped[str | None]
