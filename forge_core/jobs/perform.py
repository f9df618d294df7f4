"""Performing one wake-up: claim, work, finish.

The only place that begins and ends transactions around steps; the Celery tasks and the tests call
it alike.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.database import describe, is_retryable, transaction
from forge_core.errors import Fenced
from forge_core.failpoints import reach
from forge_core.jobs.kinds import Chore, Job, JobKind, Later, Outcome, Outside, Step
from forge_core.jobs.lifecycle import (
    claim,
    claim_alone,
    finish,
    give_back,
    give_up,
    put_off,
)
from forge_core.jobs.record import woken

log = structlog.get_logger(__name__)

_TOGETHER_MOST: Final = 3
OUTSIDE_SECONDS: Final = 30.0
"""So long a wake-up begins further work outside; another one goes on where it left off."""
OUTSIDE_MORE: Final = 150.0
"""So much longer, while one that takes long has to be waited for anyway."""
OUTSIDE_LOOK: Final = 1.0


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
    if isinstance(kind.step, Outside):
        return _perform_outside(engine, kind, kind.step)
    with transaction(engine) as session:
        jobs = claim(session, kind)
    done = Performed(claimed=len(jobs), full=len(jobs) == kind.claim)
    reach("jobs.claimed")
    # Who failed together is tried alone next time, lest one of them be the end of all.
    if kind.together and jobs and all(job.tries < _TOGETHER_MOST for job in jobs):
        _work_together(engine, kind, kind.step, jobs, done)
    else:
        for job in jobs:
            _work_alone(engine, kind, kind.step, job, done)
    return done


def perform_chore(engine: Engine, chore: Chore) -> Performed:
    """Do one bounded piece of a chore; ``full`` when more is left."""
    done = Performed()
    with _work(engine, done) as session:
        done.full = chore.step(session)
        reach("jobs.finished")
    return done


def _perform_outside(engine: Engine, kind: JobKind, outside: Outside) -> Performed:
    """Several abreast; each begins the next one when it is done, until there is none."""
    with transaction(engine) as session:
        first = claim_alone(session, kind)
        abreast = outside.abreast(session) if first else 0
    reach("jobs.claimed")
    if not first:
        return Performed()
    until, others = time.monotonic() + OUTSIDE_SECONDS, _Others()

    def work(jobs: Sequence[Job]) -> Performed:
        done = Performed()
        while time.monotonic() < until or others.are_busy(OUTSIDE_LOOK, until + OUTSIDE_MORE):
            if not jobs:
                with transaction(engine) as session:
                    jobs = claim(session, kind)
            done.claimed += len(jobs)
            went_on = False
            if jobs:
                with others.busy():
                    went_on = _work_outside(engine, kind, outside, jobs[0], done)
                jobs = ()
            # Nothing to do now: there may be before those who are busy have ended.
            if not went_on and not others.are_busy(OUTSIDE_LOOK, until + OUTSIDE_MORE):
                return done
        done.full = True
        return done

    with ThreadPoolExecutor(abreast) as threads:
        parts = list(threads.map(work, [first, *[()] * (abreast - 1)]))
    return Performed(
        sum(part.claimed for part in parts),
        any(part.full for part in parts),
        {name for part in parts for name in part.woken},
    )


class _Others:
    """Who of several threads is busy; the others wait for them anyway."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = 0

    @contextmanager
    def busy(self) -> Iterator[None]:
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def are_busy(self, seconds: float, until: float) -> bool:
        """Whether anybody is, after waiting so long for a change; nobody counts as it later."""
        with self._changed:
            if self._busy and time.monotonic() < until:
                self._changed.wait(seconds)
            return self._busy > 0 and time.monotonic() < until


def _work_outside(
    engine: Engine, kind: JobKind, outside: Outside, job: Job, done: Performed
) -> bool:
    """Whether there is a point in going on with the next one."""
    try:
        with _work(engine, done) as session:
            how = prepared = outside.prepare(session, job)
            if isinstance(how, Outcome | Later):
                _end(session, job, how)
        if not isinstance(how, Outcome | Later):
            reach("outside.prepared")
            acted = outside.act(prepared)
            reach("outside.acted")
            with _work(engine, done) as session:
                how = outside.apply(session, job, prepared, acted)
                _end(session, job, how)
                reach("jobs.finished")
        # Whose turn it is not needs no other job to hear the same.
        return not isinstance(how, Later) or how.counts
    except Fenced:
        log.warning("jobs.fenced", kind=kind.name, job=job.id)
    except Exception as error:  # noqa: BLE001  # recorded on the row, retried, in the end dead
        log.warning("jobs.attempt_failed", kind=kind.name, job=job.id, error=describe(error))
        _give_back(engine, kind, [job], error, done)
    return True


def _end(session: Session, job: Job, how: Outcome | Later) -> None:
    if isinstance(how, Later):
        put_off(session, job, how)
    else:
        finish(session, [job], [how])


def _work_together(
    engine: Engine, kind: JobKind, step: Step, jobs: Sequence[Job], done: Performed
) -> None:
    """One work transaction for all; one that fails for a job's sake is done again job by job."""
    try:
        with _work(engine, done) as session:
            finish(session, jobs, step(session, jobs))
            reach("jobs.finished")
    except Fenced:
        log.warning("jobs.fenced", kind=kind.name, jobs=len(jobs))
    except DBAPIError as error:
        log.warning("jobs.attempt_failed", kind=kind.name, jobs=len(jobs), error=describe(error))
        if is_retryable(error):
            _give_back(engine, kind, jobs, error, done)
        else:
            for job in jobs:
                _work_alone(engine, kind, step, job, done)
    except Exception as error:  # noqa: BLE001  # nothing is committed: each job is tried alone
        log.warning("jobs.together_failed", kind=kind.name, jobs=len(jobs), error=describe(error))
        for job in jobs:
            _work_alone(engine, kind, step, job, done)


def _work_alone(engine: Engine, kind: JobKind, step: Step, job: Job, done: Performed) -> None:
    try:
        with _work(engine, done) as session:
            finish(session, [job], step(session, [job]))
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
