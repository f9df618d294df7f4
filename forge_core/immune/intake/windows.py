"""Windows: how many failures there were of late. They nominate; rows convict.

Most events are of subjects that are far from any threshold. A window says of whom a check is worth
its while: it may count too many and never too few, so that a subject it passes over is one that no
rule would have found anything about. Whatever keeps windows may therefore forget everything at any
time; what it has forgotten is counted in the rows again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json, run
from forge_core.immune.detectors import attempts, overlay_calls
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.detectors.usage import HOUR


class Outcome(NamedTuple):
    """One call that counts, or one attempt to log in; ``id`` is unique among a subject's."""

    at: datetime
    id: str
    success: bool


class Failures(NamedTuple):
    """Of an overlay: within fifty calls, both. Of an address: within 5 minutes, within an hour."""

    recent: int
    hour: int


Outcomes = Mapping[Subject, Sequence[Outcome]]
Items = Mapping[str, Collection[str]]


class Windows(Protocol):
    """The port. Both methods are called in the transaction that has inserted what they are given.

    That transaction may be rolled back and done again: taking the same outcomes twice must not
    count them twice.
    """

    def failures(self, session: Session, given: Outcomes) -> Mapping[Subject, Failures]:
        """Take the outcomes; says of each subject at most how many failures one window holds.

        Any window with one of the given outcomes in it; those of one flush may be counted whole.
        Never fewer than the rows hold.
        """
        ...

    def different_items(self, session: Session, given: Items) -> Mapping[str, int]:
        """Take what members downloaded; about how many different items each has in an hour.

        An estimate may be ``usage.HYPERLOGLOG_ERROR`` less than there are, and any amount more.
        """
        ...


# One row a subject, whose given outcomes reach from ``since`` to ``until``: what may be in a window
# with one of them. Who has more rows than are looked at counts as failing with all of them.
_FAILURES = text("""
    SELECT asked.kind, asked.subject,
        count(*) FILTER (
            WHERE NOT success AND at BETWEEN asked.since - recent AND asked.until + recent
        ) + coalesce(max(many), 0) AS recent,
        count(*) FILTER (WHERE NOT success) + coalesce(max(many), 0) AS hour
    FROM json_to_recordset(CAST(:rows AS json)) AS asked (
        kind text, subject text, since timestamptz, until timestamptz, recent interval,
        age interval, before integer
    ), LATERAL (
        (
            SELECT at, success, 0 AS many FROM runtime_events AS event
            WHERE event.subject = asked.subject AND event.subject_kind = asked.kind
                AND at >= asked.since - asked.age AND at < asked.since AND success IS NOT NULL
            ORDER BY at DESC
            LIMIT asked.before
        ) UNION ALL (
            SELECT at, success, CASE WHEN row_number() OVER () = :most THEN :most ELSE 0 END
            FROM runtime_events AS event
            WHERE event.subject = asked.subject AND event.subject_kind = asked.kind
                AND at BETWEEN asked.since AND asked.until + asked.age AND success IS NOT NULL
            LIMIT :most
        )
    ) AS near
    GROUP BY asked.kind, asked.subject
""")

_DIFFERENT = text("""
    SELECT subject, count(DISTINCT item) AS items
    FROM runtime_events, jsonb_array_elements_text(data -> 'items') AS item
    WHERE subject = ANY(:members) AND subject_kind = 'member' AND type = 'data.downloaded'
        AND at > clock_timestamp() - :age
    GROUP BY subject
""")

LOOKED_AT_MOST = 5_000


class RowWindows:
    """Counts the rows themselves: exact, and about 0.1 ms a subject. It keeps nothing."""

    def failures(self, session: Session, given: Outcomes) -> Mapping[Subject, Failures]:
        rows = [_asked(subject, outcomes) for subject, outcomes in given.items() if outcomes]
        counted = {
            Subject(row.kind, row.subject): Failures(row.recent, row.hour)
            for row in run(session, _FAILURES, rows=as_json(rows), most=LOOKED_AT_MOST)
        }
        return {subject: counted.get(subject, Failures(0, 0)) for subject in given}

    def different_items(self, session: Session, given: Items) -> Mapping[str, int]:
        rows = run(session, _DIFFERENT, members=sorted(given), age=HOUR)
        counted = {row.subject: row.items for row in rows}
        return {member: counted.get(member, 0) for member in given}


def _asked(subject: Subject, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """What can be in a window with one of the outcomes."""
    calls = subject.kind == "overlay"
    age = overlay_calls.AGE if calls else attempts.LONG_AGE
    return {
        "kind": subject.kind,
        "subject": subject.id,
        "since": min(outcomes).at.isoformat(),
        "until": max(outcomes).at.isoformat(),
        "recent": f"{(age if calls else attempts.AGE).total_seconds()} seconds",
        "age": f"{age.total_seconds()} seconds",
        "before": overlay_calls.LAST if calls else LOOKED_AT_MOST,
    }
