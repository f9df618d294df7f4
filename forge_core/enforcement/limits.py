"""A time limit on what a platform's hook does in Python; the database limits statements itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from forge_core.errors import ForgeError


class HookTimeout(ForgeError):
    """A hook ran longer than it may."""

    code = "HOOK_TIMEOUT"


@contextmanager
def time_limit(seconds: float, name: str) -> Iterator[None]:
    """Raise ``HookTimeout`` inside the block after ``seconds``.

    Worker processes run steps in their main thread, where a signal can interrupt. Elsewhere there
    is no limit but that of the lease, after which the work is another worker's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise HookTimeout(f"{name} ran longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
