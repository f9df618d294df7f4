"""Waiting for servers that come back: back-off, and an end to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from forge_core.errors import Misconfigured, Unavailable

Result = TypeVar("Result")

LEAST_PAUSE = 0.1
MOST_PAUSE = 2.0


class Patience:
    """Tries again while servers restart; gives up after ``limit`` seconds without any progress."""

    def __init__(
        self,
        limit: float,
        *,
        told: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = limit
        self._told = told
        self._clock = clock
        self._sleep = sleep
        self._last_progress = clock()

    def progress(self) -> None:
        """Note that something got done: the time starts anew."""
        self._last_progress = self._clock()

    def until_available(self, act: Callable[[], Result]) -> Result:
        """Return what ``act`` returns, calling it again whenever it raises `Unavailable`.

        ``act`` must be safe to repeat: its first call may have done everything but answer.
        """
        pause = LEAST_PAUSE
        while True:
            try:
                result = act()
            except Misconfigured:
                raise
            except Unavailable as error:
                self._told(str(error))
                self.wait(pause, str(error))
                pause = min(pause * 2, MOST_PAUSE)
            else:
                return result

    def wait(self, seconds: float, reason: str) -> None:
        """Sleep; raise `Unavailable` with the reason when nothing has moved for too long."""
        if self._clock() - self._last_progress > self._limit:
            raise Unavailable(f"nothing has moved for {self._limit:.0f} s: {reason}")
        self._sleep(seconds)
