"""From a finding to a response: one at a time, under one lock, in the transaction of the check.

The lock is what makes two workers give one response, and what holds the blast radius whatever they
interleave: everything that an answer depends on is read after it is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import forge_now, rfc3339
from forge_core.database import run
from forge_core.immune.answer import Answer, Circumstances, Why, answer_to
from forge_core.immune.containing import CONTAINING, contain, lock_overlay, state_of
from forge_core.immune.containment import Stage
from forge_core.immune.detectors.finding import Finding, Severity, Subject
from forge_core.immune.detectors.overlay_life import FLAPS, judge_quarantines
from forge_core.immune.incidents import open_one, paused_until
from forge_core.immune.ladder import block_until, within_blast_radius
from forge_core.immune.pending import open_action
from forge_core.immune.responses import (
    MEMORY,
    Response,
    began,
    exists,
    filed,
    in_force,
    last_block_ends,
    last_release,
    real_now,
    response_id,
    tell,
)
from forge_core.immune.rulebook import GOVERNED, InForce, Mode, Rung
from forge_core.immune.settings import in_force as rules_in_force
from forge_core.jobs.record import HOUSE
from forge_core.ledger.entries import append
from forge_core.locks import lock_name
from forge_core.members.electorate import members_now
from forge_core.members.levels import TrustLevel
from forge_core.members.restrictions import restrict

log = structlog.get_logger(__name__)

LOCK: Final = "immune"
HOUR: Final = timedelta(hours=1)
HOSTS_MOST: Final = 100
NAMED_MOST: Final = 20
DAY: Final = timedelta(hours=24)

_FOUNDED = text("SELECT EXISTS (SELECT FROM instance)")
_HOSTS = text("""
    SELECT count(DISTINCT subject) FROM immune_responses
    WHERE subject_kind = 'host' AND ended_at IS NULL AND until_at > clock_timestamp()
""")
_OVERLAY = text("SELECT trust, status FROM overlays WHERE id = :id")
_ACTIVE = text("SELECT count(*) FROM overlays WHERE status = 'ACTIVE'")
_OTHERS_ASIDE = text("""
    SELECT id FROM overlays
    WHERE status = 'ACTIVE' AND overlays.id <> :id AND (
        EXISTS (SELECT FROM containments WHERE overlay = overlays.id AND stage <> 'active')
        OR EXISTS (
            SELECT FROM immune_responses AS response
            WHERE response.subject = overlays.id AND response.subject_kind = 'overlay'
                AND rung = 'throttle' AND ended_at IS NULL AND until_at > clock_timestamp()
        )
    )
    ORDER BY id
""")
_COUNT_FROM = text("""
    SELECT id, greatest(
        (
            SELECT max(ended_at) FROM immune_responses AS response
            WHERE response.subject = name AND subject_kind = :kind AND ended_by <> :house
        ), (
            SELECT max(coalesce(ended_at, until_at)) FROM immune_responses AS response
            WHERE response.subject = name AND subject_kind = :kind AND rung = 'block'
        ), (
            SELECT since FROM containments
            WHERE overlay = name AND :kind = 'overlay' AND stage = 'active'
        )
    ) AS since
    FROM unnest(CAST(:ids AS text[])) AS id
    LEFT JOIN known_addresses ON address = id AND :kind = 'address',
    coalesce(commitment, id) AS name
    ORDER BY id
""")
# A capability of this overlay's that no other active one, whose calls are let through, provides.
_LAST_OF = text("""
    SELECT capability FROM overlays, jsonb_array_elements_text(provides) AS capability
    WHERE overlays.id = :id AND NOT EXISTS (
        SELECT FROM overlays AS other
        LEFT JOIN containments ON containments.overlay = other.id
        WHERE other.id <> :id AND other.status = 'ACTIVE' AND other.provides ? capability
            AND coalesce(stage, 'active') = 'active' AND NOT EXISTS (
                SELECT FROM immune_responses AS response
                WHERE response.subject = other.id AND response.subject_kind = 'overlay'
                    AND rung = 'throttle' AND ended_at IS NULL AND until_at > clock_timestamp()
            )
    )
    LIMIT 1
