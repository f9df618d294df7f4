"""The checks: what was noted about a subject is taken away, judged from the rows, and answered.

Windows only nominate. A check reads the events themselves, from the earliest one that was noted,
so that neither what is kept in memory nor how events were batched has any say in a verdict.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.clock import rfc3339
from forge_core.database import run
from forge_core.immune.answering import answer_all, count_from
from forge_core.immune.containing import NEVER, states_of
from forge_core.immune.containment import Stage
from forge_core.immune.detectors.attempts import LONG_AGE, Attempt, judge_attempts
from forge_core.immune.detectors.finding import Finding, Severity, Subject
from forge_core.immune.detectors.hosts import judge_sample
from forge_core.immune.detectors.overlay_calls import AGE, LAST, Call, Fault, judge_calls
from forge_core.immune.detectors.usage import (
    HOUR,
    MINUTE,
    Minute,
    judge_downloads,
    judge_minutes,
    usual_items,
)
from forge_core.immune.detectors.usage import (
    LAST as LAST_MINUTES,
)
from forge_core.immune.intake.recording import CHECKS
from forge_core.immune.recovering import go_on
from forge_core.immune.responses import in_force as responses_in_force
from forge_core.immune.responses import real_now
from forge_core.immune.rulebook import InForce, Rung
from forge_core.immune.settings import in_force
from forge_core.jobs.kinds import Derivation, Job, Outcome

MOST = 5_000
"""Events about one subject that one check looks at; what is left is for the next one."""
PAST = timedelta(days=8)
JUDGED = timedelta(hours=1)
"""What happened earlier gives rise to nothing any more."""

# Rows that another check has just taken are passed over.
_TAKE = text("""
    DELETE FROM runtime_unjudged
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM runtime_unjudged
        WHERE subject_kind = :kind AND subject = ANY(:subjects)
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING subject, at, source, id
""")
_NOTE = text("""
    INSERT INTO runtime_unjudged (subject_kind, subject, at, source, id)
    VALUES (:kind, :subject, :at, :source, :id) ON CONFLICT DO NOTHING
""")

# Constants are put together; nothing of it comes from outside.
_EVENTS = """
    at, source, id, source || ' ' || id AS name, type, success, slow, exhausted, data
    FROM runtime_events
    WHERE subject = :subject AND subject_kind = :kind AND recorded_at > :floor
"""
# Events of one moment are told apart by their ids, so that a piece of them ends between two.
_FROM = f"""
    SELECT true AS is_new, {_EVENTS}
        AND at >= :since AND (at, source, id) >= (:since, :source, :id)
    ORDER BY at, source, id LIMIT {MOST}
"""
_BEFORE = f"""
    SELECT false, {_EVENTS}
        AND at >= :age AND at <= :since AND (at, source, id) < (:since, :source, :id)
"""
_LATEST = "ORDER BY at DESC, source DESC, id DESC LIMIT"


def _both(before: str) -> TextClause:
    return text(f"({_FROM}) UNION ALL ({before}) ORDER BY at, source, id")


_NEW = text(_FROM)
_AROUND = _both(f"{_BEFORE} {_LATEST} {MOST}")
_CALLS = _both(f"{_BEFORE} AND success IS NOT NULL {_LATEST} {LAST}")

_ITEMS = text("""
    SELECT count(DISTINCT item) FROM runtime_events, jsonb_array_elements_text(data -> 'items') item
    WHERE subject = :subject AND subject_kind = 'member' AND type = 'data.downloaded'
        AND at > CAST(:until AS timestamptz) - :age AND at <= :until
""")
_HOURS = text("""
    SELECT items FROM download_hours
    WHERE member = :subject AND hour < date_trunc('hour', CAST(:until AS timestamptz), 'UTC')
        AND hour > CAST(:until AS timestamptz) - :past
