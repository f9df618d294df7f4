"""Taking in what the runtime tells: each event once, summed up by the minute, noted for a check.

One transaction takes a whole flush of the consumer. Whoever acknowledges the messages after it has
committed loses nothing, and counts nothing twice: an event that is there already changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json, run
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.detectors.overlay_calls import Limits
from forge_core.immune.intake.events import (
    OverlayInvoked,
    RuntimeEvent,
)
from forge_core.immune.intake.nominating import Nominations
from forge_core.immune.intake.summaries import summarise
from forge_core.immune.intake.told import Told
from forge_core.immune.intake.windows import Windows
from forge_core.immune.settings import in_force
from forge_core.jobs.record import NewJob, enqueue

CHECKS: Final[Mapping[str, str]] = {
    "overlay": "immune.check_overlay",
    "address": "immune.check_auth",
    "member": "immune.check_usage",
    "host": "immune.check_resources",
}
"""The kind of job that checks a subject of each kind."""

_INSERT = text("""
    INSERT INTO runtime_events
        (source, id, at, type, subject_kind, subject, success, slow, exhausted, data)
    SELECT source, id, at, type, kind, subject, success, slow, exhausted, data
    FROM json_to_recordset(CAST(:rows AS json)) AS given (
        source text, id text, at timestamptz, type text, kind text, subject text,
        success boolean, slow boolean, exhausted boolean, data jsonb
    )
    ON CONFLICT DO NOTHING
    RETURNING source, id, at
""")

_LIMITS = text("""
    SELECT id, max_execution_ms, max_fuel, max_memory, usual_ms
    FROM overlays LEFT JOIN overlay_baselines ON overlay = id
    WHERE id = ANY(:ids)
""")

_NOTE = text("""
    INSERT INTO runtime_unjudged (subject_kind, subject, at, source, id)
    SELECT kind, subject, at, source, id
    FROM json_to_recordset(CAST(:rows AS json))
        AS given (kind text, subject text, at timestamptz, source text, id text)
    ORDER BY kind, subject, at, source, id
    ON CONFLICT DO NOTHING
""")

_NO_LIMITS: Final = Limits()


@dataclass(frozen=True)
class Recorded:
    """What became of a flush."""

    new: int
    duplicates: int


def record(session: Session, events: Sequence[RuntimeEvent], windows: Windows) -> Recorded:
    """Keep the events that are new, sum them up, and call for at most one check a subject.

    Running it twice is safe: events that are there already, from another flush or twice in this
    one, are passed over.
    """
    told = _told(session, events)
    new = _insert(session, told)
    if new:
        summarise(session, new)
        nominations = Nominations(in_force(session).terms, windows)
        _call_for_checks(session, nominations.among(session, new))
    return Recorded(len(new), len(events) - len(new))


def _told(session: Session, events: Sequence[RuntimeEvent]) -> list[Told]:
    ids = {event.data.overlay for event in events if isinstance(event, OverlayInvoked)}
    rows = run(session, _LIMITS, ids=sorted(ids)) if ids else ()
    limits = {
        row.id: Limits(row.max_execution_ms, row.max_fuel, row.max_memory, row.usual_ms)
        for row in rows
    }
    return [
        Told.of_call(event, limits.get(event.data.overlay, _NO_LIMITS))
        if isinstance(event, OverlayInvoked)
        else Told.of(event)
        for event in events
    ]


def _insert(session: Session, told: Sequence[Told]) -> list[Told]:
    """Those that were not there yet, each once."""
    rows = to_json([_row(one) for one in told]).decode()
    inserted = {tuple(row) for row in run(session, _INSERT, rows=rows)}
    new: list[Told] = []
    for one in told:
        key = (one.event.source, one.event.id, one.event.time)
        if key in inserted:
            inserted.discard(key)
            new.append(one)
    return new


def _row(told: Told) -> dict[str, Any]:
    event = told.event
    return {
        "source": event.source,
        "id": event.id,
        "at": event.time,
        "type": event.type,
        "kind": told.subject.kind,
        "subject": told.subject.id,
        "success": told.success,
        "slow": told.slow,
        "exhausted": told.exhausted,
        "data": event.data.model_dump(exclude_defaults=True),
    }


def _call_for_checks(session: Session, nominated: Iterable[Told]) -> None:
    """Note of each subject the earliest event: a check looks at everything from it on."""
    by_subject: dict[Subject, list[Told]] = defaultdict(list)
    for one in nominated:
        by_subject[one.subject].append(one)
    earliest = [min(of, key=lambda one: (one.event.time, one.name)) for of in by_subject.values()]
    rows = [
        {
            "kind": one.subject.kind,
            "subject": one.subject.id,
            "at": one.event.time.isoformat(),
            "source": one.event.source,
            "id": one.event.id,
        }
        for one in earliest
    ]
    if rows:
        session.execute(_NOTE, {"rows": as_json(rows)})
    enqueue(session, [check_of(subject) for subject in by_subject])


def check_of(subject: Subject) -> NewJob:
    """The job that checks a subject; there is one at a time that waits."""
    return NewJob(
        CHECKS[subject.kind],
        key=f"check:{subject.kind}:{subject.id}",
        payload={"subject": subject.id},
        once=False,
        brief=True,
    )