""")


def lock_immune(session: Session) -> None:
    """Whoever changes what the immune system does, or who is contained, holds this."""
    lock_name(session, LOCK)


def answer_all(
    session: Session,
    findings: Sequence[Finding],
    counted_from: Mapping[Subject, datetime | None] = MappingProxyType({}),
) -> None:
    """Answer findings in order; ``counted_from``: since when their subjects' events were counted.

    Running it twice is safe: a finding that was answered is not answered again, and neither is one
    about somebody whom a response as high as its own already holds.
    """
    if not findings or not session.execute(_FOUNDED).scalar_one():
        return
    lock_immune(session)
    rules = rules_in_force(session)
    for finding in findings:
        subject = finding.subject
        if subject.kind == "overlay":
            lock_overlay(session, subject.id)
        if subject in counted_from and counted_from[subject] != counts_from(session, subject):
            continue  # somebody was quicker; what came before their response counts no more
        _answer(session, finding, rules)


def _answer(session: Session, finding: Finding, rules: InForce) -> None:
    now = real_now(session)
    # An overlay that is active is held by nothing, whatever is still to be ended.
    held = [row for row in in_force(session, finding.subject) if row.rung not in CONTAINING]
    if rules.modes[finding.rule] is Mode.OFF or _is_contained(session, finding.subject):
        return
    finding = _or_flapping(session, finding, rules, now)
    rule = GOVERNED[finding.rule]
    answer = answer_to(rule, _circumstances(session, finding, rules, now))
    if answer.why is Why.UNKNOWN:
        # Whoever may publish could fill the ledger with names that there are none of.
        log.warning("immune.unknown", rule=finding.rule, kind=finding.subject.kind)
        return
    if any(_covers(row, finding, answer) for row in held):
        return
    # An address is not named: whoever guesses could try all of them against the id.
    name = str(filed(session, finding.subject, new=True))
    id_ = response_id(finding.rule, finding.subject.kind, name, rfc3339(finding.since), answer.rung)
    if exists(session, id_):
        return
    _carry_out(session, finding, answer, id_, now)
    if answer.pending is not None:
        open_action(session, finding.subject, answer.pending, id_)
    if answer.is_systemic:
        details = {
            "subject": finding.subject.id,
            "rule": finding.rule,
            "response": id_,
            "contained": _others_aside(session, finding.subject.id)[:NAMED_MOST],
        }
        open_one(session, "systemic", "overlays", details, pauses_until=now + rules.pause)


def counts_from(session: Session, subject: Subject) -> datetime | None:
    """Since when events that come in count: after the last release, or the last block."""
    return count_from(session, subject.kind, [subject.id])[subject]


def count_from(session: Session, kind: str, ids: Collection[str]) -> dict[Subject, datetime | None]:
    """The same of many of one kind."""
    rows = run(session, _COUNT_FROM, kind=kind, ids=sorted(ids), house=HOUSE)
    return {Subject(kind, row.id): row.since for row in rows}


def _is_contained(session: Session, subject: Subject) -> bool:
    return subject.kind == "overlay" and state_of(session, subject.id).stage is not Stage.ACTIVE


def _covers(row: Any, finding: Finding, answer: Answer) -> bool:
    """Whether a response in force says as much.

    One of the same matter does until it is over: so a warning lasts before more follows. It does
    not where it went less far than its rule would, or where the matter has become worse.
    """
    worse = (row.severity, finding.verdict.severity) == (Severity.WARNING, Severity.CRITICAL)
    same = _matter(row.rule) == _matter(finding.rule)
    if same and not worse and row.why == Why.LADDER:
        return True
    if not answer.rung.touches and (worse or not same):
        return False
    return Rung(row.rung).height >= answer.rung.height


def _matter(rule: str | None) -> str | None:
    governed = GOVERNED.get(rule or "")
    return None if governed is None else governed.matter


def _or_flapping(session: Session, finding: Finding, rules: InForce, now: datetime) -> Finding:
    """The finding, or that its subject is quarantined again and again."""
    if (
        Rung.QUARANTINE not in GOVERNED[finding.rule].ladder
        or rules.modes[FLAPS.name] is not Mode.ENFORCE
    ):
        return finding
    before = began(session, finding.subject, DAY, rung=Rung.QUARANTINE, automatic=True)
    floor = last_release(session, finding.subject)
    began_at = [*(at for at in before if floor is None or at > floor), now]
    return judge_quarantines(finding.subject.id, began_at, now, rules.terms) or finding


def _others_aside(session: Session, overlay: str) -> list[str]:
    """The other overlays that are contained or throttled now."""
    return list(session.execute(_OTHERS_ASIDE, {"id": overlay}).scalars())


def _circumstances(
    session: Session, finding: Finding, rules: InForce, now: datetime
) -> Circumstances:
    subject = finding.subject
    given = Circumstances(
        mode=rules.modes[finding.rule],
        earlier=len(began(session, subject, HOUR, rule=finding.rule)),
        allowed=rules.allows(subject, now),
        paused=paused_until(session) is not None,
    )
    if subject.kind == "overlay":
        row = session.execute(_OVERLAY, {"id": subject.id}).one_or_none()
        if row is None or row.status != "ACTIVE":
            return replace(given, known=False)
        active = session.execute(_ACTIVE).scalar_one()
        contained = len(_others_aside(session, subject.id))
        last = session.execute(_LAST_OF, {"id": subject.id}).scalar_one_or_none()
        return replace(
            given,
            core=row.trust == TrustLevel.CORE,
            last_provider=last is not None,
            within_blast_radius=within_blast_radius(active, contained, rules.blast_share),
        )
    if subject.kind == "member":
        member = members_now(session, [subject.id]).get(subject.id)
        if member is None:
            return replace(given, known=False)
        return replace(given, core=member.level is TrustLevel.CORE)
    if subject.kind == "host":
        # Nobody registers hosts: so many are believed to be there.
        return replace(given, known=session.execute(_HOSTS).scalar_one() < HOSTS_MOST)
    return given


def _carry_out(session: Session, finding: Finding, answer: Answer, id_: str, now: datetime) -> None:
    subject, rung = finding.subject, answer.rung
    response = Response(
        id_,
        subject.kind,
        str(filed(session, subject, new=True)),
        rung,
        now,
        now + GOVERNED[finding.rule].lasts,
        finding.evidence(),
        why=answer.why.value,
    )
    at = forge_now(session)
    if rung in (Rung.QUARANTINE, Rung.HOLD):
        append(session, [replace(response, until=None).entry(at=at, actor=HOUSE)])
        contain(session, subject.id, rung, id_, actor=HOUSE, now=now)
    elif rung is Rung.BLOCK:
        earlier = len(began(session, subject, MEMORY, rung=Rung.BLOCK))
        until = block_until(now, earlier, last_block_ends(session, subject.id))
        append(session, [replace(response, until=until).entry(at=at, actor=HOUSE)])
    else:
        append(session, [response.entry(at=at, actor=HOUSE)])
    if rung is Rung.RESTRICT:
        restrict(
            session,
            subject.id,
            actor=HOUSE,
            reason=f"{finding.rule}: {finding.verdict.says}",
            lasting=GOVERNED[finding.rule].lasts,
            at=at,
            command=None,
        )
    if rung.touches:
        tell(session)
