"""What one process holds: its settings, its engine, its waker. Made after a fork, never before."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sqlalchemy import Engine

from forge_core.database import make_engine
from forge_core.settings import Settings


@dataclass
class _Held:
    pid: int
    engine: Engine


_held: list[_Held] = []


def engine() -> Engine:
    """This process's engine; a child that inherited its parent's makes its own."""
    pid = os.getpid()
    if not _held or _held[0].pid != pid:
        for inherited in _held:
            # Forget the parent's connections without closing its sockets under it.
            inherited.engine.dispose(close=False)
        _held[:] = [_Held(pid, make_engine(Settings.load().database_url, pool_size=2))]
    return _held[0].engine
