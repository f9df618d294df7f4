"""What one process holds: its settings, its engine, its waker. Made after a fork, never before."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sqlalchemy import Engine

from forge_core.database import make_engine, transaction
from forge_core.ledger.guards import require_guarded
from forge_core.settings import Settings


@dataclass
class _Held:
    pid: int
    engine: Engine


_held: list[_Held] = []


def engine() -> Engine:
    """This process's engine; a child that inherited its parent's makes its own.

    ``Misconfigured``, at every call, while the ledger of that database is not protected.
    """
    pid = os.getpid()
    if not _held or _held[0].pid != pid:
        for inherited in _held:
            # Forget the parent's connections without closing its sockets under it.
            inherited.engine.dispose(close=False)
        _held.clear()
        made = make_engine(Settings.load().database_url, pool_size=2)
        try:
            require_protected_ledger(made)
        except BaseException:
            made.dispose()
            raise
        _held.append(_Held(pid, made))
    return _held[0].engine


def require_protected_ledger(engine: Engine) -> None:
    """``Misconfigured`` when a trigger is off or a grant too wide: nothing may run on it."""
    with transaction(engine) as session:
        require_guarded(session)
