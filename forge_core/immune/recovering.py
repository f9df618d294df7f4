"""The way back: quarantines end in probations, probations in a release, another try or a hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now
from forge_core.immune.answering import lock_immune
from forge_core.immune.containing import (
    CONTAINING,
    canary_calls,
    end_responses,
    lock_overlay,
    move,
    state_of,
)
from forge_core.immune.containment import Containment, Stage, called, elapsed, released
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.detectors.overlay_calls import FAILURE_RATE
from forge_core.immune.incidents import open_incident
from forge_core.immune.responses import ended_entry, real_now, tell
from forge_core.immune.rulebook import InForce, Mode
from forge_core.immune.settings import in_force
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.jobs.record import HOUSE
from forge_core.ledger.entries import append
from forge_core.members.levels import TrustLevel

# While the kill switch is on nothing moves, so nobody looks. A probation is looked at as soon as a
# call has come in since it began, and when its time is up.
# What holds an overlay that was released by vote ends here, and so does the block of an address
# whose text was erased: nobody could tell any more whom it is about.
ELAPSED = Derivation(
    "immune.elapsed",
    text("""
        WITH due AS (
            SELECT 'recover:' || overlay AS key, jsonb_build_object('subject', overlay) AS payload
            FROM containments JOIN overlays ON overlays.id = overlay AND status = 'ACTIVE'
            WHERE (
                stage = 'quarantined' AND until_at <= clock_timestamp()
                OR stage = 'probation' AND (
                    since <= clock_timestamp() - INTERVAL '10 minutes'
                    OR EXISTS (
                        SELECT FROM runtime_events
                        WHERE subject = overlay AND subject_kind = 'overlay'
                            AND success IS NOT NULL AND recorded_at >= since
                            AND at >= since - INTERVAL '1 hour'
                    )
                )
            ) AND NOT EXISTS (
                SELECT FROM incidents
                WHERE kind = 'halt' AND incidents.subject = 'immune' AND closed_at IS NULL
            )
            UNION
            SELECT 'recover:' || subject, jsonb_build_object('subject', subject)
            FROM immune_responses
            WHERE subject_kind = 'overlay' AND ended_at IS NULL AND rung IN ('quarantine', 'hold')
                AND NOT EXISTS (
                    SELECT FROM containments WHERE overlay = subject AND stage <> 'active'
                )
            UNION
            SELECT 'forget:' || id, jsonb_build_object('response', id)
            FROM immune_responses
            WHERE subject_kind = 'address' AND ended_at IS NULL AND rung = 'block'
                AND until_at > clock_timestamp()
                AND NOT EXISTS (SELECT FROM known_addresses WHERE commitment = subject)
        )
        INSERT INTO jobs (kind, key, once, brief, payload, actor)
        SELECT 'immune.recover', key, false, true, payload, 'system' FROM due
        WHERE NOT EXISTS (
            SELECT FROM jobs
            WHERE jobs.key = due.key AND state IN ('pending', 'running', 'dead')
        )
        ORDER BY key
        LIMIT :limit
        ON CONFLICT DO NOTHING
        RETURNING kind
    """),
)

_TRUST = text("SELECT trust FROM overlays WHERE id = :id AND status = 'ACTIVE'")
_RULE = text("SELECT rule FROM immune_responses WHERE id = :id")
_OPEN = text("SELECT EXISTS (SELECT FROM immune_responses WHERE id = :id AND ended_at IS NULL)")


def recover(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
    """The step of ``immune.recover``. Running it twice is safe: it does only what is due."""
    lock_immune(session)
    for job in sorted(jobs, key=lambda job: job.key):
        if "subject" in job.payload:
            go_on(session, str(job.payload["subject"]))
        else:
            _forget(session, str(job.payload["response"]))
    return [Outcome.done() for _ in jobs]


def _forget(session: Session, id_: str) -> None:
    if session.execute(_OPEN, {"id": id_}).scalar_one():
        now, at = real_now(session), forge_now(session)
        append(session, [ended_entry(session, id_, now=now, at=at, actor=HOUSE)])
        tell(session)


def go_on(session: Session, overlay: str) -> None:
    """Move an overlay to where time and its canary calls have brought it, and write that down.

    While the kill switch is on nothing moves. Whom the immune system may not touch any more, since
    governance said so meanwhile, is let go instead of being set aside again.
    """
    lock_immune(session)
    lock_overlay(session, overlay)
    now = real_now(session)
    before = state_of(session, overlay)
    if before.stage is Stage.ACTIVE:
        end_responses(session, overlay, CONTAINING, now=now, actor=HOUSE)
    trust = session.execute(_TRUST, {"id": overlay}).scalar_one_or_none()
    moving = before.stage in (Stage.QUARANTINED, Stage.PROBATION)
    if not moving or trust is None or open_incident(session, "halt", "immune") is not None:
        return
    rules = in_force(session)
    after = _after(session, overlay, before, rules, now)
    if after.stage is before.stage:
        return
    if before.stage is Stage.PROBATION and after.stage is not Stage.ACTIVE:
        rule = session.execute(_RULE, {"id": before.response}).scalar_one_or_none()
        if rule is not None and not _may_touch(rules, overlay, rule, trust, now):
            after = released(before, now)
    _moved(session, overlay, before, after, now)


def _may_touch(rules: InForce, overlay: str, rule: str, trust: str, now: datetime) -> bool:
    return (
        trust != TrustLevel.CORE
        and rules.modes[rule] is Mode.ENFORCE
        and not rules.allows(Subject("overlay", overlay), now)
    )


def _after(
    session: Session, overlay: str, before: Containment, rules: InForce, now: datetime
) -> Containment:
    terms = rules.terms.get(FAILURE_RATE.name)
    # A rule that was switched off meanwhile says nothing about when health is proven.
    threshold = Fraction(1, 2) if terms is None else terms["rate"]
    after = before
    for call in canary_calls(session, overlay, before) if before.canaries else ():
        after = called(after, threshold, before.response, now, success=call.success)
        if after.stage is not Stage.PROBATION:
            return after
    return elapsed(after, threshold, before.response, now)


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
