"""The process ``events``: takes runtime events from the broker, records them, then forgets them.

Any number of them may run at once. A message is forgotten only after its events are committed, so
a crash anywhere gives it to another consumer, where what is recorded already changes nothing.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from redis import RedisError, ResponseError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from forge_core.database import describe, make_engine, transaction
from forge_core.errors import Misconfigured, Unavailable
from forge_core.immune.health import pulse
from forge_core.immune.vitals import EVENTS
from forge_core.ledger.guards import require_guarded
from forge_core.settings import Settings
from forge_workers import logs
from forge_workers.app import app
from forge_workers.runtime_intake import Ingested, Intake, Message, read
from forge_workers.runtime_queue import RuntimeQueue, Taken
from forge_workers.stack import readiness
from forge_workers.waker import Waker
from forge_workers.windows import ValkeyWindows

log = structlog.get_logger(__name__)

EVENTS_AT_ONCE: Final = 3_000
"""Of a full queue: the more share a flush, the fewer windows and summaries are touched for each."""
LINGER: Final = 0.05
"""Seconds for which the first event of a flush waits for others."""
IDLE: Final = 1.0
LOOK_AGAIN: Final = 2.0
"""Seconds between looks for what dead consumers have left."""
REPORT: Final = 10.0
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0

# What passes by itself, or when somebody has put it right. Anything else ends the process.
_PASSING = (SQLAlchemyError, RedisError, Unavailable, OSError)
_ROLL = text("SELECT forge_roll_events()")

T = TypeVar("T")


class Stopped(Exception):
    """The process was told to end while it waited for a server."""


class RuntimeConsumer:
    """One consumer; ``run`` returns after ``stopping`` was set, its hands empty."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._engine = make_engine(settings.database_url, pool_size=1)
        self._waker = Waker(app, broker_url=settings.broker_url)
        self._queue = RuntimeQueue(settings.broker_url)
        self._windows = ValkeyWindows(settings.redis_url)
        self._intake = Intake(self._engine, self._windows, self._waker.wake)
        self._rolled = ""
        self._look_at = 0.0
        self._report_at = 0.0
        self._flushes = 0
        self._ingested = Ingested()

    def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Consume until told to stop; ``ready`` is called once, when both servers have answered.

        ``Misconfigured`` when the ledger of the database is not protected.
        """
        try:
            self._patiently(self._check_ledger)
            self._every_so_often()
            ready()
            while not self._stopping.is_set():
                self._turn()
                self._every_so_often()
        except Stopped:
            pass
        finally:
            self._report()
            self._waker.close()
            self._queue.close()
            self._windows.close()
            self._engine.dispose()

    def _turn(self) -> None:
        """Take messages, record what is in them, forget them: in this order."""
        taken: list[Taken] = []
        messages: list[Message] = []
        self._patiently(lambda: self._gather(taken, messages))
        if not taken:
            return
        try:
            ingested = self._patiently(lambda: self._record(messages))
        except Stopped:
            with suppress(RedisError):  # after its time somebody takes them anyway
                self._queue.give_back(taken)
            raise
        self._ingested = self._ingested.plus(ingested)
        self._flushes += 1
        self._patiently(lambda: self._queue.done(taken))

    def _record(self, messages: list[Message]) -> Ingested:
        self._roll()  # whoever has waited for hours needs others than when the wait began
        return self._intake.flush(messages)

    def _gather(self, taken: list[Taken], messages: list[Message]) -> None:
        """As many as a flush may have, or what comes within a moment of the first."""
        ends = time.monotonic() + IDLE
        left = EVENTS_AT_ONCE - _events(messages)
        while left > 0 and not self._stopping.is_set():
            found = self._queue.take(left)
            if found and not taken:
                ends = time.monotonic() + LINGER
            taken += found
            messages += [read(one.message) for one in found]
            left = EVENTS_AT_ONCE - _events(messages)
            seconds = ends - time.monotonic()
            if left <= 0 or seconds <= 0:
                return
            if not found:
                self._queue.wait(seconds)

    def _every_so_often(self) -> None:
        self._patiently(self._roll)
        if time.monotonic() >= self._look_at:
            given_back = self._patiently(self._queue.give_back)
            if given_back:
                log.info("runtime.given_back", messages=given_back)
            self._look_at = time.monotonic() + LOOK_AGAIN
        if time.monotonic() >= self._report_at:
            self._report()
            self._patiently(self._pulse)

    def _pulse(self) -> None:
        """Tell whoever looks after the house that events are being taken."""
        with transaction(self._engine) as session:
            pulse(session, EVENTS)

    def _check_ledger(self) -> None:
        with transaction(self._engine) as session:
            require_guarded(session)

    def _roll(self) -> None:
        """Make the partitions of the hours around now, once an hour; again is safe."""
        hour = datetime.now(UTC).strftime("%Y-%m-%d %H")
        if hour != self._rolled:
            with transaction(self._engine) as session:
                session.execute(_ROLL)
            self._rolled = hour

    def _patiently(self, do: Callable[[], T]) -> T:
        """Do it, again and again while a server is away. Nothing new is taken meanwhile."""
        pause, failing = FIRST_PAUSE, False
        while True:
            try:
                done = do()
            except Misconfigured:
                raise
            except _PASSING as error:
                if not failing:
                    log.warning("runtime.waits", error=describe(error))
                failing = True
                self._put_right(error)
            else:
                if failing:
                    log.info("runtime.goes_on")
                return done
            if self._stopping.wait(pause):
                raise Stopped
            pause = min(pause * 2, LONGEST_PAUSE)

    def _put_right(self, error: Exception) -> None:
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            with suppress(RedisError):  # it is asked again
                self._queue.clear_away()

    def _report(self) -> None:
        """One line about what happened since the last one, if anything did."""
        if self._flushes:
            counted: dict[str, Any] = self._ingested._asdict()
            log.info(
                "runtime.ingested",
                received=sum(self._ingested),
                **counted,
                flushes=self._flushes,
            )
        self._ingested, self._flushes = Ingested(), 0
        self._report_at = time.monotonic() + REPORT


def _events(messages: list[Message]) -> int:
    """A message without any counts as one: it costs as much."""
    return sum(len(message.events) or 1 for message in messages)


def consume() -> None:
    """Run in this process until SIGTERM or Ctrl-C. ``Misconfigured`` when it cannot begin."""
    logs.configure()
    # A flush makes many objects and no cycles: looking for them again and again in everything
    # that is loaded takes a fifth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    stopping = threading.Event()
    for sent in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sent, lambda *_: stopping.set())
    RuntimeConsumer(Settings.load(), stopping).run(_mark_ready)


def _mark_ready() -> None:
    if path := os.environ.get(readiness.VARIABLE):
        Path(path).write_text(str(os.getpid()), encoding="ascii")
    log.info("runtime.ready")


if __name__ == "__main__":
    try:
        consume()
    except Misconfigured as misconfigured:
        sys.exit(f"the consumer of runtime events does not start: {misconfigured}")
