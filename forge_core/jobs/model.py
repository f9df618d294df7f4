"""Tables of the jobs: rows of work, the commands that called for them, and dead letters."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Integer, text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)
STATES = ("pending", "running", "done", "refused", "failed", "dead", "superseded")


class JobRow(Base, held=Held.OPERATIONAL):
    """One piece of work, written in the transaction that calls for it.

    ``once`` keys are unique over all states, the others (coalescing) over pending rows only.
    ``attempt`` only grows (it is the fence); a person who revives a dead row has its attempts
    ``forgiven``. ``lost`` counts the leases that ran out. ``brief`` rows
    leave soon after they are done.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
        Index("jobs_once_key", "key", unique=True, postgresql_where=text("once")),
        Index(
            "jobs_coalesce_key",
            "key",
            unique=True,
            postgresql_where=text("NOT once AND state = 'pending'"),
        ),
        Index("jobs_claimable_ix", "kind", "id", postgresql_where=text("state = 'pending'")),
        Index("jobs_running_ix", "lease_until", postgresql_where=text("state = 'running'")),
        Index("jobs_dead_ix", "key", postgresql_where=text("state = 'dead'")),
        Index(
            "jobs_brief_ix",
            "finished_at",
            postgresql_where=text("brief AND finished_at IS NOT NULL"),
        ),
        Index("jobs_finished_ix", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    key: Mapped[str]
    once: Mapped[bool]
    brief: Mapped[bool] = mapped_column(server_default="false")
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    actor: Mapped[str]
    issuer: Mapped[str | None]
    command_id: Mapped[UUID | None] = mapped_column(PG_UUID)
    state: Mapped[str] = mapped_column(server_default="pending")
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    forgiven: Mapped[int] = mapped_column(Integer, server_default="0")
    lost: Mapped[int] = mapped_column(Integer, server_default="0")
    not_before: Mapped[datetime] = mapped_column(TIME, server_default=text("clock_timestamp()"))
    lease_until: Mapped[datetime | None] = mapped_column(TIME)
    created_at: Mapped[datetime] = mapped_column(TIME, server_default=text("clock_timestamp()"))
    finished_at: Mapped[datetime | None] = mapped_column(TIME)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    code: Mapped[str | None]
    message: Mapped[str | None]


class CommandRow(Base, held=Held.OPERATIONAL):
    """A command id, once per issuer, with its content hash and its first answer.

    Kept for as long as the ledger lives: the same id and content get the first answer, other
    content is a conflict. A command is answered by its job (``job_id``) or at once (a ballot).
    """

    __tablename__ = "commands"
    __table_args__ = (CheckConstraint("octet_length(content_hash) = 32", name="content_hash"),)

    issuer: Mapped[str] = mapped_column(primary_key=True)
    command_id: Mapped[UUID] = mapped_column(PG_UUID, primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(BYTEA)
    accepted_at: Mapped[datetime] = mapped_column(TIME)
    ballot_id: Mapped[int | None] = mapped_column(BigInteger)
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    code: Mapped[str | None]
    message: Mapped[str | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class DeadLetter(Base, held=Held.OPERATIONAL):
    """A message that could not be processed, kept (bounded) so that a person can look at it."""

    __tablename__ = "dead_letters"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    received_at: Mapped[datetime] = mapped_column(TIME, server_default=text("clock_timestamp()"))
    queue: Mapped[str]
    reason: Mapped[str]
    headers: Mapped[str]
    body: Mapped[str]
