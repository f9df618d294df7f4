"""Claiming and ending jobs, fenced by the attempt number.

Claim is a short transaction of its own: attempt + 1, a lease. The work transaction ends with
``finish``, which demands the same attempt: a worker that slept through its lease changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json, run
from forge_core.errors import Fenced, Refused
from forge_core.jobs.kinds import Job, JobKind, Later, Outcome, Outside
from forge_core.jobs.record import wake
from forge_core.locks import try_lock_name

BACK_OFF_LEAST = timedelta(milliseconds=200)
BACK_OFF_MOST = timedelta(seconds=30)

_CLAIM = text("""
    UPDATE jobs
    SET state = 'running', attempt = attempt + 1,
        lease_until = clock_timestamp() + :lease, message = NULL, code = NULL
    WHERE id IN (
        SELECT id FROM jobs
        WHERE state = 'pending' AND kind = :kind AND not_before <= clock_timestamp()
        ORDER BY id
        LIMIT :limit
        FOR NO KEY UPDATE SKIP LOCKED
    )
    RETURNING id, kind, key, payload, actor, issuer, command_id, attempt, forgiven
""")

_UNDER_WAY = text("""
    SELECT EXISTS (
        SELECT FROM jobs
        WHERE kind = :kind AND state = 'running' AND lease_until > clock_timestamp()
    )
""")

_FINISH = text("""
    UPDATE jobs
    SET state = given.state, result = given.result, code = given.code, message = given.message,
        lease_until = NULL,
        forgiven = jobs.forgiven + CASE WHEN given.state = 'pending' THEN 1 ELSE 0 END,
        finished_at = CASE WHEN given.state = 'pending' THEN NULL ELSE clock_timestamp() END
    FROM json_to_recordset(CAST(:rows AS json)) AS given
        (id bigint, attempt integer, state text, result jsonb, code text, message text)
    WHERE jobs.id = given.id AND jobs.attempt = given.attempt AND jobs.state = 'running'
    RETURNING jobs.id
""")

_ANSWER = text("""
    UPDATE commands
    SET state = jobs.state, code = jobs.code, message = jobs.message, result = jobs.result
    FROM jobs
    WHERE jobs.id = ANY(:ids) AND jobs.issuer IS NOT NULL AND jobs.finished_at IS NOT NULL
        AND commands.issuer = jobs.issuer AND commands.command_id = jobs.command_id
""")

_RETRY = text("""
    UPDATE jobs
    SET state = 'pending', lease_until = NULL, not_before = clock_timestamp() + :delay,
        message = :message, forgiven = forgiven + :forgiven
    WHERE id = :id AND attempt = :attempt AND state = 'running'
        AND (once OR NOT EXISTS (
            SELECT FROM jobs AS twin
            WHERE twin.key = jobs.key AND twin.state = 'pending' AND NOT twin.once
        ))
    RETURNING id
""")

_LOST = text("UPDATE jobs SET lost = lost + 1 WHERE id = :id")

_REVIVE = text("""
    UPDATE jobs
    SET state = 'pending', forgiven = attempt, lost = 0, not_before = clock_timestamp(),
        finished_at = NULL, code = NULL, message = NULL
    WHERE id = :id AND state = 'dead'
        AND (once OR NOT EXISTS (
            SELECT FROM jobs AS twin
            WHERE twin.key = jobs.key AND twin.state = 'pending' AND NOT twin.once
        ))
    RETURNING kind, issuer, command_id
""")

_STATE = text("SELECT state FROM jobs WHERE id = :id")

_UNANSWER = text("""
    UPDATE commands SET state = 'pending', code = NULL, message = NULL, result = NULL
    WHERE issuer = :issuer AND command_id = :command_id
""")

_SUPERSEDE = text("""
    UPDATE jobs SET state = 'superseded', lease_until = NULL, finished_at = clock_timestamp()
    WHERE id = :id AND attempt = :attempt AND state = 'running'
