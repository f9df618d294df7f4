"""What the house's rows say of its health: numbers and ages, read in a few statements.

Deadlines run on forge time, leases and pulses on the database's. Where a sandbox's clock was moved,
nothing is later than that: what fell due by the move could not be done before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.database import run

LOOK: Final = "immune.health"
"""The pulse of whoever looks at all this."""
EVENTS: Final = "events"
"""The pulse of the consumer of runtime events."""

# Every moment is the earliest one of its sort that has passed; null where there is none.
_MOMENTS = text("""
    WITH clock AS MATERIALIZED (SELECT forge_now() AS now, clock_timestamp() AS real_now)
    SELECT now, real_now,
        (
            SELECT (convert_from(body, 'UTF8')::jsonb #>> '{data,to}')::timestamptz
            FROM ledger_entries WHERE subject = 'clock' AND kind = 'clock.advanced'
            ORDER BY id DESC LIMIT 1
        ) AS moved,
        (SELECT min(lease_until) FROM jobs WHERE state = 'running' AND lease_until <= real_now)
            AS lease,
        (SELECT min(not_before) FROM outbox WHERE state = 'pending' AND not_before <= real_now)
            AS effect,
        (SELECT min(noted_at) FROM runtime_unjudged) AS event,
        (SELECT min(accepted_at) FROM ballot_inbox) AS ballot,
        (SELECT min(closes_at) FROM proposals WHERE status = 'active' AND closes_at < now)
            AS closing,
        (
            SELECT min(greatest(waiting.eta + forge_held(waiting.eta, now), first.ended_at))
            FROM proposals AS waiting
            LEFT JOIN proposals AS first ON first.id = waiting.predecessor
            WHERE waiting.status = 'queued' AND waiting.eta <= now
                AND (waiting.predecessor IS NULL OR first.status = 'executed')
                AND NOT EXISTS (
                    SELECT FROM execution_windows WHERE from_at <= now AND until_at > now
                )
        ) AS execution,
        (
            SELECT min(lapses_at) FROM proposals
            WHERE status IN ('draft', 'approved') AND lapses_at <= now
        ) AS lapse,
        (
            SELECT min(expires_at + forge_held(eta, now)) FROM proposals
            WHERE status = 'queued' AND expires_at <= now
                AND expires_at + forge_held(eta, now) <= now
        ) AS grace,
        (
            SELECT (convert_from(body, 'UTF8')::jsonb ->> 'at')::timestamptz
            FROM ledger_unsealed JOIN ledger_entries ON id = entry_id
            ORDER BY entry_id LIMIT 1
        ) AS unsealed,
        (
            SELECT (convert_from(body, 'UTF8')::jsonb ->> 'at')::timestamptz
            FROM ledger_order JOIN ledger_entries ON id = entry_id
            WHERE position = (SELECT coalesce(max(size), 0) FROM ledger_checkpoints)
        ) AS unsigned
    FROM clock
""")
_COUNTS = text("""
    SELECT (SELECT count(*) FROM jobs WHERE state = 'dead') AS dead_jobs,
        (SELECT count(*) FROM outbox WHERE state = 'dead') AS dead_effects,
        (SELECT count(*) FROM dead_letters) AS dead_letters,
        (SELECT count(*) FROM ledger_unsealed) AS unsealed,
        (SELECT coalesce(max(position) + 1, 0) FROM ledger_order) AS sealed,
        (SELECT coalesce(max(size), 0) FROM ledger_checkpoints) AS signed,
        (SELECT coalesce(sum(jsonb_array_length(findings)), 0) FROM ledger_audits) AS findings
""")
_PULSES = text("""
    SELECT name, extract(epoch FROM clock_timestamp() - at)::float AS age
    FROM heartbeats WHERE name = ANY(:names)
""")
_WAITING = text("""
    SELECT kind,
        extract(epoch FROM clock_timestamp() - min(greatest(created_at, not_before)))::float AS age
    FROM jobs WHERE state = 'pending' AND not_before <= clock_timestamp()
    GROUP BY kind
""")


@dataclass(frozen=True)
class Vitals:
    """Ages are seconds; None is the age of what there is none of, or never was.

    ``pulses``: of every queue, and of ``EVENTS`` and ``LOOK`` where there ever was one.
    ``waiting``: the oldest job of each queue that could be claimed. ``stuck``: how long a proposal
    is past its execution or its end that nothing holds back.
    """

    pulses: Mapping[str, float | None]
    waiting: Mapping[str, float]
    expired_lease: float | None = None
    waiting_effect: float | None = None
    unjudged_event: float | None = None
    uncounted_ballot: float | None = None
    overdue_voting: float | None = None
    stuck: float | None = None
    unsealed_entry: float | None = None
    unsigned_entry: float | None = None
    dead_jobs: int = 0
    dead_effects: int = 0
    dead_letters: int = 0
    unsealed: int = 0
    sealed: int = 0
    signed: int = 0
    findings: int = 0


def read_vitals(session: Session, queue_of: Mapping[str, str]) -> Vitals:
    """Read them all; ``queue_of``: which queue has the jobs of each kind."""
    moments = session.execute(_MOMENTS).one()
    counts = session.execute(_COUNTS).one()
    queues = sorted(set(queue_of.values()))
    pulses = run(session, _PULSES, names=[*queues, EVENTS, LOOK])
    return Vitals(
        pulses=dict.fromkeys(queues) | {row.name: max(row.age, 0.0) for row in pulses},
        waiting=_by_queue(run(session, _WAITING), queue_of),
        expired_lease=_age(moments.real_now, moments.lease),
        waiting_effect=_age(moments.real_now, moments.effect),
        unjudged_event=_age(moments.real_now, moments.event),
        uncounted_ballot=_forge_age(moments, moments.ballot),
        overdue_voting=_forge_age(moments, moments.closing),
        stuck=_forge_age(moments, moments.execution, moments.lapse, moments.grace),
        unsealed_entry=_forge_age(moments, moments.unsealed),
        unsigned_entry=_forge_age(moments, moments.unsigned),
        **{name: int(count) for name, count in counts._mapping.items()},  # noqa: SLF001  # its public name
    )


def _by_queue(rows: Sequence[Row[Any]], queue_of: Mapping[str, str]) -> dict[str, float]:
    """A kind that this version does not know is a queue of its own: nobody may be serving it."""
    oldest: dict[str, float] = {}
    for row in rows:
        queue = queue_of.get(row.kind, row.kind)
        oldest[queue] = max(row.age, oldest.get(queue, 0.0))
    return oldest


def _forge_age(clock: Row[Any], *moments: datetime | None) -> float | None:
    passed = [moment for moment in moments if moment is not None]
    if not passed:
        return None
    since = min(passed)
    return _age(clock.now, since if clock.moved is None else max(since, clock.moved))


def _age(now: datetime, since: datetime | None) -> float | None:
    """Clocks may be set back: nothing is younger than new."""
    return None if since is None else max((now - since).total_seconds(), 0.0)
