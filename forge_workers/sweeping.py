"""The sweep with its transactions and its wake-ups: what beat drives, and what mends the house."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from forge_core.database import transaction
from forge_core.jobs.record import woken
from forge_core.jobs.sweep import LIMIT, derive, take_back_expired, wake_ups
from forge_core.wiring import CHORES, DERIVATIONS, JOB_KINDS

_KINDS: Final = {kind.name: kind for kind in JOB_KINDS}


@dataclass(frozen=True)
class Swept:
    """How many leases were taken back, jobs derived, and wake-ups sent to what waits."""

    leases: int
    jobs: int
    wake_ups: int


def sweep(engine: Engine, wake: Callable[[Iterable[str]], None]) -> Swept:
    """Take back expired leases, derive missing jobs, and wake what waits. Safe at any time."""
    leases = jobs = 0
    while True:
        with transaction(engine) as session:
            taken = take_back_expired(session, _KINDS)
        leases += taken
        if taken < LIMIT:
            break
    for derivation in DERIVATIONS:
        while True:
            with transaction(engine) as session:
                derived = derive(session, derivation)
            wake(woken(session))
            jobs += derived
            if derived < LIMIT:
                break
    with transaction(engine) as session:
        wanted = wake_ups(session, _KINDS, CHORES)
    names = [kind for kind, times in wanted.items() for _ in range(times)]
    wake(names)
    return Swept(leases, jobs, len(names))