""")


def claim(session: Session, kind: JobKind) -> list[Job]:
    """Take the oldest claimable rows of a kind; rows that another worker holds are skipped."""
    limit = 1 if isinstance(kind.step, Outside) else kind.claim
    rows = run(session, _CLAIM, kind=kind.name, limit=limit, lease=kind.lease)
    return sorted((Job.of(row) for row in rows), key=lambda job: job.id)


def claim_alone(session: Session, kind: JobKind) -> list[Job]:
    """The same, unless rows of the kind are claimed already, by whomever."""
    if not try_lock_name(session, f"jobs.{kind.name}"):
        return []
    if session.execute(_UNDER_WAY, {"kind": kind.name}).scalar_one():
        return []
    return claim(session, kind)


def finish(session: Session, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """End jobs with their outcomes, in the work transaction. Raises ``Fenced`` if one was lost."""
    rows = [
        {
            "id": job.id,
            "attempt": job.attempt,
            "state": outcome.state,
            "result": outcome.result,
            "code": outcome.code,
            "message": outcome.message,
        }
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]
    ended = run(session, _FINISH, rows=as_json(rows))
    if len(ended) != len(jobs):
        lost = sorted({job.id for job in jobs} - {row.id for row in ended})
        raise Fenced(f"the claim on jobs {lost} was taken back; their work is rolled back")
    if any(job.command_id for job in jobs):
        session.execute(_ANSWER, {"ids": [job.id for job in jobs]})


def back_off(attempt: int) -> timedelta:
    """Exponential from 0.2 s to 30 s, with jitter over its upper half."""
    delay = min(BACK_OFF_LEAST * 2 ** min(attempt - 1, 16), BACK_OFF_MOST)
    return timedelta(seconds=delay.total_seconds() * random.uniform(0.5, 1.0))  # noqa: S311  # spreading load, not a secret


def give_back(session: Session, kind: JobKind, job: Job, reason: str) -> None:
    """After an attempt that changed nothing: pending again with back-off, or dead.

    A coalescing row whose pending twin exists ends as superseded: the twin does the work. Does
    nothing when the claim was lost meanwhile.
    """
    if job.tries >= kind.attempts:
        give_up(session, kind, job, reason)
        return
    put_off(session, job, Later(back_off(job.tries), reason, counts=True))


def put_off(session: Session, job: Job, later: Later) -> None:
    """Pending again, not before a while has passed; superseded where a pending twin exists."""
    again = run(
        session,
        _RETRY,
        id=job.id,
        attempt=job.attempt,
        delay=later.after,
        message=later.reason,
        forgiven=int(not later.counts),
    )
    if not again:
        session.execute(_SUPERSEDE, {"id": job.id, "attempt": job.attempt})


def lose(session: Session, kind: JobKind, job: Job, reason: str) -> None:
    """After a lease that ran out. Work that loses its worker every time is given up."""
    session.execute(_LOST, {"id": job.id})
    if kind.losses is not None and job.lost + 1 >= kind.losses:
        give_up(session, kind, job, reason)
    else:
        give_back(session, kind, job, reason)


def give_up(session: Session, kind: JobKind, job: Job, reason: str) -> None:
    """Attempts are used up: the row is dead, and the kind's consequence is in this transaction.

    Only a person revives a dead row (``forge jobs retry``).
    """
    if kind.on_dead is not None:
        kind.on_dead(session, job, reason)
    finish(session, [job], [Outcome("dead", code="ATTEMPTS_USED_UP", message=reason)])


def revive(session: Session, job_id: int) -> str:
    """A person gives a dead job its attempts again; returns its kind.

    ``JOB_NOT_DEAD``; ``JOB_HAS_TWIN`` when a pending row of the same key does the work already.

    Running it twice is safe: the second time the job is not dead any more.
    """
    rows = run(session, _REVIVE, id=job_id)
    if not rows and session.execute(_STATE, {"id": job_id}).scalar_one_or_none() == "dead":
        raise Refused("JOB_HAS_TWIN", f"a pending job does the work of job {job_id} already")
    if not rows:
        raise Refused("JOB_NOT_DEAD", f"job {job_id} is not dead; only dead jobs are revived")
    (revived,) = rows
    if revived.command_id is not None:
        session.execute(
            _UNANSWER, {"issuer": revived.issuer, "command_id": str(revived.command_id)}
        )
    wake(session, revived.kind)
    return str(revived.kind)
