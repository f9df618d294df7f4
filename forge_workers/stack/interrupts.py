"""Ctrl-C and its kin: the first ends what runs, and nothing breaks into the ending again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Interrupts:
    """``ending``: everything is being ended now; ``hurry``: somebody asked for that twice."""

    ending: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)

    def receive(self, _number: int, _frame: FrameType | None) -> None:
        """The signal handler: KeyboardInterrupt the first time, haste from then on."""
        if self.ending.is_set():
            self.hurry.set()
            return
        self.ending.set()
        # Unbuffered: the signal may arrive in the middle of a write, and a buffered stream refuses
        # to be entered twice.
        os.write(2, b"stopping; Ctrl-C again ends everything at once\n")
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Take over Ctrl-C, SIGTERM and SIGHUP; only the main thread may do so."""
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts.receive) for number in _SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
