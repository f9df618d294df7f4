"""Every kind of work as a Celery task: woken, it performs what the rows say, and wakes others.

The tasks are made from ``wiring``'s list, so that no kind can be without one. A task's arguments
are never read: ``forge_workers.consumer`` lets only bare wake-ups through.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from celery.signals import beat_init
from sqlalchemy.exc import DBAPIError

from forge_core.database import describe, is_retryable
from forge_core.enforcement.outbox import DELIVER, deliver_next
from forge_core.jobs.kinds import Chore, JobKind
from forge_core.jobs.perform import Performed, perform, perform_chore
from forge_core.settings import Settings
from forge_core.wiring import CATALOGUE, CHORES, JOB_KINDS
from forge_workers.app import app
from forge_workers.health import beat_pulse, look_after
from forge_workers.leases import mirror_leases
from forge_workers.ledger_events import publish
from forge_workers.ledger_tasks import make_checkpoint, verify_some
from forge_workers.processes import engine
from forge_workers.queues import CHECKPOINT, HEALTH, MIRROR, PUBLISH, PULSES, SWEEP, VERIFY
from forge_workers.sweeping import sweep
from forge_workers.waker import Waker

log = structlog.get_logger(__name__)

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


def _pulse(queue: str) -> Callable[[], Performed]:
    return _outside(lambda: beat_pulse(engine(), queue))


def _outside(act: Callable[[], object]) -> Callable[[], Performed]:
    """Work that acts outside the database, or between transactions of its own."""

    def performing() -> Performed:
        act()
        return Performed()

    return performing


@beat_init.connect
def _begin_to_beat(**_: object) -> None:
    """The pulses of before are as old as the pause was; the next ones are ten seconds away."""
    _waker.wake(PULSES)


for _kind in JOB_KINDS:
    _register(_kind.name, _job(_kind))
for _one in CHORES:
    _register(_one.name, _chore(_one))
for _name, _queue in PULSES.items():
    _register(_name, _pulse(_queue))
_register(SWEEP, _outside(lambda: sweep(engine(), _waker.wake)))
_register(HEALTH, _outside(lambda: look_after(engine(), Settings.load(), _waker.wake)))
_register(CHECKPOINT, _outside(lambda: make_checkpoint(engine(), Settings.load())))
_register(VERIFY, _outside(lambda: verify_some(engine(), Settings.load())))
_register(PUBLISH, _outside(publish))
_register(MIRROR, _outside(lambda: mirror_leases(engine(), Settings.load())))
_register(DELIVER, lambda: Performed(full=deliver_next(engine(), CATALOGUE)))
