"""Performing one wake-up: claim, work, finish.

The only place that begins and ends transactions around steps; the Celery tasks and the tests call
it alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.database import describe, is_retryable, transaction
from forge_core.errors import Fenced
from forge_core.failpoints import reach
from forge_core.jobs.kinds import Chore, Job, JobKind
from forge_core.jobs.lifecycle import claim, finish, give_back, give_up
from forge_core.jobs.record import woken

log = structlog.get_logger(__name__)


@dataclass
class Performed:
    """What a wake-up came to: rows claimed, whether more may wait, and which kinds to wake."""

    claimed: int = 0
    full: bool = False
    woken: set[str] = field(default_factory=set)


def perform(engine: Engine, kind: JobKind) -> Performed:
    """Claim rows of a kind and do them, each work transaction for itself.

    Running it twice, or on many workers at once, is safe: rows are claimed by one at a time, and
    finishing demands the claim. Raises only when the database cannot be reached for the claim.
    """
    with transaction(engine) as session:
        jobs = claim(session, kind)
    done = Performed(claimed=len(jobs), full=len(jobs) == kind.claim)
    reach("jobs.claimed")
    if kind.together and jobs:
        _work_together(engine, kind, jobs, done)
    else:
        for job in jobs:
            _work_alone(engine, kind, job, done)
    return done


def perform_chore(engine: Engine, chore: Chore) -> Performed:
    """Do one bounded piece of a chore; ``full`` when more is left."""
    done = Performed()
    with _work(engine, done) as session:
        done.full = chore.step(session)
        reach("jobs.finished")
    return done


def _work_together(engine: Engine, kind: JobKind, jobs: Sequence[Job], done: Performed) -> None:
    """One work transaction for all; one that fails for a job's sake is done again job by job."""
    try:
        with _work(engine, done) as session:
            finish(session, jobs, kind.step(session, jobs))
            reach("jobs.finished")
    except Fenced:
        log.warning("jobs.fenced", kind=kind.name, jobs=len(jobs))
    except DBAPIError as error:
        log.warning("jobs.attempt_failed", kind=kind.name, jobs=len(jobs), error=describe(error))
        if is_retryable(error):
            _give_back(engine, kind, jobs, error, done)
        else:
            for job in jobs:
                _work_alone(engine, kind, job, done)
    except Exception as error:  # noqa: BLE001  # nothing is committed: each job is tried alone
        log.warning("jobs.together_failed", kind=kind.name, jobs=len(jobs), error=describe(error))
        for job in jobs:
            _work_alone(engine, kind, job, done)


def _work_alone(engine: Engine, kind: JobKind, job: Job, done: Performed) -> None:
    try:
        with _work(engine, done) as session:
            finish(session, [job], kind.step(session, [job]))
            reach("jobs.finished")
    except Fenced:
        log.warning("jobs.fenced", kind=kind.name, job=job.id)
    except Exception as error:  # noqa: BLE001  # recorded on the row, retried, in the end dead
        log.warning("jobs.attempt_failed", kind=kind.name, job=job.id, error=describe(error))
        _give_back(engine, kind, [job], error, done)


def _give_back(
    engine: Engine, kind: JobKind, jobs: Sequence[Job], error: Exception, done: Performed
) -> None:
    """If this fails too, the lease expires and the sweep takes the row back."""
    try:
        with _work(engine, done) as session:
            for job in jobs:
                if is_retryable(error):
                    give_back(session, kind, job, describe(error))
                else:
                    give_up_early(session, kind, job, error)
    except (DBAPIError, Fenced) as second:
        log.warning("jobs.left_to_sweep", kind=kind.name, jobs=len(jobs), error=describe(second))


def give_up_early(session: Session, kind: JobKind, job: Job, error: Exception) -> None:
    """An error that is no outage gets fewer attempts, then a person has to look."""
    if job.tries >= kind.errors:
        give_up(session, kind, job, describe(error))
    else:
        give_back(session, kind, job, describe(error))


@contextmanager
def _work(engine: Engine, done: Performed) -> Iterator[Session]:
    """A work transaction; the kinds it woke count only once it is committed."""
    with transaction(engine) as session:
        yield session
    reach("jobs.committed")
    done.woken |= woken(session)
