"""Dead letters of a worker: written by a thread of their own, so that the event loop never waits.

A flood is bounded twice: at most a thousand letters wait in memory, and the table keeps the
newest thousand.
"""

from __future__ import annotations

import queue
import threading

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from forge_core.database import transaction
from forge_core.jobs.dead_letters import Letter, keep

log = structlog.get_logger(__name__)

MOST_WAITING = 1_000
MOST_AT_ONCE = 200


class LetterBox:
    """Takes letters at once, writes them soon; what does not fit is counted and logged."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: queue.Queue[Letter] = queue.Queue(MOST_WAITING)
        self._dropped = 0
        self._started = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, letter: Letter) -> None:
        """Never waits and never raises."""
        try:
            self._waiting.put_nowait(letter)
        except queue.Full:
            self._dropped += 1
            return
        with self._started:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="letters", daemon=True)
                self._thread.start()

    def _write(self) -> None:
        while True:
            letters = [self._waiting.get()]
            while len(letters) < MOST_AT_ONCE and not self._waiting.empty():
                letters.append(self._waiting.get_nowait())
            try:
                with transaction(self._engine) as session:
                    keep(session, letters)
            except SQLAlchemyError as error:
                log.warning("letters.lost", letters=len(letters), error=type(error).__name__)
            if self._dropped:
                log.warning("letters.flood", dropped=self._dropped)
                self._dropped = 0
