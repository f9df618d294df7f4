"""Every kind of work as a Celery task: woken, it performs what the rows say, and wakes others.

The tasks are made from ``wiring``'s list, so that no kind can be without one. A task's arguments
are never read: ``forge_workers.consumer`` lets only bare wake-ups through.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy.exc import DBAPIError

from forge_core.database import describe, is_retryable, transaction
from forge_core.enforcement.outbox import DELIVER, deliver_next
from forge_core.jobs.kinds import Chore, JobKind
from forge_core.jobs.perform import Performed, perform, perform_chore
from forge_core.jobs.record import woken
from forge_core.jobs.sweep import LIMIT, derive, take_back_expired, wake_ups
from forge_core.settings import Settings
from forge_core.wiring import CATALOGUE, CHORES, DERIVATIONS, JOB_KINDS
from forge_workers.app import app
from forge_workers.ledger_events import publish
from forge_workers.ledger_tasks import make_checkpoint, verify_some
from forge_workers.processes import engine
from forge_workers.queues import CHECKPOINT, PUBLISH, SWEEP, VERIFY
from forge_workers.waker import Waker

log = structlog.get_logger(__name__)

_KINDS = {kind.name: kind for kind in JOB_KINDS}
_waker = Waker(app)


def _register(name: str, performing: Callable[[], Performed]) -> None:
    """Running a task twice is as safe as ``performing`` is: see ``forge_core.jobs.perform``."""

    @app.task(name=name)
    def wake_up() -> None:
        try:
            done = performing()
        except DBAPIError as error:
            # Nothing happened, and the sweep wakes this kind again. The driver's message is not
            # logged: it may quote a row.
            level = log.warning if is_retryable(error) else log.error
            level("step.failed", task=name, error=describe(error))
            return
        # Who got a full load passes the word on: there may be more.
        _waker.wake([*sorted(done.woken), *([name] if done.full else [])])


def _job(kind: JobKind) -> Callable[[], Performed]:
    return lambda: perform(engine(), kind)


def _chore(chore: Chore) -> Callable[[], Performed]:
    return lambda: perform_chore(engine(), chore)


def sweep() -> Performed:
    """Take back expired leases, derive missing jobs, and wake what waits. Safe at any time."""
    while True:
        with transaction(engine()) as session:
            full = take_back_expired(session, _KINDS) == LIMIT
        if not full:
            break
    for derivation in DERIVATIONS:
        full = True
        while full:
            with transaction(engine()) as session:
                full = derive(session, derivation) == LIMIT
            _waker.wake(woken(session))
    with transaction(engine()) as session:
        wanted = wake_ups(session, _KINDS, CHORES)
    _waker.wake([kind for kind, times in wanted.items() for _ in range(times)])
    return Performed()


def _outside(act: Callable[[], None]) -> Callable[[], Performed]:
    """Work that acts outside the database, between transactions of its own."""

    def performing() -> Performed:
        act()
        return Performed()

    return performing


for _kind in JOB_KINDS:
    _register(_kind.name, _job(_kind))
for _one in CHORES:
    _register(_one.name, _chore(_one))
_register(SWEEP, sweep)
_register(CHECKPOINT, _outside(lambda: make_checkpoint(engine(), Settings.load())))
_register(VERIFY, _outside(lambda: verify_some(engine(), Settings.load())))
_register(PUBLISH, _outside(publish))
_register(DELIVER, lambda: Performed(full=deliver_next(engine(), CATALOGUE)))
