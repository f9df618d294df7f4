"""Where overlays stand, read and written: the pure states of ``containment``, and their entries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.targets import named
from forge_core.clock import forge_now
from forge_core.database import run
from forge_core.immune.containment import Containment, Stage, contained, held
from forge_core.immune.detectors.overlay_calls import Call, Fault
from forge_core.immune.ladder import CANARIES_MOST, Canaries
from forge_core.immune.responses import ended_entry, tell
from forge_core.immune.rulebook import Rung
from forge_core.ledger.entries import Entry, append
from forge_core.locks import lock_name
from forge_core.overlays.standing import Standing, standing_of

CONTAINING: Final = (Rung.QUARANTINE, Rung.HOLD)

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Since when an overlay is active that was never contained."""

SKEW_MOST: Final = timedelta(hours=1)
"""So much may a runtime's clock be behind; it keeps a question to a few partitions."""

_CANARIES = text("""
    SELECT at, source || ' ' || id AS id, success FROM runtime_events
    WHERE subject = :overlay AND subject_kind = 'overlay' AND success IS NOT NULL
        AND recorded_at >= :since AND at >= CAST(:since AS timestamptz) - :skew
    ORDER BY recorded_at, at, source, id
    LIMIT :most
""")
_OPEN_RESPONSES = text("""
    SELECT id FROM immune_responses
    WHERE subject = :overlay AND subject_kind = 'overlay' AND ended_at IS NULL
        AND rung = ANY(:rungs)
        AND (until_at IS NULL OR until_at > clock_timestamp())
    ORDER BY id
""")


def states_of(session: Session, overlays: Sequence[str]) -> dict[str, Containment]:
    """The state of each; of a probation the canaries are still to be counted."""
    found = standing_of(session, overlays)
    return {overlay: _state(found.get(overlay)) for overlay in overlays}


def state_of(session: Session, overlay: str) -> Containment:
    """The state of one."""
    return states_of(session, [overlay])[overlay]


def canary_calls(session: Session, overlay: str, state: Containment) -> list[Call]:
    """The calls of a probation, as they came in: no more than it lets through.

    By when they were recorded: a runtime whose clock is slow must not have its failures overlooked.
    """
    given = {"overlay": overlay, "since": state.since, "most": CANARIES_MOST, "skew": SKEW_MOST}
    rows = run(session, _CANARIES, **given)
    return [
        Call(row.at, row.id, row.success, None if row.success else Fault.OVERLAY) for row in rows
    ]


def lock_overlay(session: Session, overlay: str) -> None:
    """As an execution that changes the overlay does; the lock of the immune system comes first."""
    lock_name(session, named("overlay", overlay))


def contain(
    session: Session, overlay: str, rung: Rung, response: str, *, actor: str, now: datetime
) -> None:
    """Quarantine or hold it by that response; the caller holds the lock of the immune system."""
    state = state_of(session, overlay)
    after = held(state, now) if rung is Rung.HOLD else contained(state, response, now)
    move(session, overlay, replace(after, response=response), actor=actor)


def move(  # whose, where to, by whom, and what there is to say about it
    session: Session,
    overlay: str,
    state: Containment,
    *,
    actor: str,
    command: str | None = None,
    **more: Any,
) -> None:
    """Write down where the overlay stands now."""
    at = forge_now(session)
    entry = Standing(
        state.stage.value,
        state.since,
        state.until,
        state.doublings,
        state.failed_probations,
        state.response,
    ).entry(overlay, at=at, actor=actor, command=command, **more)
    append(session, [entry])
    tell(session)


def end_responses(
    session: Session,
    overlay: str,
    rungs: Collection[Rung],
    *,
    now: datetime,
    actor: str,
    reason: str | None = None,
    command: str | None = None,
) -> int:
    """End what holds the overlay on these rungs; says how many responses that were."""
    at = forge_now(session)
    given = {"overlay": overlay, "rungs": [rung.value for rung in rungs]}
    ids = session.execute(_OPEN_RESPONSES, given).scalars().all()
    entries: list[Entry] = [
        ended_entry(session, id_, now=now, at=at, actor=actor, reason=reason, command=command)
        for id_ in ids
    ]
    append(session, entries)
    return len(entries)


def _state(standing: Standing | None) -> Containment:
    if standing is None:
        return Containment(Stage.ACTIVE, NEVER)
    stage = Stage(standing.stage)
    return Containment(
        stage,
        standing.since,
        standing.until,
        standing.doublings,
        standing.failed_probations,
        Canaries(standing.since, 0, 0) if stage is Stage.PROBATION else None,
        standing.response,
    )
