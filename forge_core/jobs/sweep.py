"""The sweep: what brokers forget and crashes leave behind, found again from the rows.

Every piece is bounded, only narrows, and is safe to run any number of times at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.jobs.kinds import Chore, Derivation, Job, JobKind
from forge_core.jobs.lifecycle import lose
from forge_core.jobs.record import wake
from forge_core.locks import try_lock_name

log = structlog.get_logger(__name__)

LIMIT = 1_000
MOST_WAKE_UPS = 8

_EXPIRED = text("""
    SELECT id, kind, key, payload, actor, issuer, command_id, attempt, forgiven, lost
    FROM jobs
    WHERE state = 'running' AND lease_until < clock_timestamp() AND kind = ANY(:kinds)
    ORDER BY id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
""")

_CLAIMABLE = text("""
    SELECT kind, old.waiting
    FROM unnest(CAST(:kinds AS text[])) AS kind, LATERAL (
        SELECT count(*) AS waiting FROM (
            SELECT FROM jobs
            WHERE state = 'pending' AND jobs.kind = kind.kind
                AND greatest(created_at, not_before) < clock_timestamp() - INTERVAL '1 second'
            LIMIT 1000
        ) AS waiting_rows
    ) AS old
    WHERE old.waiting > 0
""")


def take_back_expired(session: Session, kinds: Mapping[str, JobKind]) -> int:
    """An expired lease means a dead transaction: the row is claimable again, or dead.

    Rows of kinds that this version does not know are left to one that does.
    """
    rows = run(session, _EXPIRED, kinds=sorted(kinds), limit=LIMIT)
    for row in rows:
        job = Job.of(row)
        try:
            with session.begin_nested():
                lose(session, kinds[job.kind], job, "the worker was lost: its lease expired")
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            # What this row needs is held by somebody; no other row waits for that.
            log.warning("sweep.row_left", kind=job.kind, job=job.id)
    return len(rows)


def derive(session: Session, derivation: Derivation) -> int:
    """Insert up to ``LIMIT`` missing jobs of one derivation.

    One sweep at a time: another would not see what this one has inserted, and insert it again.
    """
    if not try_lock_name(session, f"derive.{derivation.name}"):
        return 0
    rows = run(session, derivation.insert, limit=LIMIT)
    wake(session, *(row.kind for row in rows))
    return len(rows)


def wake_ups(
    session: Session, kinds: Mapping[str, JobKind], chores: Sequence[Chore]
) -> dict[str, int]:
    """How many wake-ups each kind needs: one per full claim, at least one, about eight a queue."""
    wanted = {
        row.kind: -(-row.waiting // kinds[row.kind].claim)
        for row in run(session, _CLAIMABLE, kinds=sorted(kinds))
    }
    for chore in chores:
        if chore.backlog is not None and session.execute(chore.backlog).scalar_one():
            wanted[chore.name] = MOST_WAKE_UPS
    queues: dict[str, int] = {}
    for name in sorted(wanted):
        queue = kinds[name].queue if name in kinds else _queue(chores, name)
        allowed = MOST_WAKE_UPS - queues.get(queue, 0)
        wanted[name] = min(wanted[name], max(allowed, 1))  # no kind hides another
        queues[queue] = queues.get(queue, 0) + wanted[name]
    return wanted


def _queue(chores: Sequence[Chore], name: str) -> str:
    return next(chore.queue for chore in chores if chore.name == name)
