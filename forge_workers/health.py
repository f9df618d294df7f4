"""Health as a worker looks at it: the rows, the servers beside the database, what can be mended.

While beat, the broker or the database is away nobody looks; ``forge doctor`` then says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any, Final

import structlog
from sqlalchemy import Engine

from forge_core.database import transaction
from forge_core.errors import Unavailable
from forge_core.immune.health import Symptom, conclude, note, pulse, symptoms_of
from forge_core.immune.vitals import read_vitals
from forge_core.settings import Settings
from forge_workers.counters import Counters
from forge_workers.leases import BELIEVED, MIRROR
from forge_workers.queues import QUEUE_OF
from forge_workers.stack.external import Given
from forge_workers.sweeping import sweep

log = structlog.get_logger(__name__)

_SERVERS: Final = {"broker_url": "broker", "redis_url": "redis"}


def beat_pulse(engine: Engine, queue: str) -> None:
    """``health.pulse.QUEUE``: a worker of this queue was told by beat, and reaches the database."""
    with transaction(engine) as session:
        pulse(session, queue)


def look_after(engine: Engine, settings: Settings, wake: Callable[[Iterable[str]], None]) -> None:
    """``immune.health``: look, mend what can be mended, and tell people what is lasting.

    Safe to repeat, at once too: of two looks that are close one counts, the sweep is safe at any
    time, and there is one incident.
    """
    beside = [*_servers(settings), *mirror_symptoms(settings)]
    with transaction(engine) as session:
        symptoms = [*beside, *symptoms_of(read_vitals(session, QUEUE_OF))]
        look = note(session, symptoms)
    if look is None:
        return
    repaired: dict[str, int] = {}
    if look.mendable:
        repaired = asdict(sweep(engine, wake))
        log.warning("health.repaired", **repaired)
    with transaction(engine) as session:
        opened = conclude(session, look, repaired)
    if opened is not None:
        names = [symptom.name for symptom in look.lasting]
        log.error("health.incident", incident=opened, symptoms=names)


def mirror_symptoms(settings: Settings) -> Iterator[Symptom]:
    """Whether those who ask fast are answered from what is so now; nothing where Valkey is away."""
    counters = Counters(settings.redis_url)
    try:
        synced, now = counters.ask(lambda client: (client.hget(MIRROR, "synced"), client.time()))
    except Unavailable:
        return
    finally:
        counters.close()
    age = _renewed_for(synced, now)
    yield Symptom(
        "lease mirror",
        age is not None and age < BELIEVED.total_seconds(),
        "none" if age is None else f"renewed {age:,.1f} s ago",
        "are beat and a worker for the queue immune up?",
        "lease-mirror",
    )


def _servers(settings: Settings) -> Iterator[Symptom]:
    for name, shown in _SERVERS.items():
        try:
            replace(Given(), **{name: getattr(settings, name)}).check()
        except Unavailable as error:
            # The reason may name addresses, and what is found may come into the ledger.
            log.warning("health.away", server=shown, reason=str(error))
            yield Symptom(shown, False, "does not answer", "is it running?", shown)
        else:
            yield Symptom(shown, True, "answers", runbook=shown)


def _renewed_for(synced: Any, now: Any) -> float | None:
    """Seconds by Valkey's clock since somebody renewed the mirror; see ``lua/mirror.lua``."""
    _, _, rest = str(synced or "").partition("|")
    at, _, _ = rest.partition("|")
    if not at.isdecimal():
        return None
    seconds, microseconds = now
    return max(int(seconds) + int(microseconds) / 1e6 - int(at) / 1e3, 0.0)
