"""What a platform's hook may not do: run for too long, and end the transaction that it runs in.

The time limit is on what it does in Python; the database limits statements itself.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from sqlalchemy import event
from sqlalchemy.orm import Session

from forge_core.errors import ForgeError

_QUOTED = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_CONTROL = re.compile(
    r"""(?:^|;)\s*(?:
        (?:rollback\s+to|release)\s+(?:savepoint\s+)?"?(?P<savepoint>\w+)
        | (?:commit|rollback|abort|prepare\s+transaction)\b
    ) | ^\s*(?:begin|start\s+transaction|end)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_AGAIN = 1.0  # seconds until the next interruption, should the hook go on after one


class HookTimeout(ForgeError):
    """A hook ran longer than it may."""

    code = "HOOK_TIMEOUT"


class _Interrupted(BaseException):
    """Not an Exception: a hook that goes on after every error must not go on after this."""


@contextmanager
def time_limit(seconds: float, name: str) -> Iterator[None]:
    """Raise ``HookTimeout`` inside the block after ``seconds``.

    Worker processes run steps in their main thread, where a signal can interrupt. Elsewhere there
    is no limit but that of the lease, after which the work is another worker's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    late = HookTimeout(f"{name} ran longer than {seconds:g} s")
    fired = False

    def interrupt(_signal: int, frame: FrameType | None) -> None:
        # SQLAlchemy gives up a connection on which anything but an Exception is raised.
        nonlocal fired
        gently, fired = not fired and _in_sqlalchemy(frame), True
        raise late if gently else _Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    except _Interrupted:
        raise late from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def held_open(session: Session) -> Iterator[None]:
    """Within the block ending the session's transaction, or its savepoint, is a ``RuntimeError``.

    By the session, by its connection, and by a statement; not by the driver's own cursor.
    """
    connection = session.connection()
    nested = connection.get_nested_transaction()
    savepoint = None if nested is None else nested._savepoint  # noqa: SLF001  # it has no other name

    def refuse(*_: object) -> NoReturn:
        raise RuntimeError("a hook runs in the transaction of its step and does not end it")

    def look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        for match in _CONTROL.finditer(_QUOTED.sub(" ", statement)):
            if match["savepoint"] in (None, savepoint):
                refuse()

    ending = dict.fromkeys(("commit", "rollback", "close"), refuse)
    vars(session).update(ending)
    event.listen(connection, "commit", refuse)
    event.listen(connection, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", look)
        event.remove(connection, "commit", refuse)
        for name in ending:
            del vars(session)[name]


def _in_sqlalchemy(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("sqlalchemy."):
            return True
        frame = frame.f_back
    return False
