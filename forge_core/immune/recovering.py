"""The way back: quarantines end in probations, probations in a release, another try or a hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.immune.containing import (
    CONTAINING,
    canary_calls,
    end_responses,
    move,
    state_of,
)
from forge_core.immune.containment import Containment, Stage, called, elapsed
from forge_core.immune.detectors.overlay_calls import FAILURE_RATE
from forge_core.immune.responses import real_now
from forge_core.immune.settings import in_force
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.jobs.record import HOUSE
from forge_core.locks import lock_name

# A probation is looked at as soon as a call has come in since it began, and when its time is up.
# What held an overlay that was released by vote ends here.
ELAPSED = Derivation(
    "immune.elapsed",
    text("""
        INSERT INTO jobs (kind, key, once, brief, payload, actor)
        SELECT 'immune.recover', 'recover:' || overlay, false, true,
            jsonb_build_object('subject', overlay), 'system'
        FROM containments
        WHERE (stage = 'quarantined' AND until_at <= clock_timestamp()
                OR stage = 'probation' AND (
                    since <= clock_timestamp() - INTERVAL '10 minutes'
                    OR EXISTS (
                        SELECT FROM runtime_events
                        WHERE subject = overlay AND subject_kind = 'overlay'
                            AND success IS NOT NULL AND recorded_at >= since
                            AND at >= since - INTERVAL '1 hour'
                    )
                )
                OR stage = 'active' AND EXISTS (
                    SELECT FROM immune_responses
                    WHERE subject = overlay AND subject_kind = 'overlay' AND ended_at IS NULL
                        AND rung IN ('quarantine', 'hold')
                ))
            AND NOT EXISTS (
                SELECT FROM jobs WHERE key = 'recover:' || overlay
                    AND state IN ('pending', 'running', 'dead')
            )
        ORDER BY overlay
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)


def recover(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``immune.recover``. Running it twice is safe: it does only what is due."""
    for overlay in sorted({str(job.payload["subject"]) for job in jobs}):
        go_on(session, overlay)
    return [Outcome.done() for _ in jobs]


def go_on(session: Session, overlay: str) -> None:
    """Move an overlay to where time and its canary calls have brought it, and write that down."""
    lock_name(session, "immune")
    now = real_now(session)
    before = state_of(session, overlay)
    if before.stage is Stage.ACTIVE:
        end_responses(session, overlay, CONTAINING, now=now, actor=HOUSE)
    if before.stage not in (Stage.QUARANTINED, Stage.PROBATION):
        return
    terms = in_force(session).terms.get(FAILURE_RATE.name)
    # A rule that was switched off meanwhile says nothing about when health is proven.
    threshold = Fraction(1, 2) if terms is None else terms["rate"]
    after = before
    for call in canary_calls(session, overlay, before) if before.canaries else ():
        after = called(after, threshold, before.response, now, success=call.success)
        if after.stage is not Stage.PROBATION:
            break
    if after.stage is before.stage:
        after = elapsed(after, threshold, before.response, now)
    if after.stage is not before.stage:
        _moved(session, overlay, before, after, now)


def _moved(
    session: Session, overlay: str, before: Containment, after: Containment, now: datetime
) -> None:
    canaries: dict[str, Any] = {}
    if before.stage is Stage.PROBATION:
        calls = canary_calls(session, overlay, before)
        failed = sum(not call.success for call in calls)
        canaries = {"canaries": {"calls": len(calls), "failed": failed}}
    move(session, overlay, after, actor=HOUSE, **canaries)
    if after.stage is Stage.ACTIVE:
        end_responses(session, overlay, CONTAINING, now=now, actor=HOUSE)