""")

Judge = Callable[[Session, Sequence["Noted"], InForce], Iterable[Finding]]
Rows = Sequence[Row[Any]]


@dataclass(frozen=True)
class Noted:
    """A subject, from when on there is something to judge, and since when anything counts."""

    subject: Subject
    since: datetime
    source: str
    id: str
    counts_from: datetime | None

    @property
    def asked(self) -> dict[str, Any]:
        """What its events are asked for by; what was recorded earlier counts no more."""
        return {
            "subject": self.subject.id,
            "kind": self.subject.kind,
            "since": self.since,
            "source": self.source,
            "id": self.id,
            "floor": self.counts_from or NEVER,
        }


def _step(kind: str, judge: Judge) -> Callable[[Session, Sequence[Job]], list[Outcome]]:
    """Running a check twice is safe: what it has taken is not there any more."""

    def step(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
        rules = in_force(session)
        subjects = [str(job.payload["subject"]) for job in jobs]
        earliest: dict[str, tuple[datetime, str, str]] = {}
        for row in run(session, _TAKE, kind=kind, subjects=subjects):
            first = (row.at, row.source, row.id)
            earliest[row.subject] = min(first, earliest.get(row.subject, first))
        floors = count_from(session, kind, earliest)
        # What is told hours later is kept; it says nothing about how its subject is now.
        oldest = (real_now(session) - JUDGED, "", "")
        noted = [
            Noted(subject, *max(earliest[subject.id], oldest), floor)
            for subject, floor in floors.items()
        ]
        answer_all(session, list(judge(session, noted, rules)), floors)
        return [Outcome.done() for _ in jobs]

    return step


def _read(
    session: Session, noted: Noted, query: TextClause, age: timedelta = timedelta()
) -> tuple[Rows, Rows]:
    """The events from the first noted one on, and those before it that are not older than ``age``.

    Of very many a rest is noted anew, for the sweep to find.
    """
    rows = run(session, query, **noted.asked, age=noted.since - age)
    new = [row for row in rows if row.is_new]
    if len(new) == MOST:
        last = new[-1]
        given = {"kind": noted.subject.kind, "subject": noted.subject.id, "at": last.at}
        session.execute(_NOTE, {**given, "source": last.source, "id": last.id})
    return new, [row for row in rows if not row.is_new]


def _each(judge: Callable[[Session, Noted, InForce], Iterable[Finding]]) -> Judge:
    """A judge of many from a judge of one."""
    return lambda session, many, rules: [
        finding for noted in many for finding in judge(session, noted, rules)
    ]


def _names(rows: Sequence[Row[Any]]) -> dict[tuple[datetime, str], str]:
    """What each event is called: an id that was used again is told apart by its time."""
    used = Counter(row.name for row in rows)
    return {
        (row.at, row.name): row.name if used[row.name] == 1 else f"{row.name} {rfc3339(row.at)}"
        for row in rows
    }


def _judge_overlays(session: Session, many: Sequence[Noted], rules: InForce) -> Iterator[Finding]:
    states = states_of(session, [noted.subject.id for noted in many])
    for noted in many:
        overlay = noted.subject.id
        if states[overlay].stage is Stage.PROBATION:
            go_on(session, overlay)
        if states[overlay].stage is Stage.ACTIVE:
            yield from _judge_calls(session, noted, rules)


def _judge_calls(session: Session, noted: Noted, rules: InForce) -> Iterable[Finding]:
    rows, before = _read(session, noted, _CALLS, AGE)
    new = [row for row in rows if row.success is not None]
    names = _names([*before, *new])
    calls = [
        Call(
            row.at,
            names[row.at, row.name],
            row.success,
            None if row.success else Fault.OVERLAY,
            row.slow,
            row.exhausted,
        )
        for row in (*before, *new)
    ]
    return judge_calls(
        noted.subject.id, calls, {names[row.at, row.name] for row in new}, rules.terms
    )


def _judge_address(session: Session, noted: Noted, rules: InForce) -> Iterable[Finding]:
    held = responses_in_force(session, noted.subject)
    if any(row.rung == Rung.BLOCK for row in held):
        return []
    new, before = _read(session, noted, _AROUND, LONG_AGE)
    names = _names([*before, *new])
    attempts = [
        Attempt(row.at, names[row.at, row.name], row.success, row.data.get("member") or "")
        for row in (*before, *new)
    ]
    fresh = {names[row.at, row.name] for row in new}
    return judge_attempts(noted.subject.id, attempts, fresh, rules.terms)


def _judge_member(session: Session, noted: Noted, rules: InForce) -> Iterable[Finding]:
    member = noted.subject.id
    new, before = _read(session, noted, _AROUND, LAST_MINUTES * MINUTE)
    minutes = _minutes([*before, *new])
    for at in sorted({_minute(row) for row in new if row.type == "api.request_window"}):
        found = judge_minutes(member, [one for one in minutes if one.at <= at], rules.terms)
        if found is not None:
            yield found
            break
    downloads = [row.at for row in new if row.type == "data.downloaded"]
    if downloads:
        until = max(downloads)
        given = {"subject": member, "until": until}
        items = session.execute(_ITEMS, {**given, "age": HOUR}).scalar_one()
        hours = session.execute(_HOURS, {**given, "past": PAST}).scalars().all()
        found = judge_downloads(member, items, usual_items(hours), until, rules.terms)
        if found is not None:
            yield found


def _minutes(rows: Sequence[Row[Any]]) -> list[Minute]:
    """Several gateways may each have counted a part of a member's minute."""
    used: dict[datetime, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        if row.type == "api.request_window":
            minute = used[_minute(row)]
            minute[0] = max(minute[0], row.data["limit"])
            minute[1] += row.data["used"]
            minute[2] += row.data.get("refused", 0)
    return [Minute(at, *counts) for at, counts in sorted(used.items())]


def _minute(row: Row[Any]) -> datetime:
    moment: datetime = row.at
    return moment.replace(second=0, microsecond=0)


def _judge_host(session: Session, noted: Noted, rules: InForce) -> Iterable[Finding]:
    found = [
        finding
        for row in _read(session, noted, _NEW)[0]
        if row.type == "resource.sampled"
        for finding in [
            judge_sample(
                noted.subject.id, row.data["memory"], row.data["disk"], row.at, rules.terms
            )
        ]
        if finding is not None
    ]
    # The first one, unless it becomes worse.
    worst = [one for one in found if one.verdict.severity is Severity.CRITICAL]
    return (worst or found)[:1]


STEPS: Mapping[str, Callable[[Session, Sequence[Job]], list[Outcome]]] = {
    CHECKS[kind]: _step(kind, judge)
    for kind, judge in (
        ("overlay", _judge_overlays),
        ("address", _each(_judge_address)),
        ("member", _each(_judge_member)),
        ("host", _each(_judge_host)),
    )
}
"""The step of each kind of check."""

UNJUDGED = Derivation(
    "immune.unjudged",
    text("""
        WITH kinds AS (
            SELECT kind, job FROM json_each_text(CAST(:checks AS json)) AS each (kind, job)
        ), waiting AS (
            SELECT DISTINCT subject_kind, subject FROM runtime_unjudged
            WHERE noted_at < clock_timestamp() - INTERVAL '1 second'
            LIMIT :limit
        )
        INSERT INTO jobs (kind, key, once, brief, payload, actor)
        SELECT job, 'check:' || subject_kind || ':' || subject, false, true,
            jsonb_build_object('subject', subject), 'system'
        FROM waiting JOIN kinds ON kind = subject_kind
        WHERE NOT EXISTS (
            SELECT FROM jobs WHERE key = 'check:' || subject_kind || ':' || subject
                AND state IN ('pending', 'running', 'dead')
        )
        ORDER BY 2
        ON CONFLICT DO NOTHING
        RETURNING kind
    """).bindparams(checks=json.dumps(dict(CHECKS))),
)
"""Checks that were called for and that nothing does: a lost row is found from what it was about."""
